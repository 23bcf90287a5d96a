"""What a view may look like: `Recipe` and the named `RECIPES`."""

import math
from dataclasses import dataclass, fields, replace

from mixlab.errors import ParamError, problem


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
        """Whether every pixel of an image of this size stays where it is."""
        whole = self.crop_scale == (1, 1) and self.crop_ratio[0] <= 1 <= self.crop_ratio[1]
        return whole and self.crop_padding == 0 and self.flip_prob == 0 and height == width == self.size


def _rules(recipe):
    """(field, what is allowed, whether it holds) for every field of a recipe."""
    yield "size", "a whole number from 8 to 1024", _whole(recipe.size, 8, 1024)
    yield "crop_scale", "two numbers, 0 < low <= high <= 1", _rising(recipe.crop_scale, 1)
    yield "crop_ratio", "two numbers, 0 < low <= high", _rising(recipe.crop_ratio)
    yield "crop_padding", "a whole number from 0 to 1024", _whole(recipe.crop_padding, 0, 1024)
    for field in fields(recipe):
        if field.name.endswith("_prob"):
            yield field.name, "a number from 0 to 1", _numbers((getattr(recipe, field.name),), 1, 0, 1)
    jitter_ok = _numbers(recipe.jitter, 4, 0) and recipe.jitter[3] <= 0.5
    yield "jitter", "four numbers of at least 0, the last (hue) at most 0.5", jitter_ok
    yield "blur_sigma", "two numbers, 0 < low <= high", _rising(recipe.blur_sigma)
    yield "mean", "three numbers from 0 to 1", _numbers(recipe.mean, 3, 0, 1)
    yield "std", "three numbers above 0", _numbers(recipe.std, 3, 0) and min(recipe.std) > 0


def _numbers(values, count, low, high=math.inf):
    if not isinstance(values, tuple) or len(values) != count:
        return False
    real = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    return real and all(math.isfinite(v) and low <= v <= high for v in values)


def _rising(values, high=math.inf):
    return _numbers(values, 2, 0, high) and 0 < values[0] <= values[1]


def _whole(value, low, high):
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


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
