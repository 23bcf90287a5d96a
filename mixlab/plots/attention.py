"""Attention maps beside each other, and bars of their localisation scores."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from mixlab.attention import Viewer, enlarge, titles
from mixlab.plots.style import COLOURS, verbatim

NAMES = {("activation", 1): "sum |A|", ("activation", 2): "sum |A|²", ("activation", 4): "sum |A|⁴",
         ("class", None): "Grad-CAM: class", ("similarity", None): "Grad-CAM: like another"}


def attention(runs, *, images=4, method="activation", layer=4, power=2, opacity=0.65, seed=0, data_dir="auto",
              device="cpu"):
    """Images by rows, runs by columns, as in Figure 4 of mix-ssl: the image itself first, then each run's map over it.

    Args:
        runs: list of finished ``Run``.
        images: how many test images, one of each class in turn.
        method: ``activation``, ``class`` (Grad-CAM of the image's own class) or ``similarity`` (Grad-CAM of the
            similarity to the image in the row below, the first row's for the last).
        layer: 1 to 4. power: 1, 2 or 4, of ``activation``. opacity: of the map, in [0, 1].
        data_dir, device: as ``mixlab.attention.Viewer``.
    Returns:
        a matplotlib figure. Each map is divided by its own largest value: compare places, not strengths.
    """
    viewer = Viewer(runs, count=images, seed=seed, data_dir=data_dir, device=device)
    pixels, labels = viewer.images.pixels, viewer.images.labels
    columns = viewer.maps(pixels, method, (layer,), power=power, asked=labels, other=pixels.roll(-1, 0))
    count = len(pixels)
    figure, axes = plt.subplots(count, len(runs) + 1, figsize=(1.55 * (len(runs) + 1) + 1.1, 1.55 * count + 0.9),
                                squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    axes[0, 0].set_title("image", fontsize=9)
    for row in range(count):
        axes[row, 0].imshow(pixels[row].numpy())
        axes[row, 0].set_ylabel(verbatim(viewer.names[row]), fontsize=9, rotation=0, ha="right", va="center")
    for column, (title, shown) in enumerate(zip(viewer.titles, columns, strict=True), start=1):
        axes[0, column].set_title(verbatim(title), fontsize=8)
        for row in range(count):
            drawn = _overlay(axes[row, column], pixels[row], shown.values[layer][row], opacity)
            axes[row, column].set_xlabel(verbatim(shown.words[row]), fontsize=8, labelpad=2)
    name = NAMES[method, power if method == "activation" else None]
    figure.colorbar(drawn, ax=axes, shrink=0.6, label=f"{name}, layer {layer}, share of its largest value")
    return figure


def _overlay(ax, pixels, values, opacity):
    """An image in grey under its map; returns what a colour bar needs."""
    height, width = pixels.shape[:2]
    grey = pixels.float() @ torch.tensor([0.299, 0.587, 0.114])
    ax.imshow(grey.numpy(), cmap="grey", vmin=0, vmax=255)
    smooth = enlarge(values[None], 4 * height, 4 * width)[0].numpy()
    return ax.imshow(smooth, cmap="cividis", vmin=0, vmax=1, alpha=opacity, extent=(-0.5, width - 0.5, height - 0.5,
                                                                                    -0.5))


def localisation(runs, records, *, layer=4, rows="mosaics"):
    """Bars of the localisation scores: the share of energy and the pointing game, chance as a line in each group.

    Args:
        runs: list of ``Run``. records: what ``attention.localisation`` gave for each of them.
        rows: ``mosaics``, or ``boxes`` where the records have them.
    Returns:
        a matplotlib figure; whiskers are standard errors over images, not over trainings.
    """
    figure, axes = plt.subplots(2, 1, figsize=(9.5, 6.4), sharex=True, layout="constrained")
    found = [{(row["method"], row["power"]): row for row in record[rows] if row["layer"] == layer}
             for record in records]
    groups = [group for group in NAMES if group in found[0]]
    for ax, score, label in zip(axes, ("energy", "pointing"), ("energy in the right place", "pointing game"),
                                strict=True):
        for number, (title, own) in enumerate(zip(titles(runs), found, strict=True)):
            _bars(ax, number, len(runs), title.replace("\n", ", "), [own[group] for group in groups], score)
        _chance_lines(ax, [found[0][group]["chance"] for group in groups])
        ax.set(ylabel=f"{label} (%)", ylim=(0, None))
        ax.grid(axis="y", alpha=0.3)
    axes[1].set_xticks(range(len(groups)), [NAMES[group] for group in groups])
    where = "two-object mosaics" if rows == "mosaics" else "boxes"
    axes[0].set_title(f"layer {layer}, {found[0][groups[0]]['questions']:,} {where}", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _bars(ax, number, count, title, rows, score):
    width = 0.8 / count
    x = np.arange(len(rows)) + (number - (count - 1) / 2) * width
    errors = [100 * (row[f"{score}_se"] or 0) for row in rows]
    ax.bar(x, [100 * row[score] for row in rows], 0.9 * width, yerr=errors, color=COLOURS[number % len(COLOURS)],
           label=verbatim(title), error_kw={"elinewidth": 1, "ecolor": "#444"})


def _chance_lines(ax, chances):
    for group, chance in enumerate(chances):
        ax.plot([group - 0.46, group + 0.46], [100 * chance] * 2, "k--", linewidth=1.2,
                label="chance" if group == 0 else None)
