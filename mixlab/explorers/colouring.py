"""What the points of a cloud are coloured by: values, their names, and marks that colour-blind readers tell apart."""

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from mixlab import plots
from mixlab.plots.style import PALETTE

SYMBOLS = ("circle", "diamond")  # with the colours: as many marks as a legend can hold
MOST = len(PALETTE) * len(SYMBOLS)  # classes shown each with a mark of its own; of more, some are picked out
PICKED = len(PALETTE)  # classes picked out at first
GREY = "#BDBDBD"
TITLES = {"label": "label", "prediction": "prediction", "right/wrong": "right or wrong",
          "purity": "neighbour purity"}  # of the colourings, by what the parameter ``colour`` calls them
BANDS = 5  # of neighbour purity


@dataclass(frozen=True)
class Colouring:
    """A value for each point. ``colours`` is None for classes, which take their marks in the order they are shown."""

    title: str
    values: np.ndarray  # int64 (N,), positions in names
    names: tuple
    colours: tuple | None = None

    def marks(self, picked=()):
        """(value, name, colour, symbol) for each entry of the legend; ``picked`` are the classes if not all fit."""
        if self.colours is not None:
            return [(v, name, self.colours[v], SYMBOLS[0]) for v, name in enumerate(self.names)]
        shown = range(len(self.names)) if len(self.names) <= MOST else sorted(picked)[:MOST]
        others = [(-1, "other classes", GREY, SYMBOLS[0])] if len(self.names) > MOST else []
        return others + [(v, self.names[v], *mark(place)) for place, v in enumerate(shown)]

    def members(self, marks, kept=None):
        """For each of ``marks`` the positions of its points; value -1 takes those of no other. ``kept`` (N,) bool."""
        kept = np.ones(len(self.values), bool) if kept is None else kept
        named = [value for value, *_ in marks]
        return [np.flatnonzero(kept & (~np.isin(self.values, named) if value < 0 else self.values == value))
                for value in named]


def mark(place):
    """Colour and symbol of the class at ``place`` in a legend."""
    return PALETTE[place % len(PALETTE)], SYMBOLS[place // len(PALETTE) % len(SYMBOLS)]


def colourings(cloud):
    """What ``cloud`` can be coloured by, as {title: Colouring}: label, prediction, right or wrong, neighbour purity.

    What needs labels or predictions that the cloud has not is left out; a cloud without any has one colour.
    """
    found = []
    if cloud.labels is not None:
        found.append(Colouring("label", cloud.labels, tuple(cloud.classes)))
    if cloud.predictions is not None:
        found.append(Colouring("prediction", cloud.predictions, tuple(cloud.classes)))
    if (wrong := mistakes(cloud)) is not None:
        found.append(Colouring("right or wrong", wrong.astype(np.int64), ("right", "wrong"), (GREY, plots.COLOURS[1])))
    if cloud.purity is not None:
        found.append(Colouring("neighbour purity", _band(cloud.purity), BAND_NAMES, BAND_COLOURS))
    plain = Colouring("one colour", np.zeros(len(cloud.index), np.int64), ("images",), PALETTE[:1])
    return {one.title: one for one in found or [plain]}


def mistakes(cloud):
    """Which points are predicted wrongly, bool (N,), or None where that is not known."""
    return None if cloud.labels is None or cloud.predictions is None else cloud.predictions != cloud.labels


def most_mistaken(cloud, count=PICKED):
    """The classes to pick out at first: those with most mistakes, in order of their number; else the first ones."""
    wrong = mistakes(cloud)
    if wrong is None:
        return tuple(range(min(count, len(cloud.classes))))
    counts = np.bincount(cloud.labels[wrong], minlength=len(cloud.classes))
    return tuple(sorted(int(c) for c in np.argsort(-counts, kind="stable")[:count]))


def _band(purity):
    """Which of the bands each purity in [0, 1] is in; a share such as 3/5 belongs to the band that it opens."""
    return np.minimum((np.asarray(purity) * BANDS + 1e-6).astype(np.int64), BANDS - 1)


BAND_NAMES = tuple(f"{100 * b // BANDS} to {100 * (b + 1) // BANDS} %" for b in range(BANDS))
BAND_COLOURS = tuple(to_hex(colormaps["cividis"](b / (BANDS - 1))) for b in range(BANDS))
