"""Everything random about a view, drawn on the host from a key."""

from typing import NamedTuple

import numpy as np

NO_JITTER = (1, 1, 1, 0)  # factors that change nothing


class Draws(NamedTuple):
    """Everything random about one view of a batch: a row per sample, all (B,) but `order` and `factors`, (B,4)."""

    top: np.ndarray  # crop box in pixels of the image
    left: np.ndarray
    height: np.ndarray
    width: np.ndarray
    shift_y: np.ndarray  # whole pixels of the view, after the resize; 0 without crop_padding
    shift_x: np.ndarray
    flip: np.ndarray  # 0 or 1, as grey and solarise
    order: np.ndarray  # the operations of the colour jitter, 0 to 3, in the order in which this sample has them
    factors: np.ndarray  # of brightness, contrast and saturation, and the hue shift; (1, 1, 1, 0) without jitter
    grey: np.ndarray
    sigma: np.ndarray  # of the blur, in pixels of the view; 0 without
    solarise: np.ndarray


def draw(recipe, key, batch, height, width):
    """Draws all that is random about one view of `batch` images of `height` x `width` pixels; returns `Draws`.

    Equal keys give equal draws. Give each view a key of its own, such as `key.child("view/0")`.
    """
    rng = key.generator()
    chances = (recipe.flip_prob, recipe.grey_prob, recipe.solarise_prob, recipe.jitter_prob, recipe.blur_prob)
    flip, grey, solarise, jitter, blur = (rng.random(batch) < chance for chance in chances)
    order = rng.permuted(np.tile(np.arange(4), (batch, 1)), axis=1)
    low = np.maximum(NO_JITTER - np.array(recipe.jitter), (0, 0, 0, -0.5))
    factors = np.where(jitter[:, None], rng.uniform(low, np.add(NO_JITTER, recipe.jitter), (batch, 4)), NO_JITTER)
    sigma = rng.uniform(*recipe.blur_sigma, batch) * blur
    shifts = rng.integers(-recipe.crop_padding, recipe.crop_padding, (2, batch), endpoint=True)
    boxes = _boxes(recipe, rng, batch, height, width)
    return Draws(*boxes, *shifts, flip, order, factors, grey, sigma, solarise)


def _boxes(recipe, rng, batch, height, width):
    """RandomResizedCrop's boxes (top, left, height, width): the first of ten tries that fits, else the centred box."""
    areas = rng.uniform(*recipe.crop_scale, (batch, 10)) * (height * width)
    ratios = np.exp(rng.uniform(*np.log(recipe.crop_ratio), (batch, 10)))
    places = rng.random((2, batch))
    widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))  # (B,10)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height) & (recipe.crop_scale != (1, 1))
    chosen = np.arange(batch), fits.argmax(1)
    drawn = np.stack([heights[chosen], widths[chosen]])  # (2,B)
    centre = np.array(_centred(recipe, height, width))[:, None]
    sides = np.where(fits[chosen], drawn, centre)
    room = np.array([[height], [width]]) - sides
    corners = np.where(fits[chosen], np.floor(places * (room + 1)), room // 2)
    return *corners, *sides


def _centred(recipe, height, width):
    """Height and width of the largest box whose ratio is allowed."""
    low, high = recipe.crop_ratio
    if width < low * height:
        return max(1, round(width / low)), width
    return height, max(1, round(min(width, high * height)))


def pack(draws):
    """One float32 array (B,18) of all draws, so that one copy takes them to the device."""
    return np.concatenate([np.reshape(column, (len(draws.top), -1)) for column in draws], axis=1, dtype=np.float32)


def unpack(values):
    """`pack` undone on the device: `Draws` of float32 tensors, (B,4) where the draws are and else (B,1)."""
    return Draws(*values.split([4 if name in ("order", "factors") else 1 for name in Draws._fields], dim=1))
