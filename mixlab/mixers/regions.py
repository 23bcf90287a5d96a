"""Mixers that put a box of one image into another: a share of the pixels, not of every pixel."""

from dataclasses import dataclass

import numpy as np
import torch

from mixlab.errors import problem
from mixlab.mixers.draws import (
    check_fields,
    check_images,
    draw_lam,
    draw_partner,
    draws_per_batch,
    given_lam,
    is_number,
    skip_some,
)
from mixlab.mixers.grids import areas, box_mask, span_around
from mixlab.mixers.records import Draw, Mixer
from mixlab.mixers.saliency import peaks, saliency
from mixlab.rng import to_device


@dataclass(frozen=True)
class CutMix(Mixer):
    """CutMix: a box of x_j replaces the same box of x_i; sides sqrt(1 - lam) of the image's, lam ~ Beta(alpha, alpha).

    The centre is uniform over the pixels and the box is clipped at the border, so the measured share is larger than the
    drawn one: for alpha 1 the box covers 0.32 of the image on average, not 0.5. Sides are rounded to whole pixels.

    Args:
        alpha: in (0, 1e6].
        lam_per: ``sample`` draws a share and a box for every image; ``batch`` gives all images the same box.
        mix_prob: probability in [0, 1] that a sample (or batch) is mixed; the authors use 0.5 on CIFAR.
    Source:
        Yun, Han, Oh, Chun, Choe, Yoo, 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with
        Localizable Features", arXiv 1905.04899. Differs from the authors' code in the box per sample (theirs: per
        batch), in sides rounded to the nearest pixel (theirs: down to an even number), in partners by one cycle, and in
        telling height from width, which matters for images that are not square.
    """

    alpha: float = 1.0
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_region = True
    has_alpha = True

    def __post_init__(self):
        check_fields(self)

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        inside = lam is not None
        lam = given_lam(lam, n) if inside else draw_lam(self, n, key)
        centre = _uniform(self, key, n) * np.array(size)[:, None]  # (2,n), pixels
        partner, centre, side = to_device(images.device, partner, centre.astype(np.int64), _sides(lam, size))
        return _boxed(images, others, partner, _boxes_around(centre, side, size, inside))


@dataclass(frozen=True)
class ResizeMix(Mixer):
    """ResizeMix: the whole of x_j, shrunk to a scale ~ U(scale), replaces a box of x_i; 1 - lam is the box's area.

    The box lies wholly inside the image, uniform over all places, at least one pixel wide; the label keeps its object
    because nothing of x_j is cut away. Shrinking averages areas, so that a thumbnail shows all of x_j. A fixed ``lam``
    stands for the scale sqrt(1 - lam), outside ``scale`` too.

    Args:
        scale: lowest and highest side of the box as a share of the image's, 0 < low <= high <= 1.
        lam_per: ``sample`` draws a scale and a place for every image; ``batch`` gives all images the same box.
        mix_prob: probability in [0, 1] that a sample (or batch) is mixed.
    Source:
        Qin, Fang, Zhang, Liu, Wang, Wang, 2020, "ResizeMix: Mixing Data with Preserved Object Information and True
        Labels", arXiv 2012.11101; scale (0.1, 0.8) is the paper's. Differs from common code for it (OpenMixup) in boxes
        never clipped and squeezed at the border, in area averaging (there: nearest), and in a box per sample.
    """

    scale: tuple[float, float] = (0.1, 0.8)
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_region = True
    mask_says_all = False

    def __post_init__(self):
        pair = isinstance(self.scale, tuple | list) and len(self.scale) == 2 and all(map(is_number, self.scale))
        fine = pair and 0 < self.scale[0] <= self.scale[1] <= 1
        check_fields(self, "" if fine else problem("scale", "two numbers with 0 < low <= high <= 1", self.scale))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        lam = self._draw_lam(n, key) if lam is None else given_lam(lam, n)
        side = np.maximum(_sides(lam, size), lam < 1)  # (2,n), pixels
        start = np.floor(_uniform(self, key, n) * (np.array(size)[:, None] - side + 1)).astype(np.int64)  # (2,n)
        partner, box = to_device(images.device, partner, np.concatenate([start, start + side]).T)  # (n,), (n,4)
        return _boxed(images, others, partner, box, resized=True)

    def _draw_lam(self, n, key):
        scale = key.child("lam").generator().uniform(*self.scale, size=draws_per_batch(self, n))
        return skip_some(self, 1 - scale**2, n, key)


@dataclass(frozen=True)
class SaliencyMix(Mixer):
    """SaliencyMix: CutMix with the box around the most salient pixel of x_j, so that what is pasted shows its object.

    Without ``guide`` the map is ``saliency``, one for every image and free of parameters. The box goes to the same
    place of x_i and is clipped at the border. A blank image has its peak at some pixel, the same each time.

    Args:
        alpha, mix_prob: as for ``CutMix``.
        lam_per: ``batch`` gives all boxes one size; each stays around its own image's peak.
    Source:
        Uddin, Monira, Shin, Chung, Bae, 2021, "SaliencyMix: A Saliency Guided Data Augmentation Strategy for Better
        Regularization", arXiv 2006.01791. Differs from the authors' code in a map per image (theirs: one map, of one
        image, places the box of the whole batch), in the map itself (see ``saliency``; theirs: OpenCV's implementation
        of the same idea), and in what is said for ``CutMix``.
    """

    alpha: float = 1.0
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_region = True
    has_alpha = True
    takes_guide = True

    def __post_init__(self):
        check_fields(self)

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        inside = lam is not None
        lam = given_lam(lam, n) if inside else draw_lam(self, n, key)
        partner, side = to_device(images.device, partner, _sides(lam, size))
        centre = peaks(saliency(others) if guide is None else guide, size)[:, partner]  # (2,n), pixels
        return _boxed(images, others, partner, _boxes_around(centre, side, size, inside))


def _uniform(mixer, key, n):
    """Two uniform numbers per image, (2,n) in [0, 1); the same two for all where the batch shares one draw."""
    drawn = key.child("box").generator().random((2, draws_per_batch(mixer, n)))
    return np.broadcast_to(drawn, (2, n))


def _sides(lam, size):
    """Height and width (2,n) int64 of boxes of area 1 - lam, in whole pixels."""
    return np.rint(np.sqrt(1 - lam) * np.array(size)[:, None]).astype(np.int64)


def _boxes_around(centre, side, size, inside):
    """Boxes (M,4) int64 of sides (2,M) around centres (2,M)."""
    (top, bottom), (left, right) = (span_around(*args, inside) for args in zip(centre, side, size, strict=True))
    return torch.stack([top, left, bottom, right], dim=1)


def _boxed(images, others, partner, box, resized=False):
    """A Draw whose masks are 0 in the box; lam is what the mask says."""
    height, width = images.shape[-2:]
    mask = box_mask(box, height, width)  # (M,1,H,W)
    return Draw(areas(mask), partner, mask, len(others), region=True, box=box, resized=resized)
