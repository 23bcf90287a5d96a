"""Grids: their cells, what is refused, and that nothing finished is lost or repeated whatever ends them.

Most tests run cells with a stand-in for papermill (``fake_papermill``); the slow ones with the real notebooks.
"""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from mixlab import evaluate, grid, runs
from mixlab.errors import ParamError, RunBusyError
from mixlab.grid import running
from mixlab.grid.__main__ import main
from mixlab.grid.tasks import GRACE_SECONDS, Task
from mixlab.methods import METHODS
from mixlab.params import Ablation, Pretrain, unmixed

ROOT = Path(__file__).parents[1]
TINY = {"train_size": 64, "epochs": 1, "batch_size": 32, "device": "cpu"}
NO_EVALUATION = {"layers": ["encoder"], "knn_k": [5], "probes": [], "few_label_fractions": [], "geometry": False}


def ablation(folder, **values):
    """A grid of two cells in ``folder``, its values overridden."""
    own = {"base": TINY, "axes": {"mixer": ["mixup", "cutmix"]}, "seeds": [0], "reference": False, "measure": "knn",
           "evaluation": NO_EVALUATION, "grid_dir": str(folder / "grid"), "runs_dir": str(folder / "runs")}
    return Ablation.check(**own | values)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Children find the stand-in where they look for papermill; returns a function that reads its calls."""
    (tmp_path / "path").mkdir()
    shutil.copy(ROOT / "tests" / "fake_papermill.py", tmp_path / "path" / "papermill.py")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))

    def calls():
        file = tmp_path / "grid" / "calls.txt"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return calls


def stages(calls):
    return sorted((call["cell"], call["notebook"]) for call in calls)


def both(params):
    return sorted((cell.name, notebook) for cell in params.cells for notebook in ("pretrain", "linear_eval"))


# Cells


def test_cells_are_the_product_with_seeds_and_references(tmp_path):
    params = ablation(tmp_path, axes={"mixer": ["mixup", "cutmix"], "alpha": [0.2, 1.0]}, seeds=[3, 5], reference=True)
    asked = [(c.resolved["method"], c.resolved["mixer"], c.resolved["alpha"], c.seed) for c in params.cells]
    one_seed = [("mixsupcon", m, a) for m in ("mixup", "cutmix") for a in (0.2, 1.0)] + [("supcon", "none", None)]
    assert sorted(asked, key=str) == sorted([(*one, seed) for one in one_seed for seed in (3, 5)], key=str)
    assert len({c.name for c in params.cells}) == len({c.key for c in params.cells}) == 10
    for cell in params.cells:
        (reference,) = [c for c in params.cells if c.key == cell.reference] or [cell]
        assert reference.seed == cell.seed and reference.resolved["mixer"] == "none"
        assert cell.in_product == (cell.resolved["mixer"] != "none") == bool(cell.reference)


def test_a_mixer_without_alpha_is_one_cell(tmp_path):
    params = ablation(tmp_path, axes={"mixer": ["mixup", "resizemix"], "alpha": [0.2, 1.0, 4.0]})
    assert [c.resolved["alpha"] for c in params.cells if c.resolved["mixer"] == "resizemix"] == [None]
    assert len(params.cells) == 4


def test_alpha_for_a_fixed_mixer_that_has_none_is_a_mistake(tmp_path):
    with pytest.raises(ParamError, match="alpha: auto, because mixer resizemix does not take it"):
        ablation(tmp_path, base={**TINY, "mixer": "resizemix", "alpha": 0.5}, axes={"temperature": [0.1, 0.2]})


def test_equal_cells_are_one(tmp_path):
    """auto is mixup here: the same run under two names."""
    assert len(ablation(tmp_path, axes={"mixer": ["auto", "mixup"]}).cells) == 1


def test_also_and_exclude(tmp_path):
    params = ablation(tmp_path, axes={"mixer": ["mixup", "cutmix"], "alpha": [0.2, 1.0]},
                      also=[{"mixer": "manifold"}, {"method": "simclr", "mixer": "none"}],
                      exclude=[{"mixer": "cutmix", "alpha": 0.2}])
    asked = {(c.params.method, c.params.mixer, c.params.alpha) for c in params.cells}
    assert asked == {("mixsupcon", "mixup", 0.2), ("mixsupcon", "mixup", 1.0), ("mixsupcon", "cutmix", 1.0),
                     ("mixsupcon", "manifold", "auto"), ("simclr", "none", "auto")}


IMPOSSIBLE = {"method": ["simclr", "mixsupcon"], "mixer": ["none", "mixup"]}


def test_impossible_combinations_are_refused_by_name(tmp_path):
    with pytest.raises(ParamError) as refused:
        ablation(tmp_path, axes=IMPOSSIBLE, base={**TINY, "temperature": 0})
    lines = str(refused.value).splitlines()
    assert len(lines) == 2
    assert any("temperature" in line and "simclr, mixer none" in line for line in lines)
    assert any("mixsupcon mixes" in line and "(in method mixsupcon, mixer none)" in line for line in lines)


def test_impossible_combinations_are_left_out_and_listed(tmp_path):
    params = ablation(tmp_path, axes=IMPOSSIBLE, skip_impossible=True)
    assert {(c.params.method, c.params.mixer) for c in params.cells} == {
        ("simclr", "none"), ("simclr", "mixup"), ("mixsupcon", "mixup")}
    assert len(params.combinations.refused) == 1 and "method mixsupcon, mixer none" in params.combinations.refused[0]


def test_all_mistakes_at_once(tmp_path):
    with pytest.raises(ParamError) as refused:
        ablation(tmp_path, base={"methd": "simclr", "seed": 1}, axes={"mixer": "mixup", "alpha": [1.0, 1.0]},
                 seeds=[1, 1], job={"x": 1})
    text = str(refused.value)
    assert len(text.splitlines()) == 6
    for part in ('Did you mean "method"', "List them under seeds", "axes, mixer: a list", "alpha: each value once",
                 "seeds: each seed once", "job: empty"):
        assert part in text


@pytest.mark.parametrize(("values", "message"), [
    ({"measure": "sgd"}, "measure: one of knn"), ({"measured_on": "val"}, "val_fraction is 0"),
    ({"evaluation": {"probs": []}}, 'Did you mean "probes"'), ({"evaluation": {"run": "x"}}, "without those that the"),
    ({"evaluation": {**NO_EVALUATION, "layers": ["projection"]}}, "with encoder"),
    ({"axes": {"seed": [1]}}, "List them under seeds"), ({"base": {"mixer": "mixup"}}, "in base too"),
    ({"axes": {"n_mix": list(range(1, 17)), "alpha": [i / 1000 for i in range(1, 400)]}}, "at most 5000"),
    ({"exclude": [{"mixer": "mixup"}, {"mixer": "cutmix"}]}, "at least one possible"),
    ({"base": TINY | {"devices": 2}}, "devices: auto or 1, because place is local"),
    ({"also": [TINY | {"mixer": "mixup", "devices": 2}], "place": "submitit"}, "because place is submitit"),
    ({"axes": 3}, "axes: names with values")])
def test_a_mistake_is_named(tmp_path, values, message):
    with pytest.raises(ParamError, match=message):
        ablation(tmp_path, **values)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_an_unmixed_relative(method):
    params = Pretrain.check(**unmixed({"method": method, "batch_size": 32, "epochs": 3}))
    assert params.mixer_name() == "none" and params.epochs == 3
    wanted = {"mixsupcon": "supcon", "gensupcon": "supcon", "unmix": "moco", "regions_within": "moco", "byol": "byol",
              "simclr": "simclr"}
    assert params.method == wanted.get(method, params.method)


def test_the_relative_keeps_what_it_takes_and_no_more():
    assert unmixed({"method": "mixsupcon", "n_mix": 3, "reading": "row", "mixer": "cutmix", "alpha": 2.0,
                    "temperature": 0.3}) == {"method": "supcon", "mixer": "none", "temperature": 0.3}
    assert unmixed({"method": "unmix", "base": "byol", "proj_dim": 32}) == {
        "method": "byol", "mixer": "none", "proj_dim": 32}


def test_the_relative_does_not_fall_back_to_its_own_defaults():
    for values in ({"method": "imix"}, {"method": "imix", "ema_momentum": "auto"}):
        wanted = Pretrain.check(**values).resolved_method()["ema_momentum"]
        found = Pretrain.check(**unmixed(values)).resolved_method()["ema_momentum"]
        assert found == wanted != Pretrain(method="moco").resolved_method()["ema_momentum"]
    assert unmixed({"method": "imix", "ema_momentum": 0.9})["ema_momentum"] == 0.9


def test_notebook_model_and_quick_preset_agree():
    cells = json.loads((ROOT / "notebooks" / "ablation.ipynb").read_text())["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    written = {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse("".join(cell["source"])).body}
    assert Ablation.check(**written) == Ablation() and list(written) == list(Ablation.model_fields)
    assert Ablation.from_yaml(ROOT / "params" / "ablation" / "quick.yaml") == Ablation()


@pytest.mark.parametrize("file", sorted((ROOT / "params" / "ablation").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_grid_of_params_is_possible(file):
    """As papermill reads it and as the command line does; each has its unmixed relatives."""
    params = Ablation.from_yaml(file)
    assert Ablation.check(**yaml.safe_load(file.read_text())).cells == params.cells and not params.combinations.refused
    assert {c.reference for c in params.cells} - {""} <= {c.key for c in params.cells}


def test_the_key_ignores_paths_and_pace_only(tmp_path):
    keys = {name: ablation(tmp_path, base=TINY | values).cells[0].key for name, values in {
        "same": {}, "pace": {"checkpoint_every": 5.0, "knn_every": 1}, "lr": {"lr": 0.1},
        "precision": {"precision": "fp32"}}.items()}
    assert keys["same"] == keys["pace"] and len(set(keys.values())) == 3


# Estimates


def test_the_estimate_is_honest():
    assert "unknown" in grid.remaining([], 3, [1.0], 2)
    assert grid.remaining([100.0], 3, [], 1) == "about 5 min (from one cell, spread unknown)"
    assert grid.remaining([60.0, 60.0], 2, [], 2) == "about 60 s (60 s to 60 s, from 2 cells)"
    assert grid.remaining([60.0], 0, [], 2) == grid.remaining([60.0], 0, [], None) == "nothing"
    assert grid.remaining([60.0], 2, [1.0], None) == "3 cells, as fast as the queue takes them"
    assert grid.remaining([60.0, 60.0], 1, [50.0], 1).startswith("about 70 s")
    assert grid.remaining([60.0], 0, [600.0], 1).startswith("about 6 s"), "a late cell is not done"
    assert grid.remaining([60.0, 60.0], 1, [50.0], 2).startswith("about 60 s"), "the waiting cell starts now"
    assert grid.remaining([60.0, 60.0], 3, [], 2).startswith("about 2 min"), "two rounds, not one and a half"
    narrow, wide = (grid.remaining([1000 - d, 1000 + d], 8, [], 1) for d in (10, 300))
    assert narrow == "about 2.2 h (2.2 h to 2.3 h, from 2 cells)" and "from 2 cells" in wide and narrow != wide


# Running


def test_every_cell_is_run_once_and_never_again(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "a person looks on")
    params, said = ablation(tmp_path, processes=1), []
    outcome = grid.run(params, said.append)
    assert outcome.finished == tuple(c.name for c in params.cells) and not outcome.failed
    calls = stand_in()
    assert stages(calls) == both(params)
    for call in calls:
        assert call["given"]["interactive"] is False and call["given"]["runs_dir"] == str(tmp_path / "runs")
        assert call["threads"] == str(len(os.sched_getaffinity(0)))
    assert {c["given"]["mixer"] for c in calls if c["notebook"] == "pretrain"} == {"mixup", "cutmix"}
    assert {c["given"]["knn_k"][0] for c in calls if c["notebook"] == "linear_eval"} == {5}
    assert "[2/2]" in said[-2] and "left: nothing" in said[-2]
    again = grid.run(params, said.append)
    assert again == outcome and len(stand_in()) == len(calls)
    assert "2 finished" in said[-2]


def test_no_more_threads_than_cores(tmp_path, stand_in):
    params = ablation(tmp_path)
    grid.run(params, lambda line: None)
    assert {call["threads"] for call in stand_in()} == {"1"}
    with pytest.raises(ParamError, match="processes: auto, or at most the"):
        grid.run(ablation(tmp_path, processes=4096), lambda line: None)


def test_a_run_made_elsewhere_counts(tmp_path, stand_in):
    """Finished is what the run directory says, not what the grid remembers; another protocol is not finished."""
    params = ablation(tmp_path)
    grid.run(params, lambda line: None)
    shutil.rmtree(tmp_path / "grid" / "cells")
    (tmp_path / "grid" / "calls.txt").unlink()
    assert len(grid.run(params, lambda line: None).finished) == 2 and not stand_in()
    other = ablation(tmp_path, evaluation={**NO_EVALUATION, "knn_k": [7]})
    grid.run(other, lambda line: None)
    assert {call["notebook"] for call in stand_in()} == {"linear_eval"} and len(stand_in()) == 2


def test_one_failure_does_not_lose_the_others(tmp_path, stand_in, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", "mixsupcon-mixup")
    params, said = ablation(tmp_path), []
    outcome = grid.run(params, said.append)
    bad, good = (cell.name for cell in params.cells)
    assert outcome.finished == (good,)
    assert outcome.failed == {bad: "pretrain.ipynb ended with exit code 1: ValueError: made to fail"}
    assert f"{bad} FAILED: pretrain.ipynb" in "\n".join(said)
    monkeypatch.delenv("FAKE_FAILS")
    before = len(stand_in())
    assert grid.run(params, said.append).failed == outcome.failed and len(stand_in()) == before
    assert any("not tried again (set retry_failed: true)" in line and bad in line for line in said)
    assert not grid.run(params.model_copy(update={"retry_failed": True}), said.append).failed
    assert stages(stand_in()[before:]) == [(bad, "linear_eval"), (bad, "pretrain")]


def test_success_without_a_result_is_a_failure(tmp_path, stand_in):
    """papermill says "completed" after a killed kernel; the run directory does not."""
    (tmp_path / "path" / "papermill.py").write_text("")
    outcome = grid.run(ablation(tmp_path), lambda line: None)
    assert len(outcome.failed) == 2 and all("the run is unfinished" in text for text in outcome.failed.values())


def test_missing_images_are_refused_before_any_work(tmp_path, stand_in):
    params = ablation(tmp_path, base={**TINY, "dataset": "folder:nowhere"})
    with pytest.raises((ParamError, ValueError), match="nowhere"):
        grid.run(params, lambda line: None)
    assert not stand_in()


def test_one_grid_at_a_time(tmp_path, stand_in):
    params = ablation(tmp_path)
    (tmp_path / "grid").mkdir()
    with runs.locked(runs.Run(tmp_path / "grid")), pytest.raises(RunBusyError):
        grid.run(params, lambda line: None)


def test_look_only_touches_nothing(tmp_path, stand_in):
    outcome = grid.run(ablation(tmp_path, look_only=True), lambda line: None)
    assert outcome.finished == () and not (tmp_path / "grid").exists()


# Ends


class Started:
    """``python -m mixlab.grid`` on ``params`` in a process of its own."""

    def __init__(self, folder, params):
        file, self.said = folder / "grid.yaml", folder / "said.txt"
        file.write_text(yaml.safe_dump({k: v for k, v in params.model_dump().items() if v != "auto"}))
        with open(self.said, "w") as out:
            self.process = subprocess.Popen([sys.executable, "-m", "mixlab.grid", str(file)], stdout=out, stderr=out)

    def end(self, number, seconds=60):
        """Sends a signal and waits for the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.process.poll() is None, process.said.read_text()
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.02)


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3]
    except FileNotFoundError:
        return False


def test_killed_in_the_middle_it_goes_on_and_repeats_nothing(tmp_path, stand_in, monkeypatch):
    """The child at work outlives the grid; the next start waits for it and takes over its run."""
    params = ablation(tmp_path, axes={"mixer": ["mixup", "cutmix", "manifold"]}, processes=1)
    monkeypatch.setenv("FAKE_SECONDS", "1.5")
    process = Started(tmp_path, params)
    wait_for(lambda: len(stand_in()) == 3, process)  # the first is done, the second trains
    assert process.end(signal.SIGKILL) == -signal.SIGKILL
    orphan = stand_in()[-1]["pid"]
    assert alive(orphan) and stand_in()[-1]["notebook"] == "pretrain"
    outcome = grid.run(params, lambda line: None)
    assert len(outcome.finished) == 3 and not outcome.failed
    assert stages(stand_in()) == both(params)
    assert not list((tmp_path / "grid").rglob("*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_polite_end_takes_the_children_along(tmp_path, stand_in, number, monkeypatch):
    params = ablation(tmp_path)
    monkeypatch.setenv("FAKE_SECONDS", "600")
    process = Started(tmp_path, params)
    wait_for(lambda: len(stand_in()) == 2, process)
    asked = time.monotonic()
    assert process.end(number) == 130 and "2 cells left; start again to continue" in process.said.read_text()
    assert time.monotonic() - asked < GRACE_SECONDS, "children without a kernel are ended at once"
    monkeypatch.setenv("FAKE_SECONDS", "0")
    assert not any(alive(call["pid"]) for call in stand_in())
    states = [json.loads(file.read_text())["status"] for file in (tmp_path / "grid" / "cells").glob("*.json")]
    assert states == ["interrupted"] * 2
    assert len(grid.run(params, lambda line: None).finished) == 2


def test_the_cluster_path_on_submitits_local_executor(tmp_path, stand_in):
    pytest.importorskip("submitit", reason="needs submitit: pip install -e '.[cluster]'")
    params = ablation(tmp_path, place="submitit", job={"timeout_min": 5}, axes={"mixer": ["mixup"]})
    assert grid.run(params, lambda line: None).finished == (params.cells[0].name,)
    assert stages(stand_in()) == both(params) and list((tmp_path / "grid" / "jobs").iterdir())
    assert stand_in()[0]["pid"] != os.getpid()


def test_an_installed_package_finds_the_notebooks_that_its_wheel_brought(tmp_path, monkeypatch):
    brought = {place: [str(p.relative_to(ROOT)) for p in ROOT.glob(pattern)] for place, (pattern,) in tomllib.loads(
        (ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"].items()}
    assert {f"notebooks/{name}" for name in running.NOTEBOOKS} <= set(brought[running.INSTALLED])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "__file__", str(tmp_path / "site-packages/mixlab/grid/running.py"))
    monkeypatch.setattr(running.sysconfig, "get_path", lambda name: str(tmp_path / "environment"))
    with pytest.raises(ParamError, match=r"notebooks_dir: a folder with .* auto looks in .*environment/share/mixlab"):
        running._notebooks("auto")
    shutil.copytree(ROOT / "notebooks", tmp_path / "environment" / running.INSTALLED)
    assert running._notebooks("auto") == tmp_path / "environment" / running.INSTALLED


def test_braces_in_the_name_of_a_folder_are_no_parameters_to_papermill(tmp_path):
    from click.testing import CliRunner
    from papermill.cli import papermill

    folder, given = tmp_path / "grids {x} {}", tmp_path / "given.yaml"
    (folder / "notebooks").mkdir(parents=True)
    given.write_text("seed: 0\n")
    task = Task(ablation(tmp_path).cells[0], None, SimpleNamespace(folder=folder, notebooks=ROOT / "notebooks"))
    done = CliRunner().invoke(papermill, [*task._command("pretrain", given)[3:], "--prepare-only"])
    assert done.exit_code == 0, done.output
    assert [file.name for file in (folder / "notebooks").iterdir()] == [f"{task.cell.name}-pretrain.ipynb"]


def test_slurm_is_refused_where_there_is_none(tmp_path, stand_in, monkeypatch):
    pytest.importorskip("submitit", reason="needs submitit: pip install -e '.[cluster]'")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ParamError, match="place: local, because this machine has no Slurm"):
        grid.run(ablation(tmp_path, place="slurm"), lambda line: None)
    assert not stand_in()


@pytest.mark.slow
def test_a_job_that_fails_is_listed_with_its_last_words(tmp_path, stand_in, monkeypatch):
    pytest.importorskip("submitit", reason="needs submitit: pip install -e '.[cluster]'")
    monkeypatch.setenv("FAKE_FAILS", "mixsupcon-mixup")
    params = ablation(tmp_path, place="submitit")
    outcome = grid.run(params, lambda line: None)
    bad, good = (cell.name for cell in params.cells)
    assert outcome.finished == (good,) and outcome.failed[bad].endswith("ValueError: made to fail")
    with pytest.raises(ParamError, match="job: parameters of submitit"):
        grid.run(ablation(tmp_path, place="submitit", job={"tmeout": 5}, retry_failed=True), lambda line: None)


def test_the_command_line_lists_and_refuses(tmp_path, capsys):
    (tmp_path / "g.yaml").write_text("base: {epochs: -1}\n")
    assert main([str(tmp_path / "g.yaml")]) == 2
    assert capsys.readouterr().err.startswith("epochs: a whole number >= 0")
    (tmp_path / "g.yaml").write_text(f"seeds: [0]\ngrid_dir: {tmp_path / 'grid'}\n")
    assert main([str(tmp_path / "g.yaml"), "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5 and not (tmp_path / "grid").exists()


# The real thing


@pytest.mark.slow
def test_real_notebooks_killed_in_the_middle(tmp_path):
    """SIGKILL of the grid and SIGINT of its next start, with kernels at work; then it completes."""
    params = ablation(tmp_path, axes={"mixer": ["mixup", "cutmix", "resizemix"]}, base={**TINY, "epochs": 3})
    process = Started(tmp_path, params)
    wait_for(lambda: list(tmp_path.glob("runs/*/history.jsonl")), process, 900)
    process.end(signal.SIGKILL)
    process = Started(tmp_path, params)
    wait_for(lambda: "to run" in process.said.read_text() and any(
        run.finished() for run in runs.list_runs(tmp_path / "runs")), process, 900)
    made = {run.name: run.result()["finished_at"] for run in runs.list_runs(tmp_path / "runs") if run.finished()}
    assert process.end(signal.SIGINT, 300) == 130
    outcome = grid.run(params)
    assert len(outcome.finished) == 3 and not outcome.failed
    after = {run.name: run.result()["finished_at"] for run in runs.list_runs(tmp_path / "runs")}
    assert len(after) == 3 and made.items() <= after.items(), "a finished run was made again"
    for cell in params.cells:
        assert grid.evaluated(grid.Names(tmp_path / "runs").run(cell.params), params.protocol().record())


@pytest.mark.slow
def test_a_real_cell_that_fails_is_told_by_its_own_last_words(tmp_path):
    params = ablation(tmp_path, base={**TINY, "lr": 1e6, "precision": "fp32", "epochs": 3, "warmup_epochs": 0},
                      axes={"mixer": ["mixup"]})
    outcome = grid.run(params)
    (message,) = outcome.failed.values()
    assert "NonFiniteLossError: loss: finite; step" in message


@pytest.mark.slow
def test_the_grid_trains_the_run_that_its_name_says(tmp_path):
    """The run directory found beforehand is the one that the notebook makes, and its evaluation is the protocol's."""
    params = ablation(tmp_path, axes={"mixer": ["mixup"]})
    assert grid.run(params).finished
    (run,) = runs.list_runs(tmp_path / "runs")
    assert run.path == grid.Names(tmp_path / "runs").run(params.cells[0].params).path and run.result()["threads"] == 1
    assert evaluate.stored_files(run)
