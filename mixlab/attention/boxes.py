"""Boxes of single objects that a folder of images brings: ``boxes.csv`` beside the class folders.

    file,x0,y0,x1,y1
    cat/tom.jpg,12,30,200,180

``file`` is the path below the folder, with ``/``; x0 and y0 are the left and upper, x1 and y1 the right and lower edge
in pixels of the original image as a viewer shows it (after its EXIF orientation), x to the right and y down, the first
pixel from 0 to 1. Numbers may have decimals. One box for an image; images without a box are not scored.
"""

import csv
import math

import torch
from PIL import ExifTags, Image

from mixlab import data
from mixlab.data.convert import centre_square
from mixlab.data.layout import BOXES, FORMATS, read_layout, shown
from mixlab.errors import DataError, problem

HEAD = ["file", "x0", "y0", "x1", "y1"]


def read_boxes(path, split="test", skipped=()):
    """Boxes of the images of one split, moved to the squares that ``data.load`` makes of them.

    Args:
        path: the folder, as behind ``folder:``.
        split: ``train`` or ``test``. Of lines about images of the other splits only the form is checked.
        skipped: names of broken images that ``data.load`` left out.
    Returns:
        ``(rows, boxes, cut_off)``: positions int64 (M,) in the split; boxes float32 (M, 4), x0, y0, x1, y1 as
        fractions of the square; the number of boxes of the split that lie wholly outside of their square.
    Raises:
        DataError: no ``boxes.csv``, or one that is no table; naming the line: an unknown or repeated file, values that
            are no numbers, a box without area or outside its image.
    """
    layout = read_layout(data.resolve(path))
    root = layout.root
    known = {part: [file for file in files if shown(file) not in skipped] for part, files in layout.splits.items()}
    place, rows, boxes = {file: row for row, file in enumerate(known[split])}, [], []
    lines = _lines(root / BOXES)
    for file, (where, box) in lines.items():
        if file in place:
            rows.append(place[file])
            boxes.append(_on_square(root / file, box, where))
        elif not any(file in files for files in known.values()) and shown(file) not in skipped:
            raise DataError(problem(where, f"an image below {root}", shown(file), "Correct or remove the line"))
    found = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    seen = (found[:, 2:] > found[:, :2]).all(1)
    return torch.tensor(rows, dtype=torch.int64)[seen], found[seen], int((~seen).sum())


def _lines(path):
    """``{file: (place of its line in words, box)}``."""
    try:
        table = list(csv.reader(path.read_text("utf-8-sig", errors="surrogateescape").splitlines(), strict=True))
    except (OSError, csv.Error) as error:
        raise DataError(f"{path}: a table of {','.join(HEAD)}; got one that cannot be read ({error}). "
                        f"Correct it.") from error
    if not table or [name.strip() for name in table[0]] != HEAD:
        raise DataError(problem(str(path), f"the head {','.join(HEAD)}", ",".join(table[0]) if table else "",
                                "Add it as the first line"))
    found = {}
    for number, cells in enumerate(table[1:], start=2):
        where = f"{path}: line {number}"
        if cells:
            file, box = _line(cells, where)
            if file in found:
                raise DataError(problem(where, "one box for an image", shown(file), "Remove the repeated line"))
            found[file] = where, box
    return found


def _line(cells, where):
    """The file and the box of one line."""
    try:
        file, *numbers = cells
        x0, y0, x1, y1 = box = [float(number) for number in numbers]
    except ValueError:
        box = [math.nan]
    if not all(map(math.isfinite, box)):
        raise DataError(problem(where, "a file and four numbers", ",".join(map(shown, cells)), "Correct the line"))
    if not (0 <= x0 < x1 and 0 <= y0 < y1):
        raise DataError(problem(where, "a box with 0 <= x0 < x1 and 0 <= y0 < y1", box, "Correct the line"))
    return file, box


def _on_square(path, box, where):
    """A box as fractions of the centre square, cut at its edges: without area where it lies outside."""
    x0, y0, x1, y1 = box
    (width, height), (left, top, right, bottom) = _shown_square(path)
    if x1 > width or y1 > height:
        raise DataError(problem(where, f"a box within the image's {width} x {height} pixels", box, "Correct the line"))
    across, down = right - left, bottom - top
    edges = ((x0 - left) / across, (y0 - top) / down, (x1 - left) / across, (y1 - top) / down)
    return [min(max(edge, 0.0), 1.0) for edge in edges]


def _shown_square(path):
    """Size (width, height) of an image as a viewer shows it, and the centre square (x0, y0, x1, y1) cut from it.

    ``data.load`` cuts the image as it is stored and turns it after that, so an odd rest may fall on either side.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.format == "TIFF":
            image.load()  # turns it, and forgets that it was to be turned
        width, height = image.size
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    x0, y0, x1, y1 = centre_square(width, height)
    (a, b), (c, d) = (_turned(*corner, width, height, orientation) for corner in ((x0, y0), (x1, y1)))
    size = (height, width) if orientation in (5, 6, 7, 8) else (width, height)
    return size, (min(a, c), min(b, d), max(a, c), max(b, d))


def _turned(x, y, width, height, orientation):
    """Where a stored point is shown, by the EXIF orientation of its image."""
    across, down = width - x, height - y
    return {2: (across, y), 3: (across, down), 4: (x, down), 5: (y, x), 6: (down, x), 7: (down, across),
            8: (y, across)}.get(orientation, (x, y))
