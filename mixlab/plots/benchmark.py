"""Pictures of measured speed: rates beside peers and floors, the loss by size, what grows, and targets."""

import matplotlib.pyplot as plt
from matplotlib.ticker import LogFormatter

from mixlab.plots.style import COLOURS, verbatim

OURS, PEER, FLOOR = COLOURS[0], COLOURS[7], COLOURS[1]
MARKS = {"held": ("o", COLOURS[2]), "not held": ("X", COLOURS[1])}


def benchmark_rates(rows):
    """Views per second on a logarithmic scale: augmentation by arm, and training steps by encoder with their floors.

    Bars are medians, lines the spread over rounds; a triangle is the nearest floor, which nothing can pass.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    _rates(left, _views_per_second(rows, "augmentation"), lambda row: row.arm)
    steps = _views_per_second(rows, "step")
    _rates(right, steps, lambda row: f"{row.case}, {row.arm} {row.precision}")
    for place, row in enumerate(steps):
        floors = [f.value for f in _views_per_second(rows, "floors")
                  if (f.case, f.precision) == (row.case, row.precision)]
        if floors:
            right.plot(min(floors), place, "<", color=FLOOR, ms=7)
    left.set_title("Augmented views")
    right.set_title("Training steps (triangle: floor)" if _views_per_second(rows, "floors") else "Training steps")
    return figure


def _views_per_second(rows, part):
    return [row for row in rows if row.part == part and row.unit == "views/s"]


def _rates(ax, rows, name):
    """A horizontal bar per row, ours in colour."""
    for place, row in enumerate(rows):
        ax.barh(place, row.value, color=OURS if row.arm.startswith("mixlab") else PEER)
        if row.low is not None:
            ax.plot([row.low, row.high], [place, place], color="black", lw=1)
        ax.annotate(f" {row.value:,.0f}", (0, place), xycoords=("axes fraction", "data"), va="center", fontsize=7,
                    color="white" if row.arm.startswith("mixlab") else "black")
    ax.set_yticks(range(len(rows)), [verbatim(name(row)) for row in rows], fontsize=8)
    if rows:
        ax.set(xscale="log", xlim=(min(r.value for r in rows) / 2, max(r.value for r in rows) * 3))
    ax.set_xlabel("views per second (logarithmic)")
    ax.invert_yaxis()


def benchmark_loss(rows):
    """Time and peak memory of the contrastive loss by the number of embeddings, both axes logarithmic."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    panels = (("ms", "milliseconds, forward and backward"), ("MiB", "peak MiB beyond the embeddings"))
    arms = list(_by_arm(rows, "ms") | _by_arm(rows, "MiB"))  # the same colour in both
    for ax, (unit, label) in zip(axes, panels, strict=True):
        for arm, own in _by_arm(rows, unit).items():
            colour = COLOURS[arms.index(arm) % len(COLOURS)]
            line = "-" if arm.startswith("mixlab") else "--"
            ax.plot([r.size for r in own], [r.value for r in own], f"o{line}", ms=4, color=colour, label=verbatim(arm))
        ax.set(xscale="log", yscale="log", xlabel="embeddings", ylabel=label)
        ax.grid(alpha=0.3)
    if axes[0].lines:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=3)
    return figure


def _by_arm(rows, unit):
    """``{"arm precision": rows by size}`` of what the loss was measured in."""
    found = {}
    for row in sorted((r for r in rows if r.part == "loss" and r.unit == unit), key=lambda r: r.size):
        if row.value is not None and row.value == row.value:
            found.setdefault(f"{row.arm} {row.precision}", []).append(row)
    return found


def benchmark_growth(rows):
    """Left: how the cost of a view changes with batch and data set; right: searches, probes and epochs beside peers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    cases = {}
    for row in rows:
        if row.unit == "µs":
            cases.setdefault(row.case, []).append(row)
    for (case, own), colour in zip(cases.items(), COLOURS, strict=False):
        costs = [r.value / own[0].value for r in own]
        left.plot([r.size for r in own], costs, "o-", ms=4, color=colour, label=case.removeprefix("cost of a view "))
    left.axhspan(0.9, 1.1, color=PEER, alpha=0.2)
    left.set(xscale="log", xlabel="images in the batch, or in the data set", ylabel="times the cost at the first size",
             title="Cost of a view (band: 10 %)")
    if cases:
        sizes = sorted({row.size for own in cases.values() for row in own})
        left.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=7)
        left.minorticks_off()
        left.legend(fontsize=8)
    _ratio_bars(right, [r for r in rows if r.part in ("neighbours", "probe", "epoch") and r.unit == "times as fast as"])
    return figure


def _ratio_bars(ax, rows):
    for place, row in enumerate(rows):
        ax.barh(place, row.value, color=OURS)
        ax.plot([row.low, row.high], [place, place], color="black", lw=1)
        ax.annotate(f" {row.value:.3g}", (max(row.value, row.high), place), va="center", fontsize=8)
    ax.set_yticks(range(len(rows)), [verbatim(f"{r.case}\nagainst {r.against}") for r in rows], fontsize=7)
    ax.axvline(1, color="black", lw=0.8)
    ax.set(xscale="log", title="Times as fast")
    ax.xaxis.set_major_formatter(LogFormatter())
    ax.margins(x=0.2)
    ax.invert_yaxis()


def benchmark_targets(verdicts):
    """How far each measured target is held: beyond 1 is better than wanted; lines are the spread over rounds."""
    shown = [one for one in verdicts if one.row is not None and one.target.bound > 0]
    figure, ax = plt.subplots(figsize=(10, 1.2 + 0.28 * len(shown)), layout="constrained")
    for place, one in enumerate(shown):
        mark, colour = MARKS[one.verdict]
        ax.plot(_reached(one, one.row.value), place, mark, color=colour, ms=7)
        if one.row.low is not None:
            ax.plot([_reached(one, one.row.low), _reached(one, one.row.high)], [place, place], color=colour, lw=1)
    ax.set_yticks(range(len(shown)), [verbatim(one.target.claim) for one in shown], fontsize=8)
    ax.axvline(1, color="black", lw=0.8)
    ax.set(xscale="log", xlabel="times the target (circle: held, cross: not held)")
    ax.xaxis.set_major_formatter(LogFormatter())
    ax.xaxis.set_minor_formatter(LogFormatter())
    ax.margins(y=0.5 / max(len(shown), 1))
    ax.invert_yaxis()
    return figure


def _reached(one, value):
    return value / one.target.bound if one.target.least else one.target.bound / max(value, 1e-12)
