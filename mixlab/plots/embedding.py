"""Pictures of clouds of points, each with what it cannot tell printed under it."""

import math
import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

from mixlab.errors import ParamError, nearest, problem
from mixlab.plots.style import PALETTE, short, verbatim

COLOURINGS = ("label", "prediction", "right/wrong", "purity")
MARKERS = ("o", "D", "^")
NAMED = len(PALETTE) * len(MARKERS)  # classes that colour and marker together tell apart
MANY = ("#0072B2", "#D55E00")  # right, wrong
GREY = "#999999"
KINDS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
COLUMNS = 6  # epochs beside each other


def embedding(clouds, colour="label"):
    """Clouds side by side as scatter plots, the quality of each map under it.

    Args:
        clouds: a ``projection.Cloud`` or a list of them.
        colour: ``label``, ``prediction`` (of kNN), ``right/wrong`` or ``purity`` (share of true neighbours with the
            same label). Points that lack it, as all do without labels, are grey.
    Raises:
        ParamError: an unknown colour.
    """
    clouds = list(clouds) if isinstance(clouds, list | tuple) else [clouds]
    _check(colour)
    figure, axes = plt.subplots(1, len(clouds), figsize=(5.2 * len(clouds), 5.8), squeeze=False, layout="constrained")
    for ax, cloud in zip(axes[0], clouds, strict=True):
        shades = _scatter(ax, cloud, -1, colour)
        ax.set_title(_wrapped((cloud.run.name, _what(cloud)), 62), fontsize=8)
        ax.set_xlabel(believable(cloud), fontsize=9)
        if shades is not None:
            figure.colorbar(shades, ax=ax, shrink=0.6, location="bottom", label="% of the nearest with the same label")
    _legend(figure, clouds, colour)
    return figure


def embedding_epochs(cloud, colour="label"):
    """One picture for each epoch of a cloud, all on its one map and with the same axes: points can be followed.

    At most 12 epochs are shown, the first and the last among them.
    """
    _check(colour)
    shown = np.unique(np.linspace(0, len(cloud.epochs) - 1, min(len(cloud.epochs), 2 * COLUMNS)).round().astype(int))
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    width = max(2.1 * columns, 5.0)
    figure, axes = plt.subplots(rows, columns, figsize=(width, 2.3 * rows + 1.3), squeeze=False, layout="constrained",
                                sharex=True, sharey=True)
    for ax in axes.flat:
        ax.axis("off")
    for ax, epoch in zip(axes.flat, shown, strict=False):
        ax.axis("on")
        shades = _scatter(ax, cloud, epoch, colour, size=3)
        ax.set_title(f"epoch {cloud.epochs[epoch]}", fontsize=9)
    if shades is not None:
        figure.colorbar(shades, ax=axes, shrink=0.6, label="% of the nearest with the same label")
    lines = (cloud.run.name, f"{_what(cloud)}; the map is that of epoch {cloud.epochs[-1]}", believable(cloud))
    figure.suptitle(_wrapped(lines, int(13 * width)), fontsize=8)
    _legend(figure, [cloud], colour)
    return figure


def believable(cloud):
    """``trustworthiness 0.93, 10 nearest kept 41 %``, and of how many points where that is not all of them."""
    found = cloud.quality
    if found.get("trustworthiness") is None:
        return "nothing to trust: no point is nearer than another"
    kept = 100 * found["neighbours_kept"]
    text = f"trustworthiness {found['trustworthiness']:.2f}, {found['k']} nearest kept {kept:.0f} %"
    return text if found["points"] >= len(cloud.index) else f"{text}\n(measured on {found['points']:,} points)"


def _wrapped(lines, width):
    return verbatim("\n".join(textwrap.fill(line, width) for line in lines))


def _check(colour):
    if colour not in COLOURINGS:
        raise ParamError(problem("colour", f"one of {', '.join(COLOURINGS)}", colour, nearest(colour, COLOURINGS)))


def _what(cloud):
    return f"{KINDS.get(cloud.kind, cloud.kind)} of {cloud.layer} features, {len(cloud.index):,} images"


def _scatter(ax, cloud, epoch, colour, size=None):
    """Draws one epoch; returns what a colour bar describes, or None."""
    points = cloud.maps[epoch]  # (N, 2)
    size = size or float(np.clip(16000 / len(points), 2, 30))
    values, shades = _values(cloud, colour), None
    ax.set(xticks=[], yticks=[])
    if values is None:
        ax.scatter(*points.T, s=size, color=GREY, linewidths=0, rasterized=True)
    elif colour == "purity":
        shades = ax.scatter(*points.T, s=size, c=100 * values, cmap="cividis", vmin=0, vmax=100, linewidths=0,
                            rasterized=True)
    else:
        for value in np.unique(values):  # wrong ones last, so on top
            here = points[values == value]
            shade, marker = _look(int(value), colour)
            ax.scatter(*here.T, s=size, color=shade, marker=marker, linewidths=0, alpha=0.8, rasterized=True)
    ax.margins(0.04)
    return shades


def _values(cloud, colour):
    """Numbers (N,) to colour by, or None where the cloud lacks them."""
    if colour == "right/wrong":
        known = cloud.labels is not None and cloud.predictions is not None
        return (cloud.labels != cloud.predictions).astype(np.int64) if known else None
    return {"label": cloud.labels, "prediction": cloud.predictions, "purity": cloud.purity}[colour]


def _look(value, colour):
    """Colour and marker of a class, or of right (0) and wrong (1)."""
    if colour == "right/wrong":
        return MANY[value], "o"
    return PALETTE[value % len(PALETTE)], MARKERS[value // len(PALETTE) % len(MARKERS)]


def _legend(figure, clouds, colour):
    """Names below the figure; of more classes than can be told apart a sentence instead."""
    known = [cloud for cloud in clouds if _values(cloud, colour) is not None]
    if not known or colour == "purity":
        text = None if known else f"no {'labels' if colour != 'prediction' else 'predictions'}: points are grey"
    elif colour != "right/wrong" and any(len(cloud.classes) > NAMED for cloud in known):
        text = f"{max(len(cloud.classes) for cloud in known)} classes: colours repeat, so near points of one colour " \
               "need not be of one class"
    else:
        text = None
        names = {0: "right", 1: "wrong"} if colour == "right/wrong" else dict(enumerate(
            max((cloud.classes for cloud in known), key=len)))
        handles = [Line2D([], [], ls="", marker=_look(k, colour)[1], color=_look(k, colour)[0], ms=5) for k in names]
        columns = max(2, min(len(names), int(figure.get_figwidth() // 1.25)))
        shown = [short(name, 18) for name in names.values()]
        figure.legend(handles, shown, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    if text:
        figure.legend([Line2D([], [], ls="")], [text], loc="outside lower center", fontsize=8, frameon=False,
                      handlelength=0)
