"""From an image file to a uint8 square, by a stated rule.

EXIF orientation is applied; of an animation the first frame is taken; transparency is put on white; grey, palette, CMYK
and the like become RGB; colour profiles are ignored. A fourth band of a TIFF, or the second of a grey one, is
transparency where its tag ExtraSamples says so (1 or 2), and else it is ignored. The centre square is cut out (of an
odd rest the last pixel as stored is dropped) and resized to ``image_size`` by Pillow's antialiased bicubic filter: the
shorter side becomes ``image_size``, the longer one is cropped. A JPEG may first be decoded at 1/2, 1/4 or 1/8 of its
size, if that is at least twice ``image_size``.

Values of more than 8 bits, grey or in colours, become 8 bits by a ``Scale``, one for all images of a folder. Its
parameter ``intensity`` is

- ``depth``: white is that of the least usual depth (8, 10, 12, 14 or 16 bits) that holds the largest value of the
  whole set; black is 0. So 12-bit X-rays in 16-bit files keep their greys, and full 16-bit values are read as by
  ``type``. This is what ``auto`` means.
- ``type``: white is the largest value of the type, 65,535: the high byte is kept.
- ``range``: black and white are the smallest and the largest value of the whole set. This also reads what the others
  refuse: negative numbers, 32-bit integers and floats.

Only 16-bit colours whose file holds them multiplied by their transparency keep their high byte whatever the scale.
"""

import os
import stat
import sys
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin

from mixlab.data.layout import FORMATS

INTENSITIES = ("depth", "type", "range")
DEPTHS = (8, 10, 12, 14, 16)  # bits of sensors and files
ALPHA = {1, 2}  # in ExtraSamples: associated, unassociated
OPPOSITE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}  # order of a value's two bytes


@dataclass(frozen=True)
class Scale:
    """Which values of more than 8 bits become black (0) and white (255).

    Args:
        low, high: those two values. With ``bits`` they are 0 and 2**bits - 1, and the bits below the upper eight are
            dropped.
        found: the smallest and the largest value of the set; () where they were not asked.
    """

    low: float = 0
    high: float = 65535
    bits: int = 16
    found: tuple = ()

    def to_bytes(self, values):
        """uint8 array of an array of values.

        Raises:
            ValueError: values outside of 16 bits, unless the scale is their own range; values that are no numbers.
        """
        if self.bits:
            _refuse_beyond_16_bits(values)
            return (values.astype(np.uint16) >> (self.bits - 8)).astype(np.uint8)
        if not np.isfinite(values).all():
            raise ValueError("has pixels that are no numbers")
        share = (values.astype(np.float64) - self.low) / ((self.high - self.low) or 1)
        return np.rint(share.clip(0, 1) * 255).astype(np.uint8)

    def sentence(self):
        """What was found and what is made of it."""
        how = f"read as {self.bits} bits" if self.bits else "stretched"
        low, high = self.found or (self.low, self.high)
        return (f"Images of more than 8 bits: values {low:,.6g} to {high:,.6g} in the whole set, {how}: "
                f"{self.low:,.6g} is black, {self.high:,.6g} white (parameter intensity).")


TYPE = Scale()


def find_scale(extremes, intensity):
    """The ``Scale`` of a set.

    Args:
        extremes: pairs (smallest, largest value), one an image of more than 8 bits; none where all are refused.
        intensity: ``depth`` or ``range``.
    """
    if not extremes:
        return TYPE
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if intensity == "range":
        return Scale(low, high, 0, (low, high))
    bits = next(bits for bits in DEPTHS if high < 2**bits)
    return Scale(0, 2**bits - 1, bits, (low, high))


def read_image(path, size, scale=TYPE):
    """One image file by the rule above, uint8 (size, size, 3).

    Args:
        scale: of values of more than 8 bits; None for an image that may have none: what has is not read.
    Returns:
        the image, or None where ``scale`` would be needed.
    Raises:
        Exception: of any type that Pillow raises, if the file is not an image in one of FORMATS; also for more
            than twice ``PIL.Image.MAX_IMAGE_PIXELS`` pixels.
    """
    check_file(path)
    with Image.open(path, formats=FORMATS) as image:
        whole = image.size
        reduced = image.draft(None, (2 * size, 2 * size))  # None, or (mode, (0, 0, width, height)) of a JPEG
        if scale is None and is_deep(image):
            return None
        coloured, orientation = _rgb(path, image, scale)
        box, part = centre_square(*coloured.size), 1
        if reduced:
            box, part = centre_square(*whole), reduced[1][2] / whole[0]
        square = coloured.resize((size, size), Image.Resampling.BICUBIC, box=tuple(part * x for x in box))
    square.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(square))


def check_file(path):
    """Refuses what is no file with anything in it.

    Raises:
        ValueError, OSError
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("is not a regular file")
    if not status.st_size:
        raise ValueError("is empty (0 bytes)")


def value_range(path, intensity):
    """(smallest, largest value) of an image of more than 8 bits, its transparency apart; None of any other file.

    Values that ``intensity`` does not take are left to ``read_image`` to refuse, and None here.
    """
    try:
        check_file(path)
        with Image.open(path, formats=FORMATS) as image:
            if not is_deep(image):
                return None
            values, _ = _deep_values(path, image)
        low, high = values.min().item(), values.max().item()
        if intensity != "range":
            _refuse_beyond_16_bits(values)
    except MemoryError:
        raise
    except Exception:  # damage, of which decoders tell by many types of error, is named when the file is read
        return None
    return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def centre_square(width, height):
    """(left, top, right, bottom) of the largest square in the middle, whole pixels."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def is_deep(image):
    """Whether an opened image that is not loaded yet has values of more than 8 bits."""
    return image.mode[0] in "IF" or _wide_rawmode(image) is not None


def _wide_rawmode(image):
    """Pillow's name for how colours of 16 bits, which it cuts to 8, lie in the file; None for others."""
    modes = {tile.args if isinstance(tile.args, str) else tile.args[0] for tile in image.tile if tile.args}
    name = modes.pop() if len(modes) == 1 else ""
    known = isinstance(name, str) and name[:-1] in ("RGB;16", "RGBA;16", "RGBX;16", "LA;16", "CMYK;16")
    return name if known and name[-1] in OPPOSITE else None


def _rgb(path, image, scale):
    """The image in RGB, loaded, which turns a TIFF, and the EXIF orientation that is left to apply."""
    if is_deep(image) and not (scale.bits == 16 and _wide_rawmode(image)):
        loaded = _scaled(path, image, scale)
    else:
        image.load()
        loaded = image
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if _has_alpha(image):
        white = Image.new("RGBA", loaded.size, "white")
        loaded = Image.alpha_composite(white, loaded.convert("RGBA"))
    return loaded.convert("RGB"), orientation


def _has_alpha(image):
    known = True
    if image.format == "TIFF":
        extra = image.tag_v2.get(TiffImagePlugin.EXTRASAMPLES, ())
        known = bool(ALPHA & set(extra if isinstance(extra, tuple) else (extra,)))
    return image.has_transparency_data and known


def _scaled(path, image, scale):
    """An image of more than 8 bits with 8, in the mode that Pillow gives it."""
    values, alpha = _deep_values(path, image)
    pixels = scale.to_bytes(values)
    if alpha is not None:
        pixels = np.dstack([pixels, (alpha >> 8).astype(np.uint8)])
    if image.mode == "CMYK":  # four bands that fromarray would take for RGBA
        return Image.frombytes("CMYK", image.size, pixels.tobytes())
    return Image.fromarray(pixels)


def _deep_values(path, image):
    """Values (H, W) or (H, W, bands) of an opened image of more than 8 bits, and its transparency (H, W) or None.

    Of colours Pillow keeps one byte of each value: the high one, or the low one where it is told the opposite order.
    """
    name = _wide_rawmode(image)
    if name is None:
        return np.asarray(image), None
    if name.startswith("LA"):  # four bytes a pixel
        pairs = _decoded_as(image, "RGBA").astype(np.uint16)  # (H, W, 4)
        return pairs[..., 0] << 8 | pairs[..., 1], pairs[..., 2] << 8 | pairs[..., 3]
    with Image.open(path, formats=FORMATS) as again:
        low = _decoded_as(again, name[:-1] + OPPOSITE[name[-1]])
    values = np.asarray(image).astype(np.uint16) << 8 | low  # (H, W, bands)
    return (values[..., :3], values[..., 3]) if image.mode == "RGBA" else (values, None)


def _decoded_as(image, rawmode):
    """uint8 (H, W, bands) of an opened image whose values lie in the file as ``rawmode`` says."""
    image.tile = [tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
                  for tile in image.tile]
    return np.asarray(image)


def _refuse_beyond_16_bits(values):
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"has pixels of mode {'F' if values.dtype.kind == 'f' else 'I'} outside 16 bits, whose black "
                         "and white are not stated; intensity range takes them from the values")
