"""Pictures of evaluated runs: accuracy over seeds, spectrum, corruptions, few labels. All from stored files."""

import statistics
import textwrap

import matplotlib.pyplot as plt
import numpy as np

from mixlab.plots.evaluated import PROBES, by_setting, measures, one_each
from mixlab.plots.style import COLOURS, verbatim

FLOOR, REFERENCE = COLOURS[7], COLOURS[1]
LAYERS = {"encoder": ("features", COLOURS[5]), "projection": ("projections", COLOURS[4])}


def accuracy_bars(shown, everything):
    """A panel per measure, a bar per setting and layer: mean over seeds, its standard deviation, a dot per run.

    Args:
        shown: the evaluations to show.
        everything: where the floor (runs of 0 epochs) and the reference (cross_entropy) are looked for: same data
            set, same encoder and same protocol as the first one shown; the lines cross only bars of these.
    """
    groups = by_setting(shown)
    names = sorted({name for one in shown for name, _ in measures(one)}, key=_order)
    columns = {1: 1, 2: 2, 4: 2}.get(len(names), 3)
    rows = -(-len(names) // columns)
    size = (10, rows * (0.9 + 0.5 * len(groups)) + 0.9)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=True, layout="constrained")
    lines = _lines(shown, everything)
    for ax, name in zip(axes.flat, names, strict=False):
        _bars(ax, name, groups)
        _mark(ax, name, [i for i, group in enumerate(groups.values()) if _alike(shown[0], group)], lines)
    for ax in axes.flat[len(names):]:
        ax.set_visible(False)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("top-1 accuracy in %", fontsize=10)
    figure.legend(*_legend(lines), loc="outside upper center", fontsize=8, ncols=3, frameon=False)
    return figure


def _order(name):
    known = [*PROBES.values()]
    return name == "own classifier", name in known and known.index(name), name


def floor_of(like, everything):
    """Evaluations of untrained encoders that ``like`` can be held against: same encoder, images, bank and protocol.

    On which images an encoder was not trained makes no difference.
    """
    def place(one):
        names = ("encoder", "data_checksum", "train_images")
        return [one.record.get(name) for name in names], one.rules

    return one_each(e for e in everything if e.is_untrained and place(e) == place(like))


def _alike(like, everything):
    place = like.record["encoder"], like.dataset, like.rules
    return one_each(e for e in everything if (e.record["encoder"], e.dataset, e.rules) == place)


def _lines(shown, everything):
    """``{label: (colour, style, {(what, layer): accuracies in percent})}`` of the floor and of the reference."""
    floor, control = floor_of(shown[0], everything), [e for e in _alike(shown[0], everything) if e.is_control]
    own = [e.untrained_knn for e in _alike(shown[0], shown) if e.untrained_knn]
    if own and not floor:
        label, floor = f"untrained encoder (floor): as the run recorded it, {next(iter(own[0]))[0]} only", own
    else:
        label, floor = f"untrained encoder (floor): {_runs(floor)}", [measures(e) for e in floor]
    return {label: (FLOOR, "--", _gathered(floor)),
            f"cross-entropy control: {_runs(control)}": (REFERENCE, ":", _gathered(map(measures, control)))}


def _gathered(rows):
    found = {}
    for row in rows:
        for what, share in row.items():
            found.setdefault(what, []).append(100 * share)
    return found


def _legend(lines):
    entries = {label: plt.Line2D([], [], color=colour, ls=style, lw=2) for label, (colour, style, _) in lines.items()}
    entries |= {layer: plt.Rectangle((0, 0), 1, 1, color=colour) for layer, colour in LAYERS.values()}
    entries["one run"] = plt.Line2D([], [], color="black", marker="o", ms=3, ls="")
    entries["standard deviation over runs"] = plt.Line2D([], [], color="black", lw=1)
    return list(entries.values()), list(entries)


def _runs(found):
    return {0: "none evaluated, so no line", 1: "1 run"}.get(len(found), f"mean of {len(found)} runs")


def _bars(ax, name, groups):
    for place, group in enumerate(groups.values()):
        for layer, (_, colour) in LAYERS.items():
            values = _values(group, name, layer)
            if values:
                _bar(ax, values, place + (0.2 if layer == "projection" else -0.2), colour)
    ax.set_title(name, fontsize=9)
    ax.set_yticks(range(len(groups)), [verbatim(label) for label in groups], fontsize=8)
    ax.set_xlim(0, 100)
    ax.grid(axis="x", alpha=0.3)


def _mark(ax, name, places, lines):
    """Floor and reference across the bars at ``places``, to which alone they may be compared."""
    for colour, style, found in lines.values():
        for place in places if (name, "encoder") in found else ():
            mean = statistics.fmean(found[name, "encoder"])
            ax.plot([mean, mean], [place - 0.5, place + 0.5], color=colour, ls=style, lw=2)


def _values(evaluations, name, layer):
    return [100 * measures(one)[name, layer] for one in evaluations if (name, layer) in measures(one)]


def _bar(ax, values, place, colour):
    mean = statistics.fmean(values)
    ax.barh(place, mean, color=colour, height=0.38)
    if len(values) > 1:
        ax.errorbar(mean, place, xerr=statistics.stdev(values), color="black", capsize=3, lw=1)
    ax.plot(values, [place] * len(values), "o", ms=2.5, color="black")
    ax.text(99, place, f"{mean:.1f}", va="center", ha="right", fontsize=7)


def spectrum(shown, everything=()):
    """Singular values of the features, largest first, as shares of the largest: a collapsed encoder falls off a cliff.

    One run of each setting: features full, projections dashed; grey, the untrained encoder.
    """
    drawn = {label: group[0] for label, group in by_setting(shown).items() if group[0].record["geometry"]}
    if not drawn:
        return note("Geometry was not measured for these runs: set geometry to True.")
    known = [one.run for one in drawn.values()]
    floor = [e for e in floor_of(shown[0], everything) if e.run not in known and e.record["geometry"]]
    figure, ax = plt.subplots(figsize=(10, 3.8), layout="constrained")
    for (label, one), colour in zip(drawn.items(), _cycle(len(drawn)), strict=True):
        _spectra(ax, one, label, colour)
    for one in floor[:1]:
        _spectra(ax, one, "untrained encoder", FLOOR)
    ax.set(xscale="log", yscale="log", xlabel="singular value, the largest first", ylabel="share of the largest",
           title="Spectrum of the test features (dashed: projections)")
    ax.grid(alpha=0.3, which="both")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _spectra(ax, one, label, colour):
    for layer, geometry in one.record["geometry"].items():
        values = np.array(geometry["spectrum"])
        values = values[values > 1e-6 * values[0]]
        ax.plot(np.arange(1, len(values) + 1), values / values[0], "-" if layer == "encoder" else "--", color=colour,
                label=f"{verbatim(label)}: {LAYERS[layer][0]}, effective rank {geometry['effective_rank']:.0f}")


def robustness(shown):
    """A panel per corruption, a line per setting: accuracy of one probe as the images get worse, mean over seeds."""
    groups = _by_probe(by_setting(shown))
    names = list(dict.fromkeys(row["corruption"] for one in shown for row in one.record["robustness"]
                               if row["severity"]))
    if not names:
        return note("Robustness was not measured for these runs: set robustness to True.")
    figure, axes = plt.subplots(1, len(names), figsize=(10, 3.2), sharey=True, squeeze=False, layout="constrained")
    for ax, name in zip(axes[0], names, strict=True):
        for (label, group), colour in zip(groups.items(), _cycle(len(groups)), strict=True):
            _curve(ax, [_severities(one, name) for one in group], verbatim(label), colour)
        ax.set_title(name, fontsize=9)
        ax.set_xticks(range(6), ["0", *"12345"])
        ax.grid(alpha=0.3)
    axes[0, 0].set_ylabel("top-1 accuracy in %")
    axes[0, len(names) // 2].set_xlabel("severity (0: clean images)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=2)
    return figure


def _by_probe(groups):
    """Evaluations with corruptions, by setting and by the probe that was asked; the label says it where they differ."""
    found = {}
    for label, group in groups.items():
        asked = [(e.record.get("predictions_of"), e) for e in group if e.record["robustness"]]
        several = len({probe for probe, _ in asked}) > 1
        for probe, one in asked:
            found.setdefault(f"{label}: {PROBES.get(probe, probe)}" if several else label, []).append(one)
    return found


def _severities(one, corruption):
    """``{severity: accuracy}``; severity 0 is the same probe on the same images, clean."""
    return {row["severity"]: row["top1"] for row in one.record["robustness"]
            if row["corruption"] == corruption or not row["severity"]}


def few_labels(shown):
    """Accuracy by share of the labels, a line per setting; bars are the standard deviation over draws and seeds."""
    curves = {}
    for label, group in by_setting(shown).items():
        for probe in dict.fromkeys(row["probe"] for one in group for row in one.record["few_labels"]):
            curves[label, probe] = [_fractions(one, probe) for one in group]
    if not curves:
        return note("Few labels were not measured for these runs: give few_label_fractions.")
    figure, ax = plt.subplots(figsize=(10, 3.2), layout="constrained")
    for ((label, probe), lines), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
        _curve(ax, lines, verbatim(f"{label}: {PROBES.get(probe, probe)}"), colour)
    ticks = sorted({x for lines in curves.values() for line in lines for x in line})
    ax.set(xscale="log", xlabel="share of the labels in %", ylabel="top-1 accuracy in %", title="Few labels")
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _fractions(one, probe):
    """``{share of the labels in percent: accuracies of all draws}``, with that of all labels where it was measured."""
    full = [e["top1"] for e in one.record["probes"] if (e["probe"], e["layer"]) == (probe, "encoder")]
    found = {100 * row["fraction"]: row["values"] for row in one.record["few_labels"] if row["probe"] == probe}
    return found | ({100.0: full} if full else {})


def _curve(ax, curves, label, colour):
    """Means and standard deviations in percent of several ``{x: accuracy or accuracies}``."""
    points = {}
    for curve in curves:
        for x, y in curve.items():
            points.setdefault(x, []).extend(100 * v for v in np.atleast_1d(y))
    places = sorted(points)
    spread = [statistics.stdev(points[x]) if len(points[x]) > 1 else 0 for x in places]
    ax.errorbar(places, [statistics.fmean(points[x]) for x in places], yerr=spread, fmt="o-", ms=4, capsize=2,
                color=colour, label=label)


def note(text):
    """A figure that says in words why there is no picture."""
    lines = textwrap.wrap(text, 120)
    figure = plt.figure(figsize=(10, 0.3 + 0.2 * len(lines)))
    figure.text(0.01, 0.5, verbatim("\n".join(lines)), va="center", fontsize=10)
    figure.add_axes((0, 0, 1, 1)).set_axis_off()  # a notebook shows no figure without axes
    return figure


def _cycle(count):
    """Colours for ``count`` lines: none is the grey of the floor."""
    return [COLOURS[i % 7] for i in range(count)]
