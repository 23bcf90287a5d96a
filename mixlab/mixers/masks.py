"""Mixers whose region is no box: blobs of low frequency, cells of a grid, and a soft spot."""

from dataclasses import dataclass

import numpy as np

from mixlab.errors import problem
from mixlab.mixers.draws import (
    check_fields,
    check_grid,
    check_images,
    draw_lam,
    draw_partner,
    draws_per_batch,
    given_lam,
    is_number,
    skip_some,
)
from mixlab.mixers.grids import areas, cells_within, spread
from mixlab.mixers.records import Draw, Mixer
from mixlab.rng import to_device


@dataclass(frozen=True)
class FMix(Mixer):
    """FMix: where a random grey image of low frequency is bright, x_i shows, else x_j; lam ~ Beta(alpha, alpha).

    As many of its brightest pixels are x_i as make up the share, rounded to whole pixels.
    The grey image is the inverse Fourier transform of complex normal numbers divided by frequency ** decay, so its
    bright parts are a few blobs of any shape.

    Args:
        alpha: in (0, 1e6]; 1 is the authors', OpenMixup takes 0.2 on CIFAR.
        decay: power of the frequency, in [0, 10]; 3 is the authors'. 0 is white noise, large values few, large blobs.
        lam_per: ``sample`` draws a share and a grey image for every image; ``batch`` gives all images the same mask.
        mix_prob: probability in [0, 1] that a sample (or batch) is mixed.
    Source:
        Harris, Marcu, Painter, Niranjan, Prügel-Bennett, Hare, 2020, "FMix: Enhancing Mixed Sample Data Augmentation",
        arXiv 2002.12047. Differs from the authors' code in a mask per sample (theirs: per batch), in rounding to the
        nearest pixel (theirs: up or down by a coin), in a label by the measured share, and in partners by one cycle.
    """

    alpha: float = 1.0
    decay: float = 3.0
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_region = True
    has_alpha = True

    def __post_init__(self):
        fine = is_number(self.decay) and 0 <= self.decay <= 10
        check_fields(self, "" if fine else problem("decay", "a number in [0, 10]", self.decay))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        lam = draw_lam(self, n, key) if lam is None else given_lam(lam, n)
        grey = _low_frequencies(key.child("fourier").generator(), draws_per_batch(self, n), size, self.decay)
        partner, mask = to_device(images.device, partner, _brightest(grey, lam).reshape(n, 1, *size))
        mask = mask.float()  # (n,1,H,W)
        return Draw(areas(mask), partner, mask, len(others), region=True)


@dataclass(frozen=True)
class GridMix(Mixer):
    """GridMix: each cell of a grid shows x_i or x_j; the part of the cells that shows x_i is lam ~ Beta(alpha, alpha).

    The cells of x_j are drawn without regard to place, as many as 1 - lam of them, rounded to whole cells. Where sides
    do not divide, a pixel belongs to the cell that holds its middle, and an image has no more cells than pixels a side.

    Args:
        alpha: in (0, 1e6].
        grid: cells a side, 1 to 1024.
        lam_per: ``sample`` draws a share and cells for every image; ``batch`` gives all images the same mask.
        mix_prob: probability in [0, 1] that a sample (or batch) is mixed.
    Source:
        Baek, Bang, Shim, 2021, "GridMix: Strong regularization through local context mapping", Pattern Recognition 109.
        This is its mixing alone: the labels of patches that its networks also predict are left out. The Beta law and
        the 4 cells a side are this package's choice. OpenMixup's gridmix is something else: a regular pattern of holes.
    """

    alpha: float = 1.0
    grid: int = 4
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_region = True
    has_alpha = True

    def __post_init__(self):
        check_fields(self, check_grid(self.grid))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        lam = draw_lam(self, n, key) if lam is None else given_lam(lam, n)
        rows, columns = cells_within(self.grid, size)
        order = key.child("cells").generator().random((draws_per_batch(self, n), rows * columns)).argsort(1).argsort(1)
        other = order < np.rint((1 - lam) * rows * columns)[:, None]  # (n,rows columns), True where x_j shows
        partner, other = to_device(images.device, partner, other.reshape(n, rows, columns))
        mask = spread(~other, *size)  # (n,1,H,W)
        return Draw(areas(mask), partner, mask, len(others), region=True)


@dataclass(frozen=True)
class SmoothMix(Mixer):
    """SmoothMix with a round mask: x_j shows through a Gaussian spot, weight exp(-distance^2 / (2 s^2)), without edges.

    The middle is uniform over the image, and s is uniform in ``sigma`` times the shorter side; lam is the mean weight
    of x_i. A fixed ``lam`` stands for the s that gives it around the same middle, outside ``sigma`` too.

    Args:
        sigma: lowest and highest width of the spot as a share of the shorter side, 0 < low <= high <= 10.
        lam_per: ``sample`` draws a spot for every image; ``batch`` gives all images the same one.
        mix_prob: probability in [0, 1] that a sample (or batch) is mixed.
    Source:
        Lee, Zaheer, Astrid, Lee, 2020, "SmoothMix: a Simple Yet Effective Data Augmentation to Train Robust
        Classifiers", CVPR Workshops, its circular mask; sigma (0.25, 0.5) is OpenMixup's. Differs from that code in a
        spot per sample, in its middle between pixels, and in the label: there the share of x_j counts for x_i.
    """

    sigma: tuple[float, float] = (0.25, 0.5)
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_region = True

    def __post_init__(self):
        pair = isinstance(self.sigma, tuple | list) and len(self.sigma) == 2 and all(map(is_number, self.sigma))
        fine = pair and 0 < self.sigma[0] <= self.sigma[1] <= 10
        check_fields(self, "" if fine else problem("sigma", "two numbers with 0 < low <= high <= 10", self.sigma))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        drawn = key.child("spot").generator().random((3, draws_per_batch(self, n), 1))  # middle and width, in [0, 1)
        squares = [(np.arange(side) + 0.5 - at * side) ** 2 for side, at in zip(size, drawn, strict=False)]
        if lam is None:
            low, high = self.sigma
            shown = skip_some(self, np.zeros(drawn.shape[1]), n, key) < 1  # (n,), False where not mixed
            sides = _spot(squares, (low + (high - low) * drawn[2]) * min(size), shown)
        else:
            sides = _spot_of_share(squares, 1 - given_lam(lam, n))
        lam = 1 - sides[0].mean(1) * sides[1].mean(1)  # (n,)
        lam, partner, rows, columns = to_device(images.device, lam, partner, *sides)  # rows (n,H), columns (n,W)
        mask = (1 - rows[:, :, None] * columns[:, None, :])[:, None]  # (n,1,H,W)
        return Draw(lam, partner, mask, len(others), region=True)


def _low_frequencies(generator, count, size, decay):
    """Grey images (count, H W) float32 whose spectrum falls as frequency ** -decay; their scale means nothing."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))  # (H,W//2+1), cycles per pixel
    scale = np.maximum(frequency * max(size), 1) ** -float(decay)  # 1 for the lowest
    drawn = generator.standard_normal((count, *frequency.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    return np.fft.irfft2(drawn * scale.astype(np.float32), size).reshape(count, -1).astype(np.float32)


def _brightest(grey, lam):
    """(n, pixels) bool: True for the brightest lam (n,) of the pixels of each image of grey (n or 1, pixels)."""
    pixels = grey.shape[1]
    dark = np.rint((1 - lam) * pixels).astype(np.int64)[:, None]  # (n,1)
    levels = np.broadcast_to(np.sort(grey, axis=1), (len(lam), pixels))
    threshold = np.take_along_axis(levels, np.minimum(dark, pixels - 1), 1)  # the darkest level that is bright
    return (grey >= threshold) & (dark < pixels)


def _spot(squares, width, shown):
    """Weights of x_j along both axes, (n,H) and (n,W) float64: Gaussians of ``width`` (n or 1, 1), or 0."""
    rows, columns = (np.exp(-square / (2 * width**2)) for square in squares)
    return rows * shown[:, None], columns * np.ones((len(shown), 1))


def _spot_of_share(squares, share):
    """The same for the widths that show ``share`` (n,) of x_j, found by bisection: the mean weight rises with width."""
    low, high = np.full((len(share), 1), -16.0), np.full((len(share), 1), 32.0)  # log2 of pixels
    for _ in range(60):
        middle = (low + high) / 2
        rows, columns = _spot(squares, 2**middle, share > 0)
        below = (rows.mean(1) * columns.mean(1) < share)[:, None]
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    rows, columns = _spot(squares, 2**high, share > 0)
    whole = (share == 1)[:, None]
    return np.where(whole, 1.0, rows), np.where(whole, 1.0, columns)
