"""Results of a grid as they lie on disk: what may be compared is gathered in panels, the rest is kept apart."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from mixlab import evaluate, runs
from mixlab.files import can_be_written, write
from mixlab.params import Cell, described, read_state
from mixlab.plots.evaluated import evaluations_of
from mixlab.plots.style import png

LIKE_A_GROUP = ("method", "dataset", "encoder", "epochs", "train_size", "val_fraction", "label_fraction")
COLUMNS = ("cell", "method", "mixer", "alpha", "varied", "seed", "measure", "measured_on", "top1", "unmixed_top1",
           "seconds", "dataset", "encoder", "epochs", "train_images", "test_images", "data_checksum",
           "queries_checksum", "protocol_hash", "trained_by", "device", "threads", "versions", "run")


@dataclass(frozen=True)
class Made:
    """One finished and evaluated run of a grid.

    Args:
        cell: of the grid.
        run: its directory.
        top1: accuracy as a fraction, by the grid's measure on the features.
        seconds: in training steps.
        same: text equal for runs whose accuracies may be compared: data, encoder, epochs and protocol.
        about: facts for tables: a dict.
        notebook: path of its executed ``pretrain.ipynb``, which need not be there any more.
    """

    cell: Cell
    run: runs.Run
    top1: float
    seconds: float
    same: str
    about: dict
    notebook: Path


@dataclass(frozen=True)
class Panel:
    """Runs that may be compared, laid out by two of the parameters that vary.

    Args:
        title: what all of them share, in words.
        rows, columns: values of the two parameters, in the order of the grid; a column ``None`` is of runs that do not
            take that parameter.
        names: of the two parameters; the second is "" where only one varies.
        spots: ``{(row, column): list of Made, one a seed}``; missing runs are missing.
        references: ``{key: Made}``, the unmixed relatives of the runs.
        expected: ``{(row, column): how many seeds there should be}``.
        same: text equal for panels whose accuracies may be compared.
    """

    title: str
    rows: tuple
    columns: tuple
    names: tuple
    spots: dict
    references: dict
    expected: dict
    same: str

    @property
    def unmixed(self):
        """``{(label, column): runs}`` of the unmixed relatives that are no spot of their own.

        Several rows, where relatives differ in more than the column's parameter; column ``None`` as in ``spots``.
        """
        own = {made.cell.key for spot in self.spots.values() for made in spot}
        found = [made for key, made in self.references.items() if key not in own]
        differing = [name for name in _differing([made.cell for made in found]) if name != self.names[1]]
        spots = {}
        for made in sorted(found, key=lambda made: made.cell.seed):
            words = described({name: made.cell.resolved[name] for name in differing})
            label = f"unmixed ({made.cell.params.method})" + (f", {words}" if words else "")
            spots.setdefault((label, _spot(made.cell, self.names)[1]), []).append(made)
        return spots

    def pairs(self, spot):
        """Pairs (run, its unmixed relative of the same seed) at ``spot``, as far as both are there."""
        return [(made, self.references[made.cell.reference]) for made in self.spots.get(spot, ())
                if made.cell.reference in self.references]


@dataclass(frozen=True)
class GridResults:
    """All that a grid measured: its parameters, its finished runs, and these in panels."""

    params: object
    made: tuple
    panels: tuple
    failed: dict

    @property
    def measure(self):
        """What the accuracies are, in words."""
        names = {"knn": "weighted kNN", "lbfgs": "linear probe, L-BFGS", "sgd": "linear probe, SGD",
                 "sgd_augmented": "linear probe, SGD on crops"}
        return f"{names[self.params.measure]}, {'held-out training' if self.on == 'val' else 'test'} images"

    @property
    def on(self):
        return measured_on(self.params)


def measured_on(params):
    """``val`` or ``test``: for ``auto`` the held-out images where every cell holds some out."""
    if params.measured_on != "auto":
        return params.measured_on
    return "val" if all(cell.params.val_fraction > 0 for cell in params.cells) else "test"


def grid_results(params):
    """What is there of the grid ``params`` (an ``Ablation``): finished runs evaluated by its protocol.

    Returns:
        ``GridResults``.
    """
    states = {cell.name: read_state(params.folder, cell.name) for cell in params.cells}
    found = [_made(params, cell, states[cell.name]) for cell in params.cells]
    made = tuple(one for one in found if one is not None)
    done = {one.cell.name for one in made}
    failed = {n: s["message"] for n, s in states.items() if s.get("status") == "failed" and n not in done}
    return GridResults(params, made, _panels(params.cells, made), failed)


def _made(params, cell, state):
    """The finished run of a cell with its accuracy, or None."""
    run = runs.Run(Path(state.get("run", "")))
    if not state.get("run") or not run.finished():
        return None
    asked = params.protocol().record()
    record = next((one.record for one in evaluations_of(run) if one.record["protocol"] == asked), None)
    top1 = None if record is None else accuracy_of(record, params.measure, measured_on(params))
    if top1 is None:
        return None
    result, kind = run.result(), params.measure
    rules = evaluate.rules(record, kind)
    checksums = [record["data_checksum"].get("train"), record["data_checksum"].get("test")]
    same = json.dumps([checksums, record["dataset"], record["encoder"], record["epochs"], rules], sort_keys=True)
    about = {"dataset": record["dataset"], "encoder": record["encoder"], "epochs": record["epochs"],
             "train_images": record.get("train_images"), "test_images": record.get("test_images"),
             "data_checksum": checksums[0], "queries_checksum": checksums[1], "trained_by": record.get("trained_by"),
             "protocol_hash": runs.identity_hash(rules), "device": result.get("device"),
             "threads": result.get("threads"), "versions": runs.in_words(result.get("versions", {}))}
    notebook = params.folder / "notebooks" / f"{cell.name}-pretrain.ipynb"
    return Made(cell, run, top1, result.get("seconds"), same, about, notebook)


def accuracy_of(record, measure, on="test"):
    """The accuracy of the features in an evaluation's record, a fraction; None where it was not measured."""
    rows = record["knn"] if measure == "knn" else [row for row in record["probes"] if row["probe"] == measure]
    rows = [row for row in rows if row["layer"] == "encoder"]
    return rows[0].get("val_top1" if on == "val" else "top1") if rows else None


def varied(cells):
    """Parameters that differ between the cells of the product, in the order in which they were given."""
    return _differing([cell for cell in cells if cell.in_product])


def _differing(cells):
    names = dict.fromkeys(name for cell in cells for name in cell.values if name != "seed")
    return [name for name in names if len({json.dumps(cell.resolved[name]) for cell in cells}) > 1]


def laid_out(cells):
    """Of the varied parameters: the one of the rows, the one of the columns ("" for none), and the others.

    Rows are mixers unless something else that is no number varies instead; columns are alpha, or what else there is.
    """
    names = varied(cells)
    free = [name for name in names if name not in LIKE_A_GROUP]
    rows = next((n for n in ("mixer", *free) if n in free and not _is_number(cells, n)), "mixer")
    columns = next((n for n in ("alpha", *free) if n in free and n != rows), "")
    return rows, columns, tuple(name for name in names if name not in (rows, columns))


def _is_number(cells, name):
    values = [cell.resolved[name] for cell in cells if cell.resolved[name] is not None]
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _panels(cells, made):
    row, column, rest = laid_out(cells)
    groups = {}
    for one in made:
        if one.cell.in_product:
            groups.setdefault((one.same, _values(one.cell, rest)), []).append(one)
    several = {same for same, _ in groups}
    return tuple(_panel(group, same, cells, made, (row, column), rest, several)
                 for (same, _), group in groups.items())


def _values(cell, names):
    return json.dumps([cell.resolved[name] for name in names])


def _panel(group, same, cells, made, names, rest, several):
    """One panel of the runs ``group``, with the empty spots of the grid and the relatives measured alike."""
    spots, expected = {}, {}
    like = _values(group[0].cell, rest)
    for cell in [cell for cell in cells if cell.in_product and _values(cell, rest) == like]:
        spot = _spot(cell, names)
        expected[spot] = expected.get(spot, 0) + 1
    for one in group:
        spots.setdefault(_spot(one.cell, names), []).append(one)
    wanted = {one.cell.reference for one in group}
    references = {one.cell.key: one for one in made if one.cell.key in wanted and one.same == same}
    rows, columns = (tuple(dict.fromkeys(spot[i] for spot in expected)) for i in (0, 1))
    return Panel(_title(group[0], rest, len(several) > 1), rows, columns, names, spots, references, expected, same)


def _spot(cell, names):
    return tuple(cell.resolved[name] if name else None for name in names)


def _title(one, rest, several):
    """What all runs of a panel share: method, data, and what else varies in the grid."""
    a, values = one.about, one.cell.resolved
    other = {name: values[name] for name in rest if name not in ("method", "dataset", "encoder", "epochs")}
    words = [f"{values['method']} on {a['dataset']}", f"{a['encoder']}, {a['epochs']} epochs", described(other)]
    words += [f"data {str(a['data_checksum'])[:6]}, protocol {a['protocol_hash'][:6]}"] if several else []
    return ", ".join(word for word in words if word)


def in_label(value):
    """A parameter's value for a label; what a run does not take is a dash."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def keep_grid(results, figures):
    """Writes ``results.csv`` and the PNGs ``figures/<name>.png`` into the grid's folder; returns their paths.

    A grid that is only looked at, where nothing can be written, gets none, which is said.

    Args:
        figures: ``{name: matplotlib figure}``.
    """
    folder = results.params.folder
    if folder.is_dir() and not can_be_written(folder):
        print(f"Note: {folder} can't be written: table, figures and page are not kept.")
        return []
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    paths = [folder / "results.csv", *(folder / "figures" / f"{name}.png" for name in figures)]
    write(paths[0], _table(results))
    for path, figure in zip(paths[1:], figures.values(), strict=True):
        write(path, png(figure, dpi=110))
    return paths


def _table(results):
    """A row per finished run as CSV, accuracies as fractions."""
    names, text = varied(results.params.cells), io.StringIO()
    by_key = {(one.cell.key, one.same): one.top1 for one in results.made}
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for one in results.made:
        values = one.cell.resolved
        writer.writerow({"cell": one.cell.name, "seed": one.cell.seed, "measure": results.params.measure,
                         "measured_on": results.on, "top1": one.top1, "seconds": one.seconds, "run": one.run.name,
                         "unmixed_top1": by_key.get((one.cell.reference, one.same)),
                         "varied": described({n: values[n] for n in names}), **one.about,
                         **{n: values[n] for n in ("method", "mixer", "alpha")}})
    return text.getvalue()
