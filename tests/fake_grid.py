"""A grid whose runs look finished and hold made-up accuracies: for tests of its pictures and of its explorer."""

import json

import numpy as np
from fake_results import fake_record

from mixlab.params import Ablation

CHECKSUM = "2" * 64


def fake_grid(folder, top1, leave=(), **values):
    """The ``Ablation`` of ``values``, its cells made up in ``folder``.

    Args:
        top1: called with a cell; its accuracy as a fraction.
        leave: names of cells that are not made.
    """
    params = Ablation.check(**values, grid_dir=str(folder / "grid"), runs_dir=str(folder / "runs"))
    (folder / "grid" / "cells").mkdir(parents=True, exist_ok=True)
    for cell in params.cells:
        if cell.name not in leave:
            path = fake_cell(folder / "runs" / f"run-{cell.key}", cell, top1(cell), params.protocol().record())
            write_state(folder / "grid", cell, "ok", path)
    return params


def write_state(grid_dir, cell, status, path, message=""):
    state = {"cell": cell.name, "status": status, "message": message, "run": str(path), "values": cell.values,
             "seconds": {"pretrain": 10.0 + cell.seed, "linear_eval": 5.0}, "threads": 1}
    (grid_dir / "cells" / f"{cell.name}.json").write_text(json.dumps(state))


def fake_cell(path, cell, top1, protocol, checksum=CHECKSUM, seconds=None):
    """A finished run of ``cell`` with an evaluation by ``protocol``."""
    path.mkdir(parents=True)
    values, draw = cell.resolved, np.random.Generator(np.random.Philox(cell.seed))
    (path / "params.json").write_text(json.dumps(values))
    rows = [{"epoch": e, "loss": None if e == 0 else 3.0 - e / 10, "knn_top1": top1 * (0.7 + 0.1 * e), "lr": 0.1,
             "seconds": 5.0, "views_per_second": 100.0} for e in range(3)]
    (path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seconds = 60.0 + 7 * len(values["mixer"]) if seconds is None else seconds
    (path / "result.json").write_text(json.dumps({
        "status": "ok", "seconds": seconds, "device": "cpu (fake)", "threads": 1, "knn_top1": top1, "knn_k": 200,
        "knn_split": "test", "knn_top1_untrained": 0.2, "train_images": 2000, "data_checksum": checksum,
        "versions": {"mixlab": "0"}, "encoder_sha256": CHECKSUM, "finished_at": 1e9}))
    record = fake_record(path.name, values, draw, top1, top1, checksum)
    record |= {"protocol": protocol, "train_images": 2000, "test_images": 1000, "encoder_sha256": CHECKSUM,
               "data_checksum": {"train": checksum, "test": checksum}}
    for row in [*record["knn"], *record["probes"]]:
        row["val_top1"] = top1 - 0.1
    (path / "linear_eval.json").write_text(json.dumps(record))
    return path
