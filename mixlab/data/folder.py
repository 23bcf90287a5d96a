"""A folder of a person's own images as one uint8 tensor, by a stated rule.

**What is read.** Subfolders are classes, named and numbered in the byte order of their names; a class may have
folders of its own. Without subfolders the images have no labels. Names that begin with a dot are ignored, and so is a
``boxes.csv`` beside the images or class folders (see ``mixlab.attention.boxes``); links are followed unless they lead
in a circle. The order of the images is the byte order of their relative POSIX paths.

**Splits.** ``train/`` and ``test/`` (or ``val/``, where there is no ``test/``) if they exist; what lies beside them
is not read. Else 15 % of each class, rounded, and at least one image of a class that has two, are the test set:
those whose relative paths have the smallest SHA-256. So the split depends on the names alone.

**Conversion.** EXIF orientation is applied; of an animation the first frame is taken; 16-bit values keep their high
byte; transparency is put on white; grey, palette, CMYK and the like become RGB; colour profiles are ignored. The
centre square is cut out (of an odd rest the last pixel as stored is dropped) and resized to ``image_size`` by Pillow's
antialiased bicubic filter: the shorter side becomes ``image_size``, the longer one is cropped. A JPEG may first be
decoded at 1/2, 1/4 or 1/8 of its size, if that is at least twice ``image_size``.
"""

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from mixlab.data.images import Images
from mixlab.errors import DataError, problem

BOXES = "boxes.csv"  # where the objects are; no image
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # not EPS: opening one starts another program
TEST_SHARE = 0.15


def read_folder(path, split, image_size, skip_broken):
    """All images of one split of a folder.

    Args:
        path: folder of images, or of class folders, or of ``train/`` and ``test/``.
        split: ``train`` or ``test``.
        image_size: side of the images in pixels. N x image_size x image_size x 3 bytes are held in memory.
        skip_broken: leave broken files out and name them in ``skipped``, instead of refusing the folder.
    Raises:
        DataError: no folder, no images, an empty class; or broken files: those of both splits, all at once.
    """
    layout = _layout(Path(path))
    pixels, broken = _decode(layout, split, image_size)
    if broken and not skip_broken:
        other = _decode(layout, "test" if split == "train" else "train", image_size)[1]
        raise DataError(_all_broken(layout, {**broken, **other}))
    files = [file for file in layout.splits[split] if file not in broken]
    if split == "train":
        _refuse_empty_classes(layout, files)
    if not files:
        raise DataError(_no_images(layout, split))
    classes = tuple(shown(name) for name in layout.classes)
    return Images(torch.from_numpy(pixels), _labels(layout, files), classes, skipped=tuple(map(shown, broken)))


def shown(name):
    """A file name as printable text, also where it is not valid UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def names(path, split):
    """Relative POSIX paths of the images of one split, in their order; broken ones are among them.

    Raises:
        DataError: as ``read_folder``, but for what is in the files.
    """
    return _layout(Path(path)).splits[split]


# Which files, in which order, of which class

@dataclass(frozen=True)
class _Layout:
    root: Path
    splits: dict         # {"train": [relative POSIX path, ...], "test": [...]}
    classes: list        # names of the class folders; [] without labels
    depth: int           # how many parts of a relative path stand before the class

    def class_of(self, file):
        parts = file.split("/")
        return parts[self.depth] if self.classes and len(parts) > self.depth + 1 else None


def _layout(root):
    if not root.is_dir():
        what = "a file" if root.exists() else "nothing there"
        raise DataError(problem(f"folder:{root}", "a folder of images", what, "Name one that exists"))
    folders = _folders(root)
    if "train" in folders and ("test" in folders or "val" in folders):
        layout = _given_splits(root, "test" if "test" in folders else "val")
    elif folders and set(folders) <= {"train", "test", "val"}:
        raise DataError(problem(f"folder:{root}", "class folders, or train beside test or val", folders,
                                f"Name {root / folders[0]} itself to have it split"))
    else:
        layout = _split_by_name(root, folders)
    _refuse_empty_classes(layout, layout.splits["train"])
    return layout


def _given_splits(root, test):
    layout = _Layout(root, {"train": _files(root, "train"), "test": _files(root, test)}, _folders(root / "train"), 1)
    unknown = [name for name in _folders(root / test) if name not in layout.classes]
    if unknown:
        raise DataError(problem(f"folder:{root}", f"the classes of train in {test}, too", sorted(map(shown, unknown)),
                                "Add them to train, or remove them"))
    return layout


def _split_by_name(root, classes):
    layout = _Layout(root, {"train": _files(root)}, classes, 0)
    groups = {}
    for file in layout.splits["train"]:
        groups.setdefault(layout.class_of(file), []).append(file)
    test = {file for group in groups.values() for file in _test_files(group)}
    files = layout.splits["train"]
    return _Layout(root, {"train": [f for f in files if f not in test], "test": [f for f in files if f in test]},
                   classes, 0)


def _test_files(files):
    count = max(int(len(files) * TEST_SHARE + 0.5), 1) if len(files) > 1 else 0
    return sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())[:count]


def _visible(folder):
    try:
        return [entry.path for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"{shown(folder)}: a folder that can be listed; got {error.strerror}. "
                        f"Correct or remove it.") from error


def _folders(folder):
    return sorted((os.path.basename(p) for p in _visible(folder) if os.path.isdir(p)), key=os.fsencode)


def _files(root, below=""):
    paths = (os.path.relpath(path, root).replace(os.sep, "/") for path in _walk(root / below))
    return sorted((path for path in paths if path != BOXES), key=os.fsencode)


def _walk(folder, above=()):
    place = os.stat(folder)
    mark = (place.st_dev, place.st_ino)
    if mark in above:
        raise DataError(problem(shown(folder), "a folder that does not contain itself", "a link to one of its parents",
                                "Remove the link"))
    for path in _visible(folder):
        if os.path.isdir(path):
            yield from _walk(path, (*above, mark))
        else:
            yield path


def _labels(layout, files):
    if not layout.classes:
        return None
    number = {name: k for k, name in enumerate(layout.classes)}
    return torch.tensor([number[layout.class_of(file)] for file in files], dtype=torch.int64)


def _refuse_empty_classes(layout, files):
    filled = {layout.class_of(file) for file in files}
    empty = [shown(name) for name in layout.classes if name not in filled]
    if empty:
        raise DataError(f"folder:{layout.root}: at least one readable image in each class; got none in "
                        f"{', '.join(empty)}. Add images, or remove these folders.")


def _no_images(layout, split):
    todo = "Add images" if split == "train" else "Add images, or a folder test beside a folder train"
    return problem(f"folder:{layout.root}", f"at least one readable image in the {split} split", 0, todo)


def _all_broken(layout, broken):
    lines = "\n".join(f"- {shown(file)}: {broken[file]}" for file in sorted(broken, key=os.fsencode))
    return (f"folder:{layout.root}: files that are images ({', '.join(FORMATS)}); got {len(broken)} that are not. "
            f"Replace or remove them, or set skip_broken to leave them out.\n{lines}")


# What is in them

def _decode(layout, split, size):
    """Pixels (N, size, size, 3) of the good files, and {file: what is wrong with it} of the others."""
    files = layout.splits[split]
    pixels = np.empty((len(files), size, size, 3), np.uint8)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside of Python's lock
        wrong = list(pool.map(partial(_decode_into, layout), files, pixels))
    broken = {file: reason for file, reason in zip(files, wrong, strict=True) if reason}
    return pixels[[not reason for reason in wrong]] if broken else pixels, broken


def _decode_into(layout, file, out):
    if layout.classes and layout.class_of(file) is None:
        return "lies beside the class folders, in none of them"
    try:
        out[:] = read_image(layout.root / file, len(out))
    except MemoryError:
        raise
    except UnidentifiedImageError:
        return "is not an image in one of these formats, or its head is damaged"
    except Exception as error:  # decoders meet damage with many types of error
        return shown(str(error)) or type(error).__name__
    return ""


def read_image(path, size):
    """One image file by the rule above, uint8 (size, size, 3).

    Raises:
        Exception: of any type that Pillow raises, if the file is not an image in one of FORMATS; also for more
            than twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    if not status.st_size:
        raise ValueError("is empty (0 bytes)")
    with Image.open(path, formats=FORMATS) as image:
        whole = image.size
        reduced = image.draft(None, (2 * size, 2 * size))  # None, or (mode, (0, 0, width, height)) of a JPEG
        image.load()  # a TIFF is turned here, and its orientation forgotten
        box, scale = (centre_square(*whole), reduced[1][2] / whole[0]) if reduced else (centre_square(*image.size), 1)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        square = _rgb(image).resize((size, size), Image.Resampling.BICUBIC, box=tuple(scale * x for x in box))
    square.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(square))


def centre_square(width, height):
    """(left, top, right, bottom) of the largest square in the middle, whole pixels."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _rgb(image):
    if image.mode[0] in "IF":
        image = _from_16_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _from_16_bits(image):
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"has pixels of mode {image.mode} outside 16 bits, whose black and white are not stated")
    return Image.fromarray((values >> 8).astype(np.uint8))
