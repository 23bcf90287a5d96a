"""What a run records: a row per epoch, and the result that ends it."""

import json
import operator

from mixlab.errors import CheckpointError
from mixlab.files import plain, read_json, sha256, write, write_json

COLLAPSED = 0.01  # spread of unit features: one point rounded to bfloat16 has 0.001, untrained encoders 0.04 or more


def parse_history(text, name):
    """Rows of a JSON-lines history by epoch; a later row of an epoch replaces an earlier one."""
    rows, lines = {}, text.split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                row = json.loads(line)
                rows[operator.index(row["epoch"])] = row
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):  # no newline after it: the write was cut short
                break
            raise CheckpointError(f"{name}: line {number} is damaged. Delete that line, or the run.") from error
    return [rows[epoch] for epoch in sorted(rows)]


def record_row(run, row):
    """Adds ``row`` to the history, or replaces the row of the same epoch; no other recorded row is lost."""
    rows = {r["epoch"]: r for r in run.history()} | {row["epoch"]: plain(row)}
    write(run.path / "history.jsonl", "".join(json.dumps(rows[e]) + "\n" for e in sorted(rows)))


def write_result(run, record):
    """Writes ``result.json``, which ends the run and vouches by sha256 for itself and for the history."""
    write_json(run.path / "result.json", sealed(record | {"history_sha256": sha256(run.path / "history.jsonl")}))


def sealed(record):
    """``record`` as plain values, with the sha256 of all of it beside them."""
    record = plain({name: value for name, value in record.items() if name != "sha256"})
    return record | {"sha256": digest(record)}


def read_sealed(file):
    """The record in a JSON file without its seal; one that an older mixlab left unsealed is taken as it is.

    Raises:
        CheckpointError: it is damaged.
    """
    record = read_json(file)
    known = record.pop("sha256", None)
    if known and known != digest(record):
        raise CheckpointError(f"{file}: damaged, its content does not match the sha256 in it. Delete it and make it "
                              "again.")
    return record


def digest(record):
    """sha256 of a plain record, whatever the order of its names."""
    return sha256(json.dumps(record, sort_keys=True).encode())


def describe(row, epochs):
    """A history row as one printed line."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts += [f"loss {row['loss']:.4f}"] if row["loss"] is not None else ["untrained"]
    parts += [f"kNN {100 * row['knn_top1']:.1f} %"] if "knn_top1" in row else []
    if row.get("feature_spread", 1) < COLLAPSED:
        parts.append(f"features have collapsed: spread {row['feature_spread']:.4f}")
    if "lr" in row:
        parts += [f"lr {row['lr']:.4f}", f"{row['views_per_second']:,.0f} views/s", f"{row['seconds']:.1f} s"]
    if row.get("anchors_without_positive"):
        parts.append(f"{row['anchors_without_positive']:.1f} anchors a step without a positive, left out")
    if row.get("single_class_batches"):
        parts.append(f"{row['single_class_batches']} batches of one class, without a negative of another")
    return "  ".join(parts)
