"""Augmented views of a batch: every sample with its own crop, flip and colours, as batched arithmetic on the device.

`draw` makes all random numbers on the host from a key, `apply_views` is pure tensor arithmetic, and `draw_views` joins
them. Crop, flip and resize are two batched matrix products, out = Wy @ image @ Wx^T: row i of a weight matrix says
which pixels output pixel i is made of, and a flip is Wx with its rows reversed.

The distribution and the arithmetic are those of torchvision's float path (RandomResizedCrop, ColorJitter, ...).
Two things differ from pipelines on PIL images: nothing is rounded to 8 bits between the steps, and a crop that is
enlarged is sampled bilinearly (torchvision's antialias=False; the same thing up to rounding with antialias=True). A
crop that is made smaller is antialiased (antialias=True).
"""

from dataclasses import dataclass, replace

import torch

from mixlab.errors import DataError, problem
from mixlab.rng import Key, to_device
from mixlab.views.arithmetic import apply_views
from mixlab.views.draws import Draws, draw, pack
from mixlab.views.recipe import RECIPES, Recipe

__all__ = ["RECIPES", "Batch", "Draws", "Recipe", "apply_views", "draw", "draw_views", "pack", "plain"]

BLOCK_PIXELS = 2**17  # a CPU works on so many at a time (128 images of 32 x 32): the passes then stay in its caches


@dataclass(frozen=True)
class Batch:
    """What a method is given for one step.

    Args:
        views: tuple of (B,3,S,S) float32 tensors, one per view; row i of each comes from image i.
        labels: (B,) int64, or None where the data has none.
        index: (B,) int64, which images of the data set these are.
        key: Key of this step, for the draws of mixers.
        epoch: number of the epoch, from 1.
        progress: share of the training that is done, in [0, 1).
    """

    views: tuple
    labels: torch.Tensor | None
    index: torch.Tensor
    key: Key
    epoch: int
    progress: float


def draw_views(pixels, recipe, key, apply=apply_views):
    """One augmented view of every image: draws from `key` on the host, arithmetic on the device of `pixels`.

    Args:
        pixels: uint8 (B,H,W,3), B at least 1, on any device; left as they are.
        recipe: Recipe.
        key: Key of this view of this step.
        apply: `apply_views`, or `torch.compile(apply_views, dynamic=False)`.
    Returns:
        float32 (B,3,S,S), normalised; row i is a view of image i. No step waits for the device.
    Raises:
        DataError: if pixels are something else.
    """
    _check_pixels(pixels)
    batch, height, width = pixels.shape[:3]
    values = to_device(pixels.device, pack(draw(recipe, key, batch, height, width)))
    block = max(1, BLOCK_PIXELS // max(height * width, recipe.size**2))
    if pixels.device.type != "cpu" or batch <= block:
        return apply(pixels, values, recipe)
    views = torch.empty(batch, 3, recipe.size, recipe.size, device=pixels.device)
    for part, *inputs in zip(views.split(block), pixels.split(block), values.split(block), strict=True):
        part.copy_(apply(*inputs, recipe))
    return views


def plain(pixels, recipe=RECIPES["plain"]):
    """Images as evaluation sees them: cut to the centred square, resized to `recipe.size`, normalised by its mean, std.

    Takes uint8 (B,H,W,3) and returns float32 (B,3,S,S); nothing else of the recipe counts, and nothing is random.
    """
    still = replace(RECIPES["plain"], size=recipe.size, mean=recipe.mean, std=recipe.std)
    return draw_views(pixels, still, Key(0, "plain"))


def _check_pixels(pixels):
    is_images = isinstance(pixels, torch.Tensor) and pixels.ndim == 4 and pixels.shape[3] == 3 and len(pixels) > 0
    if not is_images or pixels.dtype != torch.uint8:
        got = f"{pixels.dtype} {tuple(pixels.shape)}" if isinstance(pixels, torch.Tensor) else pixels
        raise DataError(problem("pixels", "a uint8 tensor (B,H,W,3) with B at least 1", got))
