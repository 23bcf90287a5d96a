"""Studies: a row for every finished run, kept in a table that outlives the runs and their machine."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import yaml
from fake_grid import fake_cell

from mixlab import runs
from mixlab.grid import study
from mixlab.grid.__main__ import main
from mixlab.grid.study import COLUMNS, Study, best, overview, row_of
from mixlab.params import Ablation
from mixlab.params.cells import key_of
from mixlab.params.pretrain import Pretrain

ROOT = Path(__file__).parents[1]
TINY = {"train_size": 64, "epochs": 1, "batch_size": 32, "width": 8}
NO_EVALUATION = {"layers": ["encoder"], "knn_k": [5], "probes": ["lbfgs"], "few_label_fractions": [], "geometry": False}


@pytest.fixture
def small(tmp_path):
    """A study of one block with two cells, each a real run of two steps."""
    values = {"base": TINY, "axes": {"method": ["supcon", "cross_entropy"]}, "seeds": [3], "reference": False,
              "measure": "knn", "evaluation": NO_EVALUATION, "grid_dir": str(tmp_path / "grid"), "processes": 1,
              "runs_dir": str(tmp_path / "runs")}
    (tmp_path / "block.yaml").write_text(yaml.safe_dump(values))
    return Study((tmp_path / "block.yaml",), tmp_path / "kept" / "runs.csv")


def made_up(tmp_path, accuracies, stop_after=None):
    """Stands in for ``grid.run``: cells end with made-up accuracies, in order, until ``stop_after`` of them."""
    asked = []

    def run(params, log, known, on_finished):
        for cell in params.cells:
            if cell.name in known:
                continue
            if stop_after is not None and len(asked) == stop_after:
                raise KeyboardInterrupt
            asked.append(cell.name)
            path = fake_cell(tmp_path / "made" / cell.key, cell, accuracies[cell.params.method],
                             params.protocol().record())
            on_finished(cell, runs.Run(path))
    return run, asked


def test_a_row_is_kept_as_soon_as_a_run_ends_and_no_run_is_made_twice(small, tmp_path, monkeypatch):
    """Killed after the first run; the table alone, without the runs, is enough to go on."""
    accuracies = {"supcon": 0.5, "cross_entropy": 0.4}
    run, asked = made_up(tmp_path, accuracies, stop_after=1)
    monkeypatch.setattr(study, "run_grid", run)
    with pytest.raises(KeyboardInterrupt):
        study.run(small, lambda line: None)
    (row,) = small.rows()
    assert list(row) == list(COLUMNS) and row["block"] == "block" and row["cell"] == asked[0] and row["seed"] == "3"
    assert (row["method"], row["width"], row["knn_val"], row["linear_val"]) == ("supcon", "8", "0.4", "0.4")
    shutil.rmtree(tmp_path / "made")
    run, asked = made_up(tmp_path, accuracies)
    monkeypatch.setattr(study, "run_grid", run)
    study.run(small, lambda line: None)
    assert len(asked) == 1 and [r["method"] for r in small.rows()] == ["supcon", "cross_entropy"]
    study.run(small, lambda line: None)
    assert len(asked) == 1


@pytest.mark.slow
def test_a_study_of_real_runs_from_the_command_line(small, tmp_path, capfd):
    command = [str(small.files[0]), "--table", str(small.table)]
    assert main(command) == 0
    rows = small.rows()
    assert [row["method"] for row in rows] == ["supcon", "cross_entropy"]
    for row in rows:
        made = runs.Run(tmp_path / "runs" / row["run"])
        assert float(row["seconds"]) == made.result()["seconds"] and 0 < float(row["linear_top1"]) < 1
        assert row["encoder_sha256"] == made.result()["encoder_sha256"]
    shutil.rmtree(tmp_path / "runs")
    assert main(command) == 0 and small.rows() == rows
    assert main([*command, "--list"]) == 0
    assert "block: 2 of 2 runs" in capfd.readouterr().out


def test_how_a_study_stands_is_said_with_what_it_rests_on(small, tmp_path):
    assert overview(small).splitlines()[:2] == ["block: 0 of 2 runs", "  supcon none: 0 of 1; not measured yet"]
    cell = Ablation.from_yaml(small.files[0]).cells[0]
    study._add(small, "block", cell, runs.Run(fake_cell(tmp_path / "a", cell, 0.5, {}, seconds=600)))
    assert overview(small).splitlines() == [
        "block: 1 of 2 runs", "  supcon none: 1 of 1", "  cross_entropy none: 0 of 1; left: about 10 min in steps",
        "Left, of what was measured: 10 min in training steps of one process."]


def test_several_files_without_a_table_are_refused(small, capsys):
    assert main([str(small.files[0])] * 2) == 2
    assert "Add --table CSV" in capsys.readouterr().err


def test_the_best_of_an_arm_is_chosen_by_held_out_images():
    rows = [{"method": "a", "mixer": "none", "lr": lr, "knn_val": val, "knn_top1": top1}
            for lr, val, top1 in ((1, "0.50", "0.9"), (2, "0.60", "0.1"), (3, "0.60", "0.2"), (4, "0.09", "0.99"))]
    assert best(rows)["a", "none"]["lr"] == 2


def test_the_row_of_a_run_names_what_it_measured(tmp_path):
    cell = Ablation.check(base=TINY, axes={"mixer": ["mixup"]}, seeds=[1], reference=False).cells[0]
    made = runs.Run(fake_cell(tmp_path / "run", cell, 0.75, {}))
    row, record = row_of("b", cell, made), json.loads((made.path / "linear_eval.json").read_text())
    (knn,) = {r["top1"] for r in record["knn"] if (r["layer"], r["k"]) == ("encoder", 200)}
    (linear,) = {r["top1"] for r in record["probes"] if (r["layer"], r["probe"]) == ("encoder", "lbfgs")}
    assert set(row) == set(COLUMNS) and (row["knn_top1"], row["linear_top1"]) == (knn, linear)
    assert row["knn_val"] == row["linear_val"] == 0.65 and row["knn_untrained"] == 0.2 and row["alpha"] == 1.0


def test_keys_of_cells_outlive_parameters_that_come_later():
    """Rows of the study's table are found by them: this one must never change."""
    params = Pretrain.check(method="supcon", dataset="cifar10", encoder="resnet10", width=16, epochs=30, batch_size=256,
                            lr=0.4, temperature=0.1, knn_every=0)
    assert key_of(params) == "b1610079"


TABLE = ROOT / "reports" / "laptop-study" / "runs.csv"


@pytest.mark.skipif(not TABLE.exists(), reason="the laptop study has no row yet")
def test_every_row_of_the_laptop_study_is_a_cell_of_its_files():
    """No row twice, none of another grid, accuracies possible."""
    blocks = {file.stem: {cell.name for cell in Ablation.from_yaml(file).cells}
              for file in (ROOT / "params" / "ablation").glob("laptop-*.yaml")}
    rows = list(csv.DictReader(TABLE.open()))
    assert len({(row["block"], row["cell"]) for row in rows}) == len(rows) > 0
    for row in rows:
        assert row["cell"] in blocks[row["block"]], row["cell"]
        assert 0.05 < float(row["knn_top1"]) < 1 and 0.05 < float(row["linear_top1"]) < 1
