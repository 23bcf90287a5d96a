"""AttentiveMix, and the encoder that says where it looks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from mixlab.errors import ParamError, problem
from mixlab.mixers.draws import (
    check_fields,
    check_grid,
    check_guide,
    check_images,
    draw_lam,
    draw_partner,
    given_lam,
)
from mixlab.mixers.grids import areas, cells_within, pool, spread
from mixlab.mixers.records import Draw, Mixer
from mixlab.rng import to_device

LAST = 4  # the layer whose map guides


@dataclass(frozen=True)
class AttentiveMix(Mixer):
    """AttentiveMix: the cells of x_j that a guide finds most telling replace the same cells of x_i.

    The guide's map is averaged over a grid, and the cells with the highest means are pasted: 1 - lam of them, rounded
    to whole cells, with lam ~ Beta(alpha, alpha). Cells are as in ``GridMix``.

    Args:
        alpha: in (0, 1e6]; 2 is OpenMixup's for CIFAR.
        grid: cells a side, 1 to 1024; 4 is the last map of an image of 32 pixels, 7 the authors' for 224.
        lam_per: ``batch`` pastes as many cells in every image; which ones is each image's own matter.
        mix_prob: probability in [0, 1] that a sample (or batch) is mixed.
        guide_from: asked for maps (M2,1,h,w) of others (M2,C,H,W) where no ``guide`` is given; an ``EncoderGuide``.
    Source:
        Walawalkar, Shen, Liu, Savvides, 2020, "Attentive CutMix", arXiv 2003.13048: always 6 of 49 cells, found by a
        ResNet-50 trained on ImageNet. Cells by a Beta law are OpenMixup's AttentiveMix+. Differs from both in the map
        (theirs: the mean of the channels), in a number of cells per sample, and in which image gives the cells, which
        is the second here as for ``CutMix`` and the first in OpenMixup.
    """

    alpha: float = 2.0
    grid: int = 4
    lam_per: str = "sample"
    mix_prob: float = 1.0
    guide_from: Callable | None = field(default=None, repr=False)
    has_region = True
    has_alpha = True
    takes_guide = True
    needs_guide = True

    def __post_init__(self):
        fine = self.guide_from is None or callable(self.guide_from)
        check_fields(self, check_grid(self.grid),
                     "" if fine else problem("guide_from", "None, or a function of images", self.guide_from))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        n, size = len(images), images.shape[-2:]
        partner = draw_partner(partner, n, len(others), key)
        lam = draw_lam(self, n, key) if lam is None else given_lam(lam, n)
        cells = cells_within(self.grid, size)
        count = np.rint((1 - lam) * cells[0] * cells[1]).astype(np.int64)  # (n,), cells of x_j
        partner, count = to_device(images.device, partner, count)
        values = pool(self._guide(others) if guide is None else guide, *cells).flatten(1)  # (M2,cells)
        rank = values.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # (M2,cells), 0 the most telling
        other = rank[partner] < count[:, None]  # (n,cells), True where x_j shows
        mask = spread(~other.view(n, *cells), *size)  # (n,1,H,W)
        return Draw(areas(mask), partner, mask, len(others), region=True)

    def _guide(self, others):
        if self.guide_from is None:
            allowed = f"a tensor ({len(others)}, 1, h, w), because AttentiveMix needs one"
            raise ParamError(problem("guide", allowed, None, "Give maps, or make the mixer with guide_from"))
        maps = self.guide_from(others)
        check_guide(self, maps, others)
        return maps


@dataclass(frozen=True, eq=False)
class EncoderGuide:
    """Where an encoder looks: the sum over channels of its last feature map squared, (M,1,h,w) for images (M,3,H,W).

    It is asked in evaluation mode and without gradients, so its BatchNorm layers use and keep their running statistics;
    then its mode is as before. An encoder on another device is moved to the images'.

    Args:
        encoder: has ``feature_maps(images, layers)``.
        mean, std: (3,) each, how the images are normalised, if that is not how the encoder's own were.
    Source:
        Zagoruyko and Komodakis 2017, "Paying more attention to attention", arXiv 1612.03928: sum of squares.
    """

    encoder: torch.nn.Module
    mean: tuple | None = None
    std: tuple | None = None

    @torch.no_grad()
    def __call__(self, images):
        encoder = self.encoder
        modes = [(part, part.training) for part in encoder.modules()]
        if next(encoder.parameters()).device != images.device:
            encoder.to(images.device)
        encoder.eval()
        try:
            maps = encoder.feature_maps(self._as_known(images), (LAST,))[LAST]  # (M,C,h,w)
        finally:
            for part, training in modes:
                part.training = training
        return maps.float().square().sum(1, keepdim=True)

    def _as_known(self, images):
        """The images normalised as the encoder's own were."""
        if self.mean is None:
            return images
        mean, std = to_device(images.device, np.array(self.mean), np.array(self.std))  # (3,) each
        scale, shift = std / self.encoder.std, (mean - self.encoder.mean) / self.encoder.std
        return images * scale.view(3, 1, 1) + shift.view(3, 1, 1)
