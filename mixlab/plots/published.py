"""Scores: an accuracy and all that must be known to set it beside another; the published ones, filters and groups."""

import csv
import re
from dataclasses import dataclass, fields
from pathlib import Path

from mixlab.errors import ParamError, nearest, problem

ASSET = Path(__file__).parents[1] / "assets" / "published.csv"

EVALUATIONS = {
    "linear_online": "linear probe trained along with the encoder (online)",
    "linear_cached": "linear probe on cached features",
    "linear_augmented": "linear probe on crops and flips",
    "linear_offline": "linear probe afterwards, details not stated",
    "knn": "kNN",
    "supervised": "supervised training, own classifier",
    "unknown": "evaluation not stated",
}
# How the reported number was picked: its mark in every table and picture, and the mark's meaning.
SELECTIONS = {
    "last": ("", "last epoch"),
    "max_over_epochs_on_test": ("†", "best epoch, chosen on the test set"),
    "median_last_10": ("‡", "median of the last ten epochs on the test set"),
    "unknown": ("?", "how the epoch was chosen is not stated"),
}
CHOSEN_ON = {"test": "§", "held_out": "", "unknown": ""}  # by what images hyper-parameters or epoch were chosen: a mark
KINDS = ("paper", "readme", "docs", "thread", "slides", "plot", "memory", "ours")
LABELLED = {"crossentropy", "supcon", "mixsupcon", "maxmargin", "epssupinfonce", "unicon", "genscl"}  # as published


@dataclass(frozen=True)
class Score:
    """One accuracy with its protocol.

    Args:
        method, mixer, encoder, dataset: names; ours as in the parameters, published ones as published.
        epochs, batch_size: of the pre-training; None where not stated.
        evaluation: a key of ``EVALUATIONS``. selection: a key of ``SELECTIONS``.
        feature_layer: ``encoder``, ``projection``, or ``""`` where not stated or not applicable.
        knn_k, knn_temperature: of a kNN evaluation; no temperature means a plain vote.
        value: top-1 accuracy in percent. spread: its standard deviation over ``seeds`` runs, or None.
        source, source_kind: where it stands; one of ``KINDS``.
        caveat: what a reader has to know before quoting it.
        chosen_on: a key of ``CHOSEN_ON``: ``test`` where the test images had a say in the number's own settings.
        labels: whether labels went into the encoder, where that is known of the very run; None goes by the method.
    """

    method: str
    mixer: str
    encoder: str
    epochs: int | None
    batch_size: int | None
    dataset: str
    evaluation: str
    feature_layer: str
    knn_k: int | None
    knn_temperature: float | None
    selection: str
    value: float
    spread: float | None
    seeds: int | None
    source: str
    source_kind: str
    caveat: str
    chosen_on: str = "unknown"
    labels: bool | None = None

    @property
    def is_ours(self):
        return self.source_kind == "ours"

    @property
    def mark(self):
        """Symbols that travel with the number: how it was picked, and ``~`` where it was read off a plot."""
        picked = SELECTIONS[self.selection][0]
        by_test = "" if self.selection == "max_over_epochs_on_test" else CHOSEN_ON[self.chosen_on]  # † says it already
        return picked + by_test + ("~" if self.source_kind == "plot" else "")

    @property
    def used_labels(self):
        """Whether the encoder saw labels before the evaluation."""
        return self.labels if self.labels is not None else self.epochs != 0 and _letters(self.family) in LABELLED

    @property
    def is_untrained(self):
        """Whether the encoder was not trained at all, here or in a run that it started from."""
        return self.epochs == 0 and "untrained" in self.caveat

    @property
    def family(self):
        """The method without its variant: ``MoCo`` of ``MoCo (symmetric)``."""
        return re.split(r" \(| \+ ", self.method)[0]

    @property
    def protocol(self):
        """How it was measured, in words; only numbers of one protocol may be ranked against each other."""
        if self.evaluation != "knn":
            return EVALUATIONS[self.evaluation] + (", projections" if self.feature_layer == "projection" else "")
        vote = "plain vote" if self.knn_temperature is None else f"T {self.knn_temperature:g}"
        rule = "k not stated" if self.knn_k is None else f"k {self.knn_k}, {vote}"
        layer = {"encoder": "features", "projection": "projections", "": "layer not stated"}[self.feature_layer]
        return f"kNN, {rule}, {layer}"


def _letters(text):
    """A name without case, spaces and signs, so that ``Cross-entropy`` is ``cross_entropy``."""
    return re.sub(r"[\W_]", "", text.lower())


def published(include_memory=False):
    """The published scores, in the order of the file; those quoted from memory only when asked for."""
    with open(ASSET, newline="", encoding="utf-8") as file:
        scores = [_typed(row) for row in csv.DictReader(file)]
    return [s for s in scores if include_memory or s.source_kind != "memory"]


def _typed(row):
    number = {"epochs": int, "batch_size": int, "knn_k": int, "seeds": int,
              "knn_temperature": float, "value": float, "spread": float}
    values = {n: number[n](v) if v else None for n, v in row.items() if n in number}
    return Score(**({f.name: row[f.name] for f in fields(Score) if f.name in row} | values))


def select(scores, *, dataset="all", evaluation="all", encoder="all", method="all"):
    """The scores that fit every filter; ``all`` lets everything through.

    Raises:
        ParamError: a name that no score has, with the nearest that one has.
    """
    wanted = {"dataset": dataset, "evaluation": evaluation, "encoder": encoder, "method": method}
    wanted = {name: value for name, value in wanted.items() if value != "all"}
    for name, value in wanted.items():
        known = choices(scores, name)
        if _letters(value) not in map(_letters, known):
            raise ParamError(problem(name, f"all, or one of {', '.join(known)}", value, nearest(value, known)))
    return [s for s in scores if all(_letters(_filtered(s, n)) == _letters(v) for n, v in wanted.items())]


def choices(scores, name):
    """What a filter on ``name`` may be: the values that occur, spelt as published where they are."""
    found = {}
    for score in sorted(scores, key=lambda s: s.is_ours):
        found.setdefault(_letters(_filtered(score, name)), _filtered(score, name))
    return sorted(found.values(), key=str.lower)


def spelt(value, known):
    """``value`` as it is spelt in ``known``, whatever its case and signs; itself where it is not there."""
    return next((name for name in known if _letters(name) == _letters(value)), value)


def _filtered(score, name):
    return {"dataset": score.dataset.split(",")[0], "method": score.family}.get(name) or getattr(score, name)


def grouped(scores):
    """``{(dataset, encoder, protocol): scores, the best first}``: like beside like.

    Sorted by data set and encoder, those of our runs first; within them, protocols of our runs first.
    """
    groups = {}
    for score in sorted(scores, key=lambda s: -s.value):
        groups.setdefault((score.dataset, score.encoder, score.protocol), []).append(score)
    order, here = list(EVALUATIONS), {(s.dataset, s.encoder) for s in scores if s.is_ours}

    def place(key):
        group = groups[key]
        return (key[:2] not in here, *key[:2], not any(s.is_ours for s in group), order.index(group[0].evaluation),
                -len(group), key[2])

    return {key: groups[key] for key in sorted(groups, key=place)}
