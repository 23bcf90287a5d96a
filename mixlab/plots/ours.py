"""Our own evaluations as scores, the seeds of a setting averaged: from run directories, or from their table."""

import csv
import re
import statistics
from dataclasses import replace

from mixlab.plots.published import Score

HOW = {"sgd": "SGD", "sgd_augmented": "SGD on crops", "lbfgs": "L-BFGS"}  # the probe of our scores, in their caveat
SAME_IN_TABLE = ("method", "mixer", "encoder", "trained_on", "dataset", "epochs", "batch_size", "train_images",
                 "evaluation", "layer", "protocol", "marks")
WHOLE = {"cifar10": "50000", "cifar100": "50000", "cifar100-coarse": "50000", "cifar10-mini": "2000"}
TABLE_ONLY = "known from results.csv only"


def ours(evaluations):
    """Scores of our own runs (``Evaluated``), the seeds of one setting averaged."""
    groups = {}
    for one in evaluations:
        for what, score in _measured(one):
            groups.setdefault((one.setting, what), []).append((one.record["seed"], score))
    return [_mean(group) for group in groups.values()]


def _mean(group):
    """One score for a setting: mean and standard deviation of all its runs, counted by their seeds."""
    values = [score.value for _, score in group]
    spread = statistics.stdev(values) if len(values) > 1 else None
    source = ", ".join(dict.fromkeys(score.source for _, score in group))
    return replace(group[0][1], value=statistics.fmean(values), spread=spread, source=source,
                   seeds=len({seed for seed, _ in group}))


def _measured(one):
    """Pairs (what was measured, score) of one evaluation; accuracies become percent."""
    record = one.record
    base = Score(one.method, record["mixer"], record["encoder"], record["epochs"], record["batch_size"],
                 one.dataset, "unknown", "", None, None, "last", 0.0, None, 1, one.run.name, "ours", one.caveat)
    for entry in record["knn"]:
        rule = {"knn_k": entry["k"], "knn_temperature": entry["temperature"]}
        yield ("knn", entry["layer"], *rule.values()), replace(
            base, evaluation="knn", feature_layer=entry["layer"], value=100 * entry["top1"], **rule)
    for entry in record["probes"]:
        how = HOW[entry["probe"]] + (f", {entry['epochs']} epochs" if entry["epochs"] else "")
        yield (entry["probe"], entry["layer"], entry["epochs"]), replace(
            base, evaluation=_kind(entry["probe"]), feature_layer=entry["layer"], value=100 * entry["top1"],
            caveat=_joined(how, one.caveat))
    if record.get("own_head"):
        yield ("own_head",), replace(base, evaluation="supervised", value=100 * record["own_head"]["top1"])


def _kind(probe):
    return "linear_augmented" if probe == "sgd_augmented" else "linear_cached"


def _joined(*texts):
    return "; ".join(text for text in texts if text)


def reported(path, known):
    """Scores of our runs that only the table ``results.csv`` (``evaluate.write_report``) still knows.

    Seeds are averaged where rows agree in everything the table says and no seed comes twice: learning rates, say, are
    not in the table, and the caveat warns of that.
    Args:
        path: of the table; without it there are no scores.
        known: names of the runs that are there, which are not read from the table.
    """
    if not path.exists():
        return []
    groups = {}
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["run"] not in known and row["evaluation"].split()[0] in ("knn", "probe", "own"):
                groups.setdefault(tuple(row[n] for n in SAME_IN_TABLE), []).append((row["seed"], _reported(row)))
    found = []
    for group in groups.values():
        alone = len({seed for seed, _ in group}) < len(group)
        found += [_mean([one]) for one in group] if alone else [_mean(group)]
    return found


def _reported(row):
    """A row of the table as a score."""
    kind, detail, *_ = row["evaluation"].split()
    knn = {"knn_k": None, "knn_temperature": None}
    if kind == "knn":
        temperature = re.search(r"temperature ([0-9.]+)", row["protocol"])
        knn = {"knn_k": int(detail), "knn_temperature": float(temperature[1])}
    caveat = _joined(HOW.get(detail), "untrained encoder" if row["epochs"] == "0" else "", row["marks"], TABLE_ONLY)
    return Score(row["method"], row["mixer"], row["encoder"], int(row["epochs"]), int(row["batch_size"]),
                 _dataset(row), {"knn": "knn", "own": "supervised", "probe": _kind(detail)}[kind],
                 "" if kind == "own" else row["layer"], *knn.values(), "last", 100 * float(row["top1"]), None, 1,
                 row["run"], "ours", caveat)


def _dataset(row):
    """As ``Evaluated.dataset``, as far as the table tells."""
    parts = [row["dataset"]] + ([f"encoder from {row['trained_on']}"] if row["trained_on"] != row["dataset"] else [])
    whole = WHOLE.get(row["dataset"], row["train_images"])
    return ", ".join(parts + ([f"{row['train_images']} training images"] if row["train_images"] != whole else []))
