"""How much of a map lies where it should: pointing game and share of energy."""

import torch


def inside(boxes, height, width):
    """How much of each cell of a grid lies in a box: shares (N, height, width) in [0, 1].

    Args:
        boxes: float (N, 4): x0, y0, x1, y1 as fractions of the image, x to the right, y down.
    """
    across = _overlap(boxes[:, 0], boxes[:, 2], width)  # (N, width)
    down = _overlap(boxes[:, 1], boxes[:, 3], height)  # (N, height)
    return down[:, :, None] * across[:, None, :]


def _overlap(low, high, cells):
    edge = torch.arange(cells + 1, device=low.device, dtype=low.dtype)
    length = torch.minimum(cells * high[:, None], edge[1:]) - torch.maximum(cells * low[:, None], edge[:-1])
    return length.clamp(min=0)  # (N, cells)


def pointing_and_energy(maps, target):
    """Two scores of each map, both float64 (N,) in [0, 1], and whether the map is empty.

    Args:
        maps: (N, h, w), at least 0, not normalised.
        target: (N, h, w), the share of each cell that lies in the target: see ``inside``.
    Returns:
        pointing: whether the largest value lies in the target; a cell across its border counts with its share, and
            several largest values with their mean, so that a constant map points by chance;
        energy: the share of the map's sum that lies in the target;
        empty: bool (N,), maps without any energy. They count as constant ones.
    Source:
        The pointing game: Zhang et al. 2016, arXiv 1608.00507, section 4.2, without its 15 pixels of tolerance. The
        share of energy: Wang et al. 2019 (Score-CAM), arXiv 1910.01279, section 4.3. Both on mosaics of images:
        Boehle et al. 2021, arXiv 2104.00032, section 4.1.
    """
    maps, target = maps.double(), target.double()  # sums of large powers overflow float32
    empty = maps.sum((1, 2)) <= 0
    maps = torch.where(empty[:, None, None], 1, maps)
    best = (maps == maps.amax((1, 2), keepdim=True)).double()
    pointing = (best * target).sum((1, 2)) / best.sum((1, 2))
    return pointing, (maps * target).sum((1, 2)) / maps.sum((1, 2)), empty
