"""Pictures of a grid: accuracy by mixer and Beta parameter, effects with their intervals, interaction and cost."""

import statistics

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from mixlab.plots.evaluation import note
from mixlab.plots.grids import in_label
from mixlab.plots.paired import comparisons, effects_of, mean_and_spread
from mixlab.plots.style import COLOURS, verbatim

MARKERS = "os^DvPX*<>"
SCALE = colormaps["cividis"]
NOTHING = "No run of this grid is finished and evaluated yet."


def heat_map(results):
    """Accuracy in percent by the two parameters that vary, a panel for each set of runs that may be compared.

    A run that does not take the column's parameter fills its row. Written: mean, standard deviation over seeds, count.
    """
    if not results.panels:
        return note(NOTHING)
    heights = [len(panel.rows) + len({row for row, _ in panel.unmixed}) for panel in results.panels]
    width = max(len(_columns(panel)) for panel in results.panels)
    figure, axes = plt.subplots(len(results.panels), 1, figsize=(1.5 * width + 3.2, 0.72 * sum(heights) +
                                1.1 * len(heights)), squeeze=False, height_ratios=heights, layout="constrained")
    for ax, panel in zip(axes[:, 0], results.panels, strict=True):
        scale = colours_of(results, panel)
        draw_heat(ax, panel, scale)
        figure.colorbar(plt.cm.ScalarMappable(scale, SCALE), ax=ax, label="top-1 accuracy in %", fraction=0.05)
    figure.suptitle(verbatim(f"{results.measure}: mean ± sd over seeds, n runs"), fontsize=10)
    return figure


def _columns(panel):
    """The columns to draw; one without a name where no run takes the parameter."""
    return [column for column in panel.columns if column is not None] or [None]


def colours_of(results, panel):
    """The scale of a panel's colours in percent: one for all panels that may be compared."""
    alike = [other for other in results.panels if other.same == panel.same]
    groups = [group for other in alike for group in [*other.spots.values(), *other.unmixed.values()]]
    means = [100 * mean_and_spread(group)[0] for group in groups]
    return Normalize(min(means) - 0.5, max(means) + 0.5)


def draw_heat(ax, panel, scale):
    """Draws one panel into ``ax``."""
    columns = _columns(panel)
    rows = list(dict.fromkeys([*panel.rows, *(row for row, _ in panel.unmixed)]))
    for (row, column), expected in {**panel.expected, **{s: len(g) for s, g in panel.unmixed.items()}}.items():
        x, width = (0, len(columns)) if column is None else (columns.index(column), 1)
        group = panel.spots.get((row, column)) or panel.unmixed.get((row, column), [])
        _square(ax, x, rows.index(row), width, group, expected, scale)
    ax.set_yticks(np.arange(len(rows)) + 0.5, [verbatim(in_label(row)) for row in rows])
    heads = [verbatim(in_label(column)) if panel.names[1] else "" for column in columns]
    ax.set_xticks(np.arange(len(columns)) + 0.5, heads)
    ax.set(xlim=(0, len(columns)), ylim=(len(rows), 0), xlabel=panel.names[1], ylabel=panel.names[0])
    ax.set_title(verbatim(panel.title), fontsize=10)
    ax.tick_params(length=0)


def _square(ax, x, y, width, group, expected, scale):
    """One spot of a heat map with its mean, spread and count."""
    if not group:
        ax.add_patch(Rectangle((x, y), width, 1, facecolor="#eeeeee", edgecolor="white", hatch="//"))
        ax.text(x + width / 2, y + 0.5, f"0 of {expected}", ha="center", va="center", fontsize=8, color="#555555")
        return
    mean, spread = mean_and_spread(group)
    colour = SCALE(scale(100 * mean))
    ax.add_patch(Rectangle((x, y), width, 1, facecolor=colour, edgecolor="white"))
    count = f"n {len(group)}" + (f" of {expected}" if len(group) < expected else "")
    text = f"{100 * mean:.1f}\n" + (f"± {100 * spread:.1f}, {count}" if spread is not None else count)
    dark = 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2] < 0.5
    ax.text(x + width / 2, y + 0.5, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")


def alpha_curves(results):
    """Accuracy over the parameter of the columns where it is a number, a line per row; dotted is the unmixed run.

    Rows that do not take the parameter are dashed. Bars and bands are standard deviations over seeds.
    """
    panels = [panel for panel in results.panels if len(_numbers(panel)) > 1]
    if not panels:
        return note("Nothing varies along a number here: give axes a list of several alpha.")
    figure, axes = plt.subplots(1, len(panels), figsize=(4.6 * len(panels) + 1, 4.2), squeeze=False,
                                layout="constrained")
    first, labelled = {}, {}
    for ax, panel in zip(axes[0], panels, strict=True):
        _draw_curves(ax, panel, looks_of(results))
        ax.set_title(verbatim(panel.title), fontsize=9)
        if first.setdefault(panel.same, ax) is not ax:
            ax.sharey(first[panel.same])  # one scale only where accuracies may be compared
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            labelled.setdefault(label, handle)
    axes[0, 0].set_ylabel(f"top-1 accuracy in %\n({results.measure})", fontsize=9)
    figure.legend(labelled.values(), labelled, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def looks_of(results):
    """``{row: (number, colour, marker)}``: a row looks alike in every panel."""
    rows = dict.fromkeys(row for panel in results.panels for row in panel.rows)
    return {row: (i, COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, row in enumerate(rows)}


def _numbers(panel):
    return sorted(c for c in panel.columns if isinstance(c, int | float) and not isinstance(c, bool))


def _draw_curves(ax, panel, looks):
    numbers = _numbers(panel)
    pad = (numbers[-1] / numbers[0]) ** 0.06 if numbers[0] > 0 else 0.06 * (numbers[-1] - numbers[0])
    ends = (numbers[0] / pad, numbers[-1] * pad) if numbers[0] > 0 else (numbers[0] - pad, numbers[-1] + pad)
    ax.set_xscale("log" if numbers[0] > 0 else "linear")
    for row in panel.rows:
        i, colour, marker = looks[row]
        shift = 1 + 0.02 * (i - len(looks) / 2)
        known = [(x, panel.spots[row, x]) for x in numbers if (row, x) in panel.spots]
        if known:
            means, spreads = zip(*[mean_and_spread(group) for _, group in known], strict=True)
            ax.errorbar([x * shift for x, _ in known], [100 * mean for mean in means], fmt=f"{marker}-", ms=5,
                        yerr=[100 * (spread or 0) for spread in spreads], color=colour, capsize=2,
                        label=verbatim(in_label(row)))
        elif (row, None) in panel.spots:
            mean = 100 * mean_and_spread(panel.spots[row, None])[0]
            ax.axhline(mean, ls="--", color=colour, label=verbatim(in_label(row)))
    for (row, column), group in panel.unmixed.items():
        mean, spread = mean_and_spread(group)
        width = ends if column is None else (column * 0.94, column * 1.06)
        label = verbatim(row) if verbatim(row) not in ax.get_legend_handles_labels()[1] else None
        ax.plot(width, [100 * mean] * 2, ls=":", color="black", label=label)
        ax.fill_between(width, *([100 * (mean + sign * (spread or 0))] * 2 for sign in (-1, 1)), color="black",
                        alpha=0.08, lw=0)
    ax.set_xlim(ends)
    ax.set_xticks(numbers, [in_label(float(x)) for x in numbers])
    ax.minorticks_off()
    ax.set_xlabel(verbatim(panel.names[1]))
    ax.grid(alpha=0.3)


def mixing_effects(results):
    """Difference to the unmixed run of the same seed, in points: a dot is the mean, thick its 95 % interval (Student).

    Thin: the interval that holds for all comparisons of the grid at once (Bonferroni). A hollow dot has one pair of
    seeds and no interval.
    """
    count = comparisons(results)
    panels = [panel for panel in results.panels if effects_of(panel, count)]
    if not panels:
        return note("No run has its unmixed relative with the same seed yet: set reference to True.")
    heights = [len(effects_of(panel, count)) for panel in panels]
    figure, axes = plt.subplots(len(panels), 1, figsize=(9, 0.27 * sum(heights) + 1.1 * len(panels)), squeeze=False,
                                height_ratios=heights, sharex=True, layout="constrained")
    for ax, panel in zip(axes[:, 0], panels, strict=True):
        _draw_effects(ax, panel, effects_of(panel, count), looks_of(results))
    _within_reason(axes[-1, 0], [e for panel in panels for e in effects_of(panel, count).values()])
    axes[-1, 0].set_xlabel(f"difference to unmixed, in points ({results.measure});\n"
                           f"thick: 95 % for one, thin: for all {count} comparisons at once")
    return figure


def _draw_effects(ax, panel, found, looks):
    names = list(found)
    for y, spot in enumerate(names):
        one, colour = found[spot], looks[spot[0]][1]
        for limits, width in ((one.wide, 1), (one.interval, 4)):
            if limits:
                ax.plot([100 * x for x in limits], [y, y], lw=width, color=colour, solid_capstyle="butt")
        ax.plot(100 * one.mean, y, "o", ms=7, mec="black", mfc=colour if one.n > 1 else "none")
        ax.annotate(f"n {one.n}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    ax.axvline(0, color="black", lw=0.8)
    ax.set_yticks(range(len(names)), [verbatim(spot_label(panel, spot)) for spot in names], fontsize=8)
    ax.set_ylim(len(names) - 0.4, -0.6)
    relative = next(iter(panel.pairs(names[0])))[1].cell.params
    ax.set_title(verbatim(f"{panel.title}, against {relative.method} unmixed"), fontsize=9)
    ax.grid(axis="x", alpha=0.3)


def spot_label(panel, spot):
    """``cutmix, alpha 0.2`` of a spot of a panel."""
    return in_label(spot[0]) + (f", {panel.names[1]} {in_label(spot[1])}" if spot[1] is not None else "")


def _within_reason(ax, found):
    """Limits that show every mean and thick interval where they are narrower than 60 points; wider ones run out."""
    ends = [100 * x for one in found for x in (one.mean, *(one.interval or ()))]
    ends = [x for x in ends if abs(x) < 30] or [100 * one.mean for one in found]
    reach = max(1.0, *(abs(x) for x in ends)) * 1.15
    ax.set_xlim(-reach, reach)


def interaction(results):
    """The effect of each mixer in each method, in points against that method's own unmixed run: parallel lines mean
    that what a mixer does is independent of the method. Bars are 95 % intervals (Student, paired by seed).
    """
    panels = [panel for panel in results.panels if panel.names[0] == "mixer" and effects_of(panel, 1)]
    if len({panel.spots and next(iter(panel.spots.values()))[0].cell.params.method for panel in panels}) < 2:
        return note("One method only: an interaction needs several in axes, e.g. method: [simclr, mixsupcon].")
    spots = list(dict.fromkeys(spot for panel in panels for spot in effects_of(panel, 1)))
    figure, ax = plt.subplots(figsize=(0.55 * len(spots) + 3, 4.4), layout="constrained")
    for i, panel in enumerate(panels):
        found, shift = effects_of(panel, 1), 0.12 * (i - (len(panels) - 1) / 2)
        at = [spots.index(spot) + shift for spot in found]
        bars = [100 * (one.interval[1] - one.mean) if one.interval else 0 for one in found.values()]
        ax.errorbar(at, [100 * one.mean for one in found.values()], yerr=bars, fmt=f"{MARKERS[i % len(MARKERS)]}-",
                    color=COLOURS[i % len(COLOURS)], capsize=2, lw=1, label=verbatim(panel.title))
    _clip(ax, [100 * one.mean for panel in panels for one in effects_of(panel, 1).values()])
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xticks(range(len(spots)), [verbatim(spot_label(panels[0], spot)) for spot in spots], rotation=40, ha="right",
                  fontsize=8)
    ax.set_ylabel(f"difference to unmixed, in points\n({results.measure}; bars: 95 % for one)", fontsize=9)
    ax.grid(alpha=0.3)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", fontsize=8, frameon=False)
    return figure


def _clip(ax, means):
    """Bars longer than three times the spread of the means run out of the picture."""
    low, high = min(0, *means), max(0, *means)
    reach = max(high - low, 1.0)
    ax.set_ylim(max(ax.get_ylim()[0], low - 1.5 * reach), min(ax.get_ylim()[1], high + 1.5 * reach))


def cost(results):
    """Accuracy against seconds in training steps: a dot is a spot's mean, a small one a run, a star the unmixed run.

    Seconds compare only where the same machine was equally busy.
    """
    drawn = [(panel, row, group) for panel in results.panels for row, group in _by_row(panel)]
    if not drawn:
        return note(NOTHING)
    figure, axes = plt.subplots(1, len(results.panels), figsize=(4.6 * len(results.panels) + 1, 4.2), squeeze=False,
                                layout="constrained")
    for ax, panel in zip(axes[0], results.panels, strict=True):
        _draw_cost(ax, panel, looks_of(results))
    axes[0, 0].set_ylabel(f"top-1 accuracy in %\n({results.measure})", fontsize=9)
    return figure


def _by_row(panel):
    """Pairs (row, its runs) of the spots whose runs have their seconds, those that do not mix last."""
    spots = [*panel.spots.items(), *panel.unmixed.items()]
    return [(row, group) for (row, _), group in spots if all(made.seconds is not None for made in group)]


def _draw_cost(ax, panel, looks):
    for row, group in _by_row(panel):
        _, colour, marker = looks.get(row, (None, "black", "*"))
        size = 8 if row in looks else 12
        seconds, tops = [m.seconds for m in group], [100 * m.top1 for m in group]
        ax.plot(seconds, tops, ".", ms=4, color=colour, alpha=0.5)
        seen = ax.get_legend_handles_labels()[1]
        label = verbatim(in_label(row))
        ax.plot(statistics.fmean(seconds), statistics.fmean(tops), marker, ms=size, mec="black", color=colour,
                ls="", label=label if label not in seen else None)
    machines = {(m.about["device"], m.about["threads"]) for group in panel.spots.values() for m in group}
    ax.set(xlabel="seconds in training steps" + (f"\n({len(machines)} different machines or thread counts: "
           "not comparable)" if len(machines) > 1 else ""))
    ax.set_title(verbatim(panel.title), fontsize=9)
    if ax.lines:
        ax.set_xlim(0, 1.08 * ax.dataLim.x1)
        ax.legend(fontsize=8)
    ax.grid(alpha=0.3)
