"""Features of the two regions of a mixture, on the grid of a feature map or on the pixels."""

import torch
import torch.nn.functional as F
from torch import nn


def region_means(maps, mask, cells=None):
    """Average feature outside and inside the box of each mixture: two (B, C), float32 or wider.

    With ``cells`` the averages are over the map's own cells, each counted by the exact share of its area that lies in
    the region; this equals averaging the map up-sampled by nearest neighbour to any multiple of the mask's grid.
    Without, the map is up-sampled to the mask's pixels with bilinear interpolation, as the paper says.
    A region without area gets the average of the whole map, so that it stays a number; its caller leaves it out.

    Args:
        maps: (B, C, h, w) feature maps.
        mask: (B, 1, H, W), 1 outside the box, 0 inside, fractions allowed.
        cells: (B, 1, h, w), the mask averaged over the map's cells (``Draw.cells``), or None for bilinear.
    Source:
        "Leveraging Image Mixtures for Unsupervised Detection Pre-training" (mix-ssl), section 3.2.1. Bilinear
        interpolation lets features of one region bleed into the other, which the exact areas do not.
    """
    with torch.autocast(maps.device.type, enabled=False):
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        if cells is None:
            maps = F.interpolate(maps, size=mask.shape[-2:], mode="bilinear", align_corners=False)  # (B, C, H, W)
        outside = (mask if cells is None else cells).to(maps)  # (B, 1, h, w) or (B, 1, H, W)
        return _mean(maps, outside), _mean(maps, 1 - outside)


class RegionHead(nn.Module):
    """A linear layer on the features of both regions; it commutes with averaging, so it is a 1x1 convolution before it.

    Args:
        width: channels of the feature maps.
        out: width of z.
        pool: ``cells`` or ``bilinear``, see ``region_means``.
    """

    def __init__(self, width, out, pool):
        super().__init__()
        self.linear, self.pool = nn.Linear(width, out), pool

    def forward(self, maps, draw):
        """z outside and inside the boxes of ``draw``, (B, out) each, of the mixtures' maps (B, C, h, w)."""
        cells = draw.cells(*maps.shape[-2:]) if self.pool == "cells" else None
        outside, inside = region_means(maps, draw.mask, cells)
        return self.linear(outside), self.linear(inside)


def has_two_regions(draw):
    """(B,) float32, 1 where a mixture has area both outside and inside a box, else 0."""
    return ((draw.lam > 0) & (draw.lam < 1)).float()


def _mean(maps, weight):
    area = weight.sum((2, 3))  # (B, 1)
    mean = (maps * weight).sum((2, 3)) / area.where(area > 0, 1)
    return torch.where(area > 0, mean, maps.mean((2, 3)))
