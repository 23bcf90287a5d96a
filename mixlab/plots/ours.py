"""Our own evaluations as scores, the seeds of a setting averaged: from run directories, or from their table."""

import csv
import re
import statistics
from dataclasses import replace

from mixlab import evaluate
from mixlab.params import labels_used
from mixlab.plots.published import Score

HOW = {"sgd": "SGD", "sgd_augmented": "SGD on crops", "lbfgs": "L-BFGS"}  # the probe of our scores, in their caveat
SAME_IN_TABLE = ("method", "mixer", "encoder", "trained_on", "dataset", "epochs", "batch_size", "train_images",
                 "evaluation", "layer", "setting", "protocol_hash", "marks")
WHOLE = {"cifar10": "50000", "cifar100": "50000", "cifar100-coarse": "50000", "cifar10-mini": "2000"}
TABLE_ONLY = "known from results.csv only"


def ours(evaluations):
    """Scores of our own runs (``Evaluated``), the seeds of one setting averaged where one protocol measured them.

    Of several evaluations of one run that measured the same by equal rules, the first counts. Where rules differ, the
    caveat says in what.
    """
    groups, names = {}, _told_apart(evaluations)
    for one in evaluations:
        for kind, what, score in _measured(one):
            words = evaluate.in_words(evaluate.rules(one.record, kind), names[one.dataset, kind])
            score = replace(score, caveat=_joined(score.caveat, words))
            group = groups.setdefault((one.setting_by(kind), what), {})
            group.setdefault(one.run.path, (one.record["seed"], score))
    return [_mean(list(group.values())) for group in groups.values()]


def _told_apart(evaluations):
    """``{(data set, kind of number): names of the rules in which our evaluations on it differ}``."""
    by_data = {}
    for one in evaluations:
        by_data.setdefault(one.dataset, []).append(one.record)
    return {(name, kind): evaluate.differing([evaluate.rules(record, kind) for record in records])
            for name, records in by_data.items() for kind in evaluate.DECIDING}


def _mean(group):
    """One score for a setting: mean and standard deviation of all its runs, counted by their seeds."""
    values = [score.value for _, score in group]
    spread = statistics.stdev(values) if len(values) > 1 else None
    source = ", ".join(dict.fromkeys(score.source for _, score in group))
    return replace(group[0][1], value=statistics.fmean(values), spread=spread, source=source,
                   seeds=len({seed for seed, _ in group}))


def _measured(one):
    """Triples (kind, as in ``evaluate.rules``; what was measured; score) of one evaluation, accuracies in percent."""
    record = one.record
    base = Score(one.method, record["mixer"], record["encoder"], record["epochs"], record["batch_size"],
                 one.dataset, "unknown", "", None, None, "last", 0.0, None, 1, one.run.name, "ours", one.caveat,
                 labels=one.labels)
    few = "kNN and probe with all labels" if one.values.get("label_fraction", 1) < 1 else ""
    for entry in record["knn"]:
        rule = {"knn_k": entry["k"], "knn_temperature": entry["temperature"]}
        yield "knn", ("knn", entry["layer"], *rule.values()), replace(
            base, evaluation="knn", feature_layer=entry["layer"], value=100 * entry["top1"],
            caveat=_joined(few, one.caveat), **rule)
    for entry in record["probes"]:
        how = HOW[entry["probe"]] + (f", {entry['epochs']} epochs" if entry["epochs"] else "")
        yield entry["probe"], (entry["probe"], entry["layer"], entry["epochs"]), replace(
            base, evaluation=_kind(entry["probe"]), feature_layer=entry["layer"], value=100 * entry["top1"],
            caveat=_joined(how, few, one.caveat))
    if record.get("own_head"):
        value = 100 * record["own_head"]["top1"]
        yield "own", ("own_head",), replace(base, evaluation="supervised", value=value)


def _kind(probe):
    return "linear_augmented" if probe == "sgd_augmented" else "linear_cached"


def _joined(*texts):
    return "; ".join(text for text in texts if text)


def reported(path, known):
    """Scores of our runs that only the table ``results.csv`` (``evaluate.write_report``) still knows.

    Seeds are averaged where rows agree in the setting of their runs and in the protocol, both of which the table knows
    by a hash; rows of an older table, without them, are never averaged.
    Args:
        path: of the table; without it there are no scores.
        known: names of the runs that are there, which are not read from the table.
    """
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = [{"setting": row["run"], "protocol_hash": ""} | row for row in csv.DictReader(file)
                if row["run"] not in known and row["evaluation"].split()[0] in ("knn", "probe", "own")]
    groups, protocols = {}, {}
    for row in rows:
        groups.setdefault(tuple(row[n] for n in SAME_IN_TABLE), []).append(row)
        protocols.setdefault((_dataset(row), row["evaluation"]), set()).add(row["protocol_hash"])
    return [_mean([(row["seed"], _reported(row, protocols)) for row in group]) for group in groups.values()]


def _reported(row, protocols):
    """A row of the table as a score; where ``protocols`` has several of this evaluation, its caveat says which."""
    several = len(protocols[_dataset(row), row["evaluation"]]) > 1
    kind, detail, *_ = row["evaluation"].split()
    knn = {"knn_k": None, "knn_temperature": None}
    if kind == "knn":
        temperature = re.search(r"temperature ([0-9.]+)", row["protocol"])
        knn = {"knn_k": int(detail), "knn_temperature": float(temperature[1])}
    caveat = _joined(HOW.get(detail), _origin(row), row["marks"],
                     f"{row['protocol']} (protocol {row['protocol_hash']})" if several else "", TABLE_ONLY)
    start, used = row.get("init_from") or "none", row.get("labels_used") or None
    method = row["method"] + ("" if start == "none" else f" (fine-tuned from {start})")
    known = used == "True" if used else labels_used({"method": row["method"], "epochs": int(row["epochs"])}, ".")
    return Score(method, row["mixer"], row["encoder"], int(row["epochs"]), int(row["batch_size"]),
                 _dataset(row), {"knn": "knn", "own": "supervised", "probe": _kind(detail)}[kind],
                 "" if kind == "own" else row["layer"], *knn.values(), "last", 100 * float(row["top1"]), None, 1,
                 row["run"], "ours", caveat, labels=known is not False or (used is None and start != "none"))


def _origin(row):
    """That an encoder was not trained, or that an older table does not say what the one it started from had seen."""
    if (row.get("init_from") or "none") == "none":
        return "untrained encoder" if row["epochs"] == "0" else ""
    return "" if row.get("labels_used") else "whether labels were used where it started is not known"


def _dataset(row):
    """As ``Evaluated.dataset``, as far as the table tells."""
    parts = [row["dataset"]] + ([f"encoder from {row['trained_on']}"] if row["trained_on"] != row["dataset"] else [])
    whole, share = WHOLE.get(row["dataset"], row["train_images"]), float(row.get("label_fraction") or 1)
    parts += [f"{row['train_images']} training images"] if row["train_images"] != whole else []
    return ", ".join(parts + ([f"encoder trained with {100 * share:g} % of the labels"] if share < 1 else []))
