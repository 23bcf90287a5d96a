"""One tidy table of every evaluation below a folder of runs, rebuilt from the run directories."""

import csv
import io
from pathlib import Path

from mixlab import runs
from mixlab.errors import CheckpointError
from mixlab.evaluate.rules import rules, setting, stored_files
from mixlab.files import writable_folder, write

COLUMNS = ("run", "method", "mixer", "encoder", "trained_on", "dataset", "transfer", "epochs", "batch_size", "seed",
           "setting", "evaluation", "layer", "protocol", "protocol_hash", "top1", "top1_std", "top5",
           "calibration_error", "val_top1", "draws", "alignment", "uniformity", "tolerance", "effective_rank", "dim",
           "within_between", "collapse", "train_images", "test_images", "train_checksum", "test_checksum",
           "trained_by", "evaluated_by", "device", "threads", "versions", "seconds", "marks", "label_fraction",
           "init_from", "labels_used")
MEASURES = ("alignment", "uniformity", "tolerance", "effective_rank", "dim", "within_between", "collapse")
SHARED = ("run", "method", "mixer", "encoder", "trained_on", "dataset", "transfer", "epochs", "batch_size", "seed",
          "train_images", "test_images", "trained_by", "device")
ONCE = ("run", "dataset", "evaluation", "layer", "protocol", "protocol_hash")  # what is in the table once


def collect(runs_dir):
    """Rows (dicts with the names ``COLUMNS``) of all stored evaluations: one per run, evaluation, layer and protocol.

    Accuracies are fractions; what does not apply is None. Sorted by run, the newest evaluation first, then in the
    order of the evaluation. What two evaluations measured by equal rules is there once, from the newer one.
    ``setting`` is equal for runs that differ in their seed only, ``protocol_hash`` for numbers measured by equal rules.
    ``label_fraction``, ``init_from`` and ``labels_used`` (whether labels went into the encoder; empty for runs of an
    older mixlab) are those of the training.
    Raises:
        CheckpointError: a record that is damaged or of another mixlab, by name.
    """
    found = {}
    for run in sorted(runs.list_runs(runs_dir), key=lambda run: run.name):
        values = run.params()
        about = {"setting": runs.identity_hash(setting(values)), "labels_used": run.result().get("labels_used")}
        about |= {name: values.get(name) for name in ("label_fraction", "init_from")}
        for row in [row for file in stored_files(run) for row in _rows(file)]:
            found.setdefault(tuple(row[n] for n in ONCE), row | about)
    return list(found.values())


def _rows(file):
    record = runs.read_sealed(file)
    try:
        return [_filled(row, kind, record) for kind, row in _evaluations(record)]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: is not an evaluation by this mixlab ({error!r}). Delete it, or evaluate the "
                              "run again.") from error


def write_report(runs_dir, path):
    """Writes ``collect(runs_dir)`` to ``path`` as CSV with a header; returns the number of rows.

    Raises:
        ParamError: the folder of ``path`` cannot be written.
    """
    rows, text, path = collect(runs_dir), io.StringIO(), Path(path)
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    writable_folder(path.parent, "report")
    write(path, text.getvalue())
    return len(rows)


def _filled(row, kind, record):
    shared = {name: record[name] for name in SHARED}
    shared |= {"train_checksum": record["data_checksum"]["train"], "test_checksum": record["data_checksum"]["test"],
               "evaluated_by": record["versions"]["mixlab"], "threads": record.get("threads"),
               "versions": runs.in_words(record["versions"]), "marks": "; ".join(record["marks"]),
               "protocol_hash": runs.identity_hash(rules(record, kind))}
    return dict.fromkeys(COLUMNS) | shared | row


def _evaluations(record):
    """Pairs (kind, as in ``rules``; row without what all share) of one record."""
    yield from (("knn", _knn(row)) for row in record["knn"])
    yield from ((row["probe"], _probe(row, record["protocol"])) for row in record["probes"])
    if record["own_head"]:
        yield "own", {"evaluation": "own head", "layer": "classifier", "protocol": "the classifier of the run itself",
                      **_taken(record["own_head"], "top1", "top5", "calibration_error")}
    yield from (("few", _few(row)) for row in record["few_labels"])
    yield from (("robustness", _corrupted(row, record)) for row in record["robustness"])
    for layer, measures in record["geometry"].items():
        yield "geometry", {"evaluation": "geometry", "layer": layer, **_taken(measures, *MEASURES),
                           "protocol": "test images; alignment of contrastive views"}


def _taken(row, *names):
    return {name: row[name] for name in names}


def _knn(row):
    return {"evaluation": f"knn {row['k']}", "protocol": f"weighted cosine kNN, temperature {row['temperature']}",
            **_taken(row, "layer", "top1", "val_top1", "seconds")}


def _probe(row, protocol):
    return {"evaluation": f"probe {row['probe']}", "protocol": _rule(row, protocol),
            **_taken(row, "layer", "top1", "top5", "calibration_error", "val_top1", "seconds")}


def _rule(row, protocol):
    """The rule of a probe in words."""
    if row["probe"] == "lbfgs":
        return f"logistic regression to convergence, standardised features, l2 {row['l2']:.2g} by held-out images"
    p = protocol
    decay = ", ".join(str(epoch) for epoch in p["probe_lr_decay_epochs"])
    images = f"{row['passes']} crop+flip passes" if row["passes"] else "unaugmented"
    return (f"SGD momentum {p['probe_momentum']}, {p['probe_epochs']} epochs, batch {p['probe_batch_size']}, lr "
            f"{p['probe_lr']} x {p['probe_lr_decay_rate']} after {decay or 'none'}, weight decay "
            f"{p['probe_weight_decay']}, {images}, last epoch")


def _few(row):
    return {"evaluation": f"few labels {row['fraction']:g}", "top1": row["mean"], "top1_std": row["std"],
            "protocol": f"probe lbfgs on {row['images']} images", **_taken(row, "layer", "draws", "seconds")}


def _corrupted(row, record):
    return {"evaluation": f"{row['corruption']} {row['severity']}", "layer": record["predictions_layer"],
            "top1": row["top1"], "protocol": f"probe {record['predictions_of']} on {row['images']} corrupted images"}
