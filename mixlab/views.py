"""Augmented views of a batch: every sample with its own crop, flip and colours, as batched arithmetic on the device.

`draw` makes all random numbers on the host from a key, `apply_views` is pure tensor arithmetic, and `draw_views` joins
them. Crop, flip and resize are two batched matrix products, out = Wy @ image @ Wx^T: row i of a weight matrix says
which pixels output pixel i is made of, and a flip is Wx with its rows reversed.

The distribution and the arithmetic are those of torchvision's float path (RandomResizedCrop, ColorJitter, ...).
Two things differ from pipelines on PIL images: nothing is rounded to 8 bits between the steps, and a crop that is
enlarged is sampled bilinearly (torchvision's antialias=False; the same thing up to rounding with antialias=True). A
crop that is made smaller is antialiased (antialias=True).
"""

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np
import torch

from mixlab.errors import DataError, ParamError, problem
from mixlab.rng import Key, to_device

HUE = 3  # the operations of the colour jitter: 0 brightness, 1 contrast, 2 saturation, 3 hue
NO_JITTER = (1, 1, 1, 0)
BLOCK_PIXELS = 2**17  # on a CPU so many pixels at a time (128 images of 32 x 32): the passes then stay in the cache


@dataclass(frozen=True)
class Recipe:
    """How a view is made. The defaults are SupCon's for CIFAR, which are SimCLR's without the blur.

    Args:
        size: side of the square view in pixels, 8 to 1024.
        crop_scale: share of the image's area that the random crop takes, two numbers in (0, 1]. (1, 1) takes the
            largest centred box that `crop_ratio` allows, with nothing random.
        crop_ratio: width / height of the crop, two numbers above 0, drawn log-uniformly.
        crop_padding: after crop and resize, pad by so many zero pixels on each side and cut `size` x `size` at random.
        flip_prob, jitter_prob, grey_prob, blur_prob, solarise_prob: probabilities, per sample.
        jitter: strengths of brightness, contrast, saturation (factor uniform in [max(0, 1 - s), 1 + s]) and hue (shift
            uniform in [-s, s] turns, s at most 0.5). Each sample has its own order of the four.
        blur_sigma: standard deviation of the Gaussian blur in pixels, two numbers above 0. The kernel spans 10 % of
            the size, made odd, at least 3.
        mean, std: per channel, of pixels in [0, 1].
    Raises:
        ParamError: naming every field that is out of range.

    Sources: Chen et al. 2020 (arXiv 2002.05709), Khosla et al. 2020 (2004.11362), Grill et al. 2020 (2006.07733).
    """

    size: int = 32
    crop_scale: tuple = (0.2, 1.0)
    crop_ratio: tuple = (3 / 4, 4 / 3)
    crop_padding: int = 0
    flip_prob: float = 0.5
    jitter: tuple = (0.4, 0.4, 0.4, 0.1)
    jitter_prob: float = 0.8
    grey_prob: float = 0.2
    blur_prob: float = 0.0
    blur_sigma: tuple = (0.1, 2.0)
    solarise_prob: float = 0.0
    mean: tuple = (0.4914, 0.4822, 0.4465)
    std: tuple = (0.2023, 0.1994, 0.2010)

    def __post_init__(self):
        for name in ("crop_scale", "crop_ratio", "jitter", "blur_sigma", "mean", "std"):
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        wrong = [problem(name, allowed, getattr(self, name)) for name, allowed, ok in _rules(self) if not ok]
        if wrong:
            raise ParamError("\n".join(wrong))

    @property
    def blur_kernel(self):
        """Width of the blur's kernel in pixels, odd."""
        return max(3, self.size // 10 | 1)

    def keeps_place(self, height, width):
        """Whether an image of this size passes with every pixel where it was."""
        still = self.flip_prob == 0 and self.crop_padding == 0 and self.crop_scale == (1, 1)
        return still and height == width == self.size


def _rules(recipe):
    """(field, what is allowed, whether it holds) for every field of a recipe."""
    size = recipe.size
    yield "size", "a whole number from 8 to 1024", _whole(size, 8, 1024)
    yield "crop_scale", "two numbers, 0 < low <= high <= 1", _rising(recipe.crop_scale, 1)
    yield "crop_ratio", "two numbers, 0 < low <= high", _rising(recipe.crop_ratio)
    yield "crop_padding", "a whole number from 0 to size", _whole(recipe.crop_padding, 0, size)
    for field in fields(recipe):
        if field.name.endswith("_prob"):
            yield field.name, "a number from 0 to 1", _numbers((getattr(recipe, field.name),), 1, 0, 1)
    jitter_ok = _numbers(recipe.jitter, 4, 0) and recipe.jitter[HUE] <= 0.5
    yield "jitter", "four numbers of at least 0, the last (hue) at most 0.5", jitter_ok
    yield "blur_sigma", "two numbers, 0 < low <= high", _rising(recipe.blur_sigma)
    yield "mean", "three numbers from 0 to 1", _numbers(recipe.mean, 3, 0, 1)
    yield "std", "three numbers above 0", _numbers(recipe.std, 3, 0) and min(recipe.std) > 0


def _numbers(values, count, low, high=math.inf):
    real = isinstance(values, tuple) and len(values) == count and all(type(v) in (int, float) for v in values)
    return real and all(math.isfinite(v) and low <= v <= high for v in values)


def _rising(values, high=math.inf):
    return _numbers(values, 2, 0, high) and 0 < values[0] <= values[1]


def _whole(value, low, high):
    return type(value) is int and low <= value and (type(high) is not int or value <= high)


_CONTRAST = Recipe()
_PLAIN = Recipe(crop_scale=(1, 1), crop_ratio=(1, 1), flip_prob=0.0, jitter_prob=0.0, grey_prob=0.0)
_BYOL = Recipe(crop_scale=(0.08, 1.0), jitter=(0.4, 0.4, 0.2, 0.1))

RECIPES = {
    "contrast": _CONTRAST,
    "weak": replace(_PLAIN, crop_padding=4, flip_prob=0.5),  # the usual recipe of supervised training on CIFAR
    "plain": _PLAIN,
    "byol_1": _BYOL,  # solo-learn's asymmetric pair for CIFAR: no blur at 32 pixels
    "byol_2": replace(_BYOL, solarise_prob=0.2),
}


@dataclass(frozen=True)
class Batch:
    """What a method is given for one step.

    Args:
        views: tuple of (B,3,S,S) float32 tensors, one per view; row i of each comes from image i.
        labels: (B,) int64, or None where the data has none.
        index: (B,) int64, which images of the data set these are.
        key: Key of this step, for the draws of mixers.
        epoch: number of the epoch, from 0.
        progress: share of the training that is done, in [0, 1).
    """

    views: tuple
    labels: torch.Tensor | None
    index: torch.Tensor
    key: Key
    epoch: int
    progress: float


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
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    fits &= recipe.crop_scale != (1, 1)
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
        return round(width / low), width
    return height, round(min(width, high * height))


def pack(draws):
    """One float32 array (B,18) of all draws, so that one copy takes them to the device."""
    return np.concatenate([np.reshape(column, (len(draws.top), -1)) for column in draws], axis=1, dtype=np.float32)


def _unpack(values):
    return Draws(*values.split([4 if name in ("order", "factors") else 1 for name in Draws._fields], dim=1))


def draw_views(pixels, recipe, key, apply=None):
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
    block = batch
    if pixels.device.type == "cpu":  # caches are small: some images at a time cost half of all at once
        block = max(1, BLOCK_PIXELS // max(height * width, recipe.size**2))
    apply = apply or apply_views
    if block >= batch:
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


def apply_views(pixels, values, recipe):
    """Makes the views that `draw` drew: a pure function of tensors, made for `torch.compile(dynamic=False)`.

    Args:
        pixels: uint8 (B,H,W,3).
        values: float32 (B,18), `pack` of the draws, on the same device.
        recipe: the Recipe of the draws. Steps of probability 0 are left out.
    Returns:
        float32 (B,3,S,S). Agrees with torchvision's functional float path to about 1e-6 before the normalisation,
        as long as float32 matrix products are not lowered to TF32 (then 5e-4). Autocast does not reach inside.
    """
    draws = _unpack(values)
    with torch.autocast(pixels.device.type, enabled=False):
        x = _crop(pixels, draws, recipe)  # (B,3,S,S) in [0, 1]
        if recipe.jitter_prob > 0:
            x = _jitter(x, draws.order.long(), draws.factors)
        if recipe.grey_prob > 0:
            x.lerp_(_grey(x), _per_sample(draws.grey))
        if recipe.blur_prob > 0:
            x = _blur(x, draws.sigma, recipe.blur_kernel)
        if recipe.solarise_prob > 0:  # min(x, 1 - x) inverts what is above one half
            x.lerp_(torch.minimum(x, 1 - x), _per_sample(draws.solarise))
        return _normalise(x, recipe)


def _per_sample(column):
    return column.reshape(-1, 1, 1, 1)


def _crop(pixels, draws, recipe):
    """Crop, resize, flip, pad: uint8 (B,H,W,3) to float32 (B,3,S,S) in [0, 1]."""
    batch, height, width, _ = pixels.shape
    x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)  # (B,3,H,W)
    if recipe.keeps_place(height, width):
        return x.div_(255)
    rows = torch.arange(recipe.size, device=pixels.device).expand(batch, -1)
    columns = rows + draws.flip * (recipe.size - 1 - 2 * rows)
    wy = _weights(rows + draws.shift_y, draws.top, draws.height, height, recipe)  # (B,S,H)
    wx = _weights(columns + draws.shift_x, draws.left, draws.width, width, recipe)  # (B,S,W)
    x = torch.bmm(x.view(batch, 3 * height, width), wx.mT).view(batch, 3, height, recipe.size)
    return torch.matmul(wy[:, None], x).div_(255)


def _weights(place, start, length, extent, recipe):
    """How much of each of `extent` pixels goes into the output pixels at `place` (B,S) of a resized box: (B,S,extent).

    A tent around the output pixel's centre. Where boxes can be larger than the view, the tent is as wide as the
    step between centres and cut off at the box; else centres are kept inside the box, which is cheaper.
    """
    inside = place.clamp(0, recipe.size - 1)
    centre = (inside + 0.5) * (length / recipe.size) - 0.5  # (B,S) in pixels of the box
    pixel = torch.arange(extent, device=place.device)
    if extent > recipe.size:
        step = (length / recipe.size).clamp(min=1)[..., None]
        pixel = (pixel - start)[:, None]  # (B,1,extent)
        weights = (1 - (centre[..., None] - pixel).abs() / step).clamp(min=0) * ((pixel >= 0) & (pixel < length[..., None]))
        weights = weights / weights.sum(2, keepdim=True)
    else:
        centre = torch.minimum(centre.clamp(min=0), length - 1) + start
        weights = (centre[..., None] - pixel).abs_().neg_().add_(1).clamp_(min=0)
    return weights * (inside == place)[..., None] if recipe.crop_padding else weights


def _jitter(x, order, factors):
    """Colour jitter of (B,3,S,S) with an own `order` (B,4) for each sample.

    The hue is turned once, between two sweeps of the other operations. In each sweep an operation that is not this
    sample's turn has weight 0 and changes nothing, so all samples share all shapes.
    """
    is_hue = order == HUE
    past = is_hue.cumsum(1)  # (B,4): 0 before the hue's turn, 1 from it on
    weights = torch.where(is_hue, 0.0, 1 - factors.gather(1, order))
    for turn in range(3):
        _blend_(x, weights[:, turn] * (past[:, turn] == 0), order[:, turn])
    x = _turn_hue(x, factors[:, HUE])
    for turn in range(1, 4):
        _blend_(x, weights[:, turn] * past[:, turn], order[:, turn])
    return x


def _blend_(x, weight, operation):
    """Moves x in place by `weight` (B,) towards black (operation 0), its mean grey (1) or its own grey (2)."""
    grey = _grey(x)  # (B,1,S,S)
    mean = grey.mean((2, 3), keepdim=True)
    target = grey.mul_(_per_sample(operation == 2)).add_(mean * _per_sample(operation == 1))
    x.lerp_(target, _per_sample(weight)).clamp_(0, 1)


def _grey(x):
    red, green, blue = x.unbind(1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(1)


def _turn_hue(x, shift):
    """Turns the hue of (B,3,S,S) by `shift` (B,) full turns, keeping HSV's value and saturation, without a branch.

    With channels scaled to minimum 0 and maximum 1 and the hue h on [0, 6), |h - 3| = 2 + R - G - B in all six sectors,
    and h > 3 where B > G. Back again: R = |h - 3| - 1, G = 2 - |h - 2|, B = 2 - |h - 4|, each clamped to [0, 1].
    """
    red, green, blue = x.unbind(1)  # (B,S,S) each
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(low)
    hue = (red - green).sub_(blue).add_(low).div_(chroma.clamp(min=1e-12)).add_(2).copysign_(blue - green)  # h - 3
    hue = hue.add_(6 * shift[:, None, None])
    hue = hue.sub_((hue / 6).round_(), alpha=6)  # back into [-3, 3]
    red = hue.abs().sub_(1)
    green = (hue + 1).abs_().neg_().add_(2)
    blue = (hue - 1).abs_().neg_().add_(2)
    for channel, part in enumerate((red, green, blue)):
        torch.add(part.clamp_(0, 1).mul_(chroma), low, out=x[:, channel]) if not torch.compiler.is_compiling() else x[:, channel].copy_(part.clamp_(0, 1).mul_(chroma).add_(low))
    return x


def _blur(x, sigma, kernel):
    """Gaussian blur of (B,3,S,S) with `sigma` (B,1) of each sample and reflected borders, as two matrix products."""
    size = x.shape[-1]
    offsets = torch.arange(kernel, device=x.device) - kernel // 2
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-2)) ** 2)  # (B,K); sigma 0: one tap
    pixels = torch.arange(size, device=x.device)
    source = (size - 1) - ((size - 1) - (pixels[:, None] + offsets).abs()).abs()  # (S,K)
    lands = (source[..., None] == pixels).to(x.dtype)  # (S,K,S)
    band = torch.einsum("bk,skt->bst", taps / taps.sum(1, keepdim=True), lands)[:, None]
    return band @ x @ band.mT


def _normalise(x, recipe):
    for channel, mean, std in zip(x.unbind(1), recipe.mean, recipe.std, strict=True):
        channel.sub_(mean).div_(std)
    return x
