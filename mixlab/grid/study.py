"""A study: grids one after another, and a table that keeps a row of every finished run, wherever that was made.

    study.run(Study(files, Path("reports/laptop-study/runs.csv")))

A run whose row is in the table is never made again, so the study goes on where it was on another machine, too.
"""

import csv
import io
import statistics
from dataclasses import dataclass
from pathlib import Path

from mixlab import runs
from mixlab.errors import DataError
from mixlab.files import read_json, write
from mixlab.grid.running import run as run_grid
from mixlab.grid.time import in_words
from mixlab.params import Ablation

SETTINGS = ("method", "mixer", "alpha", "n_mix", "reading", "label_similarity", "base", "profile", "lr", "temperature",
            "dataset", "encoder", "width", "epochs", "batch_size", "train_size", "val_fraction", "label_fraction")
FACTS = ("knn_top1", "linear_top1", "knn_val", "linear_val", "knn_untrained", "loss", "seconds", "cpu_seconds",
         "threads", "device", "versions", "trained_by", "train_images", "test_images", "data_checksum",
         "encoder_sha256", "run")
COLUMNS = ("block", "cell", "seed", *SETTINGS, *FACTS)


@dataclass(frozen=True)
class Study:
    """What is to be run, and where its rows are kept.

    Args:
        files: of ``params/ablation``, in the order of their worth; the name of a file is that of its block.
        table: CSV with a row per finished run; accuracies are fractions, seconds are those in training steps.
    """

    files: tuple
    table: Path

    def blocks(self):
        """``{name: Ablation}``."""
        return {Path(file).stem: Ablation.from_yaml(file) for file in self.files}

    def rows(self):
        """The rows of the table, as text; [] before there is one."""
        return list(csv.DictReader(io.StringIO(self.table.read_text("utf-8")))) if self.table.exists() else []


def run(study, log=print):
    """Runs what the table does not have yet, block by block; a row is added as soon as a run is evaluated.

    Returns:
        ``{block: Outcome}``. Errors as ``grid.run``.
    """
    outcomes = {}
    for name, params in study.blocks().items():
        known = {row["cell"] for row in study.rows() if row["block"] == name}
        log(f"{name}: {len(known)} of {len(params.cells)} runs are in {study.table}.")
        outcomes[name] = run_grid(params, log, known, lambda cell, made, name=name: _add(study, name, cell, made))
    return outcomes


def _add(study, block, cell, made):
    """Writes the row of a finished run at the end of the table, whole or not at all."""
    found = [row for row in study.rows() if (row["block"], row["cell"]) != (block, cell.name)]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*found, row_of(block, cell, made)])
    study.table.parent.mkdir(parents=True, exist_ok=True)
    write(study.table, text.getvalue())


def row_of(block, cell, made):
    """The row of a finished and evaluated run: what it was, what it measured, what it cost, and by what it was made."""
    result, record = made.result(), read_json(made.path / "linear_eval.json")
    if record.get("encoder_sha256") != result["encoder_sha256"]:
        raise DataError(f"{made.path}: an evaluation of the run's encoder; got one of another. Evaluate it again.")
    knn = _of_features(record["knn"])
    linear = _of_features([row for row in record["probes"] if row["probe"] == "lbfgs"])
    facts = {name: result.get(name) for name in FACTS} | {
        "knn_top1": knn.get("top1"), "knn_val": knn.get("val_top1"), "linear_top1": linear.get("top1"),
        "linear_val": linear.get("val_top1"), "knn_untrained": result.get("knn_top1_untrained"), "run": made.name,
        "versions": runs.in_words(result["versions"]), "trained_by": result["versions"]["mixlab"],
        "test_images": record["test_images"]}
    return {"block": block, "cell": cell.name, "seed": cell.seed} | {n: cell.resolved[n] for n in SETTINGS} | facts


def _of_features(rows):
    return next((row for row in rows if row["layer"] == "encoder"), {})


def overview(study):
    """How the study stands, a line per block and arm, with an estimate that rests on the rows of the same block."""
    rows, lines, left = study.rows(), [], 0.0
    for name, params in study.blocks().items():
        own = {row["cell"]: row for row in rows if row["block"] == name}
        lines.append(f"{name}: {len(own)} of {len(params.cells)} runs")
        for arm, cells in _arms(params.cells).items():
            done = [own[cell.name] for cell in cells if cell.name in own]
            alike = done or [row for row in own.values()]
            missing = len(cells) - len(done)
            each = statistics.fmean(float(row["cpu_seconds"] or row["seconds"]) for row in alike) if alike else None
            left += missing * (each or 0)
            rest = f"; left: about {in_words(missing * each)} in steps" if missing and each else ""
            lines.append(f"  {arm}: {len(done)} of {len(cells)}{rest}{'; not measured yet' * (each is None)}")
    return "\n".join([*lines, f"Left, of what was measured: {in_words(left)} in training steps of one process."])


def _arms(cells):
    """``{method and mixer: cells}`` in the order of the grid."""
    found = {}
    for cell in cells:
        found.setdefault(f"{cell.params.method} {cell.params.mixer_name()}", []).append(cell)
    return found


def best(rows, by="knn_val"):
    """Of each arm (method, mixer) the row with the highest held-out accuracy ``by``; the first of equal ones."""
    found = {}
    for row in rows:
        arm = row["method"], row["mixer"]
        if arm not in found or float(row[by]) > float(found[arm][by]):
            found[arm] = row
    return found
