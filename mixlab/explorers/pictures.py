"""A person's own picture, read from the bytes that a browser sent."""

import tempfile
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError

from mixlab.data.convert import find_scale, read_image, value_range
from mixlab.data.layout import FORMATS
from mixlab.errors import DataError, problem

LARGEST_BYTES = 8 * 2**20  # as in assets/attention_widget.js
LARGEST_PIXELS = 50_000_000
RULE = "its centre square, resized to {size} x {size} pixels; {formats}; up to 8 MiB"


def rule(size):
    """How a picture becomes an image of ``size`` pixels a side, in words."""
    return RULE.format(size=size, formats=", ".join(FORMATS))


def own_picture(name, content, size):
    """A picture as an image, uint8 (size, size, 3), by the rule of ``mixlab.data.convert``.

    EXIF orientation is applied, transparency put on white, grey and the like become RGB, the centre square is resized.
    Values of more than 8 bits are scaled by the picture's own depth (``intensity`` depth).

    Args:
        name: of the file, for messages. content: its bytes. size: side in pixels.
    Raises:
        DataError: too large, or not an image in one of the formats that ``data.load`` reads.
    """
    if len(content) > LARGEST_BYTES:
        raise DataError(problem(name, "a picture of at most 8 MiB", f"{len(content):,} bytes", "Make it smaller"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "picture")
        file.write_bytes(content)
        try:
            with Image.open(file, formats=FORMATS) as image:
                width, height = image.size
            if width * height > LARGEST_PIXELS:
                raise ValueError(f"{width} x {height} pixels, more than {LARGEST_PIXELS:,}")
            found = value_range(file, "depth")
            return torch.from_numpy(read_image(file, size, find_scale([found] if found else [], "depth")).copy())
        except MemoryError:
            raise
        except UnidentifiedImageError as error:
            raise DataError(_message(name, "a file that is none of these, or damaged")) from error
        except Exception as error:  # decoders meet damage with many types of error
            raise DataError(_message(name, str(error) or type(error).__name__)) from error


def _message(name, got):
    return f"{name}: an image ({', '.join(FORMATS)}); got {got}. Choose another."
