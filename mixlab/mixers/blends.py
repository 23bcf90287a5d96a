"""Mixers that blend two whole images: one share for every pixel."""

from dataclasses import dataclass

import numpy as np

from mixlab.errors import ParamError, problem
from mixlab.mixers.draws import check_fields, check_images, draw_lam, draw_partner, given_lam
from mixlab.mixers.records import Draw, Mixer
from mixlab.rng import to_device

LAYERS = range(5)


@dataclass(frozen=True)
class NoMix(Mixer):
    """No mixing, the control: lam is 1 and images come back as they are. Partners are drawn as by the other mixers.

    ``lam`` may be None or 1; anything else is refused.
    """

    mixes = False

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        partner = draw_partner(partner, len(images), len(others), key)
        if lam is not None and (given_lam(lam, len(images)) != 1).any():
            raise ParamError(problem("lam", "1 or None, because NoMix never mixes", lam))
        return _constant(images, others, partner, np.ones(len(images)), layer=0)


@dataclass(frozen=True)
class Mixup(Mixer):
    """Mixup: x = lam x_i + (1 - lam) x_j with lam ~ Beta(alpha, alpha).

    Args:
        alpha: in (0, 1e6]; 1 is uniform, small values keep one image nearly whole, large ones mix half and half.
        lam_per: ``sample`` draws a share for every image, ``batch`` one for all.
        mix_prob: probability in [0, 1] that a sample (a batch for ``lam_per="batch"``) is mixed at all.
    Source:
        Zhang, Cisse, Dauphin, Lopez-Paz, 2018, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412; alpha 1
        is its CIFAR setting. Differs from the authors' code in the share per sample (theirs: per batch) and in
        partners by one cycle (theirs: a permutation that may pair an image with itself).
    """

    alpha: float = 1.0
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_alpha = True

    def __post_init__(self):
        check_fields(self)

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        partner = draw_partner(partner, len(images), len(others), key)
        lam = draw_lam(self, len(images), key) if lam is None else given_lam(lam, len(images))
        return _constant(images, others, partner, lam, layer=0)


@dataclass(frozen=True)
class ManifoldMixup(Mixer):
    """Manifold Mixup: h = lam h_i + (1 - lam) h_j at a layer drawn per batch, lam ~ Beta(alpha, alpha).

    ``draw.layer`` tells the encoder where to mix: 0 the pixels, k the output of its layer k. ``apply`` blends whatever
    it is given, so a plain call of the mixer shows the mixture at the pixels.

    Args:
        alpha, lam_per, mix_prob: as for ``Mixup``.
        layers: the layers to draw from with equal chances, each 0 to 4.
    Source:
        Verma, Lamb, Beckham, Najafi, Mitliagkas, Lopez-Paz, Bengio, 2019, "Manifold Mixup: Better Representations by
        Interpolating Hidden States", arXiv 1806.05236; alpha 2 and layers {0, 1, 2} are its CIFAR setting. Differs from
        the authors' code in the share per sample (theirs: per batch) and in partners by one cycle. Both inputs pass the
        lower layers, as separate batches, where the authors index one batch by a permutation.
    """

    alpha: float = 2.0
    lam_per: str = "sample"
    mix_prob: float = 1.0
    layers: tuple[int, ...] = (0, 1, 2)
    has_alpha = True
    mask_says_all = False

    def __post_init__(self):
        whole = isinstance(self.layers, tuple | list) and all(type(k) is int and k in LAYERS for k in self.layers)
        fine = whole and 0 < len(self.layers) == len(set(self.layers))
        check_fields(self, "" if fine else problem("layers", "one or more different integers from 0 to 4", self.layers))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        partner = draw_partner(partner, len(images), len(others), key)
        lam = draw_lam(self, len(images), key) if lam is None else given_lam(lam, len(images))
        layer = self.layers[key.child("layer").generator().integers(len(self.layers))]
        return _constant(images, others, partner, lam, layer)


def _constant(images, others, partner, lam, layer):
    """A Draw whose masks are lam everywhere."""
    lam, partner = to_device(images.device, lam, partner)  # (M,) float32, (M,) int64
    mask = lam[:, None, None, None].expand(-1, 1, *images.shape[-2:])  # (M,1,H,W)
    return Draw(lam, partner, mask, len(others), layer)
