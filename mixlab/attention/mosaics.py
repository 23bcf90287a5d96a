"""Two-object mosaics: images in which it is known where each object is."""

from dataclasses import dataclass

import numpy as np
import torch

from mixlab.errors import DataError, ParamError, problem
from mixlab.rng import Key

CELLS = ((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0))  # x0, y0, x1, y1


@dataclass(frozen=True, eq=False)
class Mosaics:
    """Mosaics of 2 x 2 cells, each with objects of two classes and two fillers without any.

    Args:
        pixels: uint8 (N, 2H, 2W, 3).
        cells: int64 (N, 2), the cells (index into ``CELLS``) of the first and of the second object.
        labels: int64 (N, 2), their classes, never the same.
        sources: int64 (N, 4), the image in each cell; for a filler the one that it was scrambled from.
        queries: int64 (N, 2), for each object another image of its class, where the class has one.
    """

    pixels: torch.Tensor
    cells: torch.Tensor
    labels: torch.Tensor
    sources: torch.Tensor
    queries: torch.Tensor

    def __len__(self):
        return len(self.pixels)


def draw_mosaics(images, count, seed=0):
    """``count`` mosaics from labelled images, every draw made from the seed.

    Two classes are drawn, then an image of each, whole and at its own size; the cells are drawn as well. The other two
    cells hold phase-scrambled images: the colours and the texture of an image without its object.

    Args:
        images: ``Images`` with labels, of at least two classes.
        count: >= 1.
    Raises:
        ParamError: a count below 1. DataError: no labels, or images of one class only.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ParamError(problem("mosaics", "a whole number of at least 1", count))
    groups = _by_class(images)
    generator = Key(seed, "attention/mosaics").generator()
    drawn = [_one(groups, len(images), generator) for _ in range(count)]
    cells, labels, sources, queries = (torch.tensor(np.array(part)) for part in zip(*drawn, strict=True))
    tiles = images.pixels[sources]  # (N, 4, H, W, 3)
    fillers = torch.ones(sources.shape, dtype=torch.bool).scatter_(1, cells, False)
    tiles[fillers] = scrambled(tiles[fillers], Key(seed, "attention/fillers"))
    return Mosaics(_joined(tiles), cells, labels, sources, queries)


def _by_class(images):
    if images.labels is None:
        raise DataError(problem("mosaics", "images with labels, because an object is asked for by its class",
                                "images without", "Use class folders"))
    labels = images.labels.numpy()
    groups = {int(k): np.flatnonzero(labels == k) for k in np.unique(labels)}
    if len(groups) < 2:
        raise DataError(problem("mosaics", "images of at least two classes", len(groups), "Add classes"))
    return groups


def _one(groups, count, generator):
    """Cells (2,), labels (2,), sources (4,) and queries (2,) of one mosaic."""
    labels = generator.choice(sorted(groups), 2, replace=False)
    cells = generator.choice(4, 2, replace=False)
    sources = generator.integers(count, size=4)
    queries = np.empty(2, np.int64)
    for i, label in enumerate(labels):
        pair = generator.permutation(groups[int(label)])[:2]
        sources[cells[i]], queries[i] = pair[0], pair[-1]
    return cells, labels, sources, queries


def _joined(tiles):
    """Mosaics (N, 2H, 2W, 3) of tiles (N, 4, H, W, 3) in the order of ``CELLS``."""
    count, _, height, width, _ = tiles.shape
    grid = tiles.view(count, 2, 2, height, width, 3).permute(0, 1, 3, 2, 4, 5)  # (N, 2, H, 2, W, 3)
    return grid.reshape(count, 2 * height, 2 * width, 3)


def scrambled(pixels, key):
    """Images uint8 (N, H, W, 3) with random phases: each keeps the mean and, but for clipping, the spectrum.

    The phases are those of white noise, added alike to the three colours, so that their correlation stays, too.
    """
    shape = (len(pixels), *pixels.shape[1:3], 1)
    noise = torch.from_numpy(key.generator().standard_normal(shape))
    turn = torch.fft.fft2(noise, dim=(1, 2))
    turn = turn / turn.abs().clamp(min=1e-12)  # (N, H, W, 1)
    turn[:, 0, 0] = 1  # the mean colour is not turned
    mixed = torch.fft.ifft2(torch.fft.fft2(pixels.double(), dim=(1, 2)) * turn, dim=(1, 2)).real
    return mixed.round().clamp(0, 255).byte()
