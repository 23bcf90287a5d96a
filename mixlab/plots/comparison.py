"""Our scores beside published ones: pictures that never rank numbers of different protocols together."""

import matplotlib.pyplot as plt

from mixlab import data
from mixlab.plots.evaluated import evaluated
from mixlab.plots.evaluation import note
from mixlab.plots.ours import ours, reported
from mixlab.plots.published import grouped, published, select
from mixlab.plots.style import COLOURS, verbatim

FAMILIES = {"linear probe": ("linear_online", "linear_cached", "linear_augmented", "linear_offline"),
            "kNN": ("knn",), "supervised": ("supervised",)}
MARKERS = "os^DvPX*<>hp"
PLAIN, LABELLED, FLOOR = COLOURS[0], COLOURS[1], COLOURS[7]
SEVERAL_TEST_EPOCHS = ("max_over_epochs_on_test", "median_last_10")


def collect(params):
    """All scores: ours of the runs below ``runs_dir``, ours in ``results.csv``, then the published ones."""
    evaluations = evaluated(params.runs_dir)
    table = data.resolve(params.reports_dir) / "results.csv"
    return ours(evaluations) + reported(table, {one.run.name for one in evaluations}) + published(params.include_memory)


def filtered(params, scores):
    """The scores that the parameters of ``compare.ipynb`` ask for.

    ``auto`` is CIFAR-10 and CIFAR-100 for the data set and ResNet-18 for the encoder, and what our runs used; where
    that leaves nothing, it is all.
    Raises:
        ParamError: a name that no score has.
    """
    asked = {name: getattr(params, name) for name in ("dataset", "encoder", "evaluation", "method")}
    kept = select(scores, **{name: "all" if value == "auto" else value for name, value in asked.items()})
    for name, usual in (("dataset", {"cifar10", "cifar100"}), ("encoder", {"resnet18"})):
        if asked[name] == "auto":
            usual = usual | {getattr(score, name) for score in scores if score.is_ours}
            kept = [score for score in kept if getattr(score, name) in usual] or kept
    return kept


def style_of(score):
    """Keywords of a dot: its colour says what the encoder was trained with; ours are large and have a black edge.

    Hollow: the number is the best or the median of several epochs on the test set.
    """
    colour = FLOOR if score.is_untrained else LABELLED if score.used_labels else PLAIN
    face = "none" if score.selection in SEVERAL_TEST_EPOCHS else colour
    if score.is_ours:
        return {"mfc": face, "mec": "black", "color": "black", "ms": 8, "capsize": 2}
    return {"mfc": face, "mec": colour, "color": colour, "ms": 5, "alpha": 0.7}


def landscape(scores):
    """Accuracy against epochs of pre-training: a row per data set and encoder, a column per family of evaluations.

    The marker is the protocol, the rest is as in ``style_of``. Scores without epochs are left out.
    """
    drawn = [s for s in scores if s.epochs and family_of(s)]
    if not drawn:
        return note("No score of this selection says after how many epochs it was measured.")
    families = [f for f in FAMILIES if any(family_of(s) == f for s in drawn)]
    rows = list(dict.fromkeys(key[:2] for key in grouped(drawn)))
    size = (3.2 * len(families) + 0.6, 2.5 * len(rows) + 1.9)
    figure, axes = plt.subplots(len(rows), len(families), figsize=size, squeeze=False, sharey="row", sharex=True,
                                layout="constrained")
    for column, family in enumerate(families):
        protocols = list(dict.fromkeys(s.protocol for s in drawn if family_of(s) == family))
        for row, place in enumerate(rows):
            fitting = [s for s in drawn if (s.dataset, s.encoder) == place and family_of(s) == family]
            _scatter(axes[row, column], fitting, protocols)
        axes[0, column].set_title(family, fontsize=10)
        axes[-1, column].set_xlabel("epochs of pre-training")
        _protocol_legend(axes[-1, column], protocols)
    for row, (dataset, encoder) in enumerate(rows):
        axes[row, 0].set_ylabel(verbatim(f"{dataset}, {encoder}\ntop-1 accuracy in %"), fontsize=9)
    _colour_legend(figure)
    return figure


def family_of(score):
    """The column of ``landscape`` that a score belongs to, or None where its evaluation is not stated."""
    return next((name for name, kinds in FAMILIES.items() if score.evaluation in kinds), None)


def _scatter(ax, scores, protocols):
    for score in sorted(scores, key=lambda s: s.is_ours):
        marker = MARKERS[protocols.index(score.protocol) % len(MARKERS)]
        ax.errorbar(score.epochs, score.value, yerr=score.spread, fmt=marker, **style_of(score))
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3)


def _protocol_legend(ax, protocols):
    markers = [MARKERS[i % len(MARKERS)] for i in range(len(protocols))]
    handles = [plt.Line2D([], [], color="#555555", marker=marker, ls="", ms=5) for marker in markers]
    words = [p.removeprefix("linear probe ").removeprefix("kNN, ") for p in protocols]
    ax.legend(handles, words, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25), frameon=False)


def _colour_legend(figure):
    def dot(face, edge, size=6):
        return plt.Line2D([], [], mfc=face, mec=edge, marker="o", ls="", ms=size)

    entries = {"no labels in pre-training": dot(PLAIN, PLAIN), "labels in pre-training": dot(LABELLED, LABELLED),
               "untrained encoder": dot(FLOOR, FLOOR), "published": dot("#eeeeee", "#999999", 5),
               "ours: large, black edge": dot("#eeeeee", "black", 8),
               "hollow: best or median of test epochs": dot("none", "#555555")}
    figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=3, fontsize=8, frameon=False)


def beside(scores):
    """A line per data set, encoder and protocol: only dots on one line may be compared. Ours are large."""
    if not scores:
        return note("No score fits this selection.")
    groups = grouped(scores)
    keys = list(groups)[::-1]
    figure, ax = plt.subplots(figsize=(10, 0.3 * len(keys) + 1.5), layout="constrained")
    for place, key in enumerate(keys):
        for score in sorted(groups[key], key=lambda s: s.is_ours):
            spread = score.spread if score.is_ours else None
            ax.errorbar(score.value, place, xerr=spread, fmt="o", **style_of(score))
        if place + 1 < len(keys) and key[:2] != keys[place + 1][:2]:
            ax.axhline(place + 0.5, color="#999999", lw=0.8)
    ax.set_yticks(range(len(keys)), [verbatim(f"{data}, {encoder}: {how}") for data, encoder, how in keys], fontsize=8)
    ax.set(xlabel="top-1 accuracy in %", ylim=(-0.7, len(keys) - 0.3))
    ax.grid(alpha=0.3)
    _colour_legend(figure)
    return figure
