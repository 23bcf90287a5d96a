"""Rows 1 to 6 and 15 of the fault catalogue, on real processes: ``python -m mixlab.train``, killed, starved, raced.

Row 2 (a kill inside a save), 7 to 10 (damaged checkpoints) are in tests/test_checkpoint.py; 15 also in test_runs.py.
"""

import io
import json
import random
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch

from mixlab import runs

TINY = """\
method: {method}
train_size: 24
batch_size: 8
epochs: 2
warmup_epochs: 0
knn_every: 0
checkpoint_every: 0
device: cpu
runs_dir: {runs}
"""


def start(folder, method="mixsupcon", before=None):
    """Starts a tiny run in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(TINY.format(method=method, runs=folder / "runs"))
    return subprocess.Popen([sys.executable, "-m", "mixlab.train", str(file)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, preexec_fn=before)


def finish(folder, method="mixsupcon"):
    process = start(folder, method)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return the_run(folder), output


def the_run(folder):
    found = runs.list_runs(folder / "runs")
    return found[0] if found else None


def training(folder):
    """Whether steps are being made: the untrained row is there."""
    run = the_run(folder)
    return run is not None and (run.path / "history.jsonl").exists()


def wait_until(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.01)


def record(run):
    """Everything a run leaves that must not depend on how often it was stopped."""
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "views_per_second")} for row in run.history()]
    payload = (run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[1]
    state = torch.load(io.BytesIO(payload), weights_only=True)
    momenta = [v["momentum_buffer"].numpy().tobytes() for v in state["optimizer"]["state"].values()]
    weights = {k: v.numpy().tobytes() for k, v in state["method"].items()}
    return rows, (run.path / "encoder.safetensors").read_bytes(), weights, momenta


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that was never stopped, and how long its steps took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run, _ = finish(folder)
    rows = run.history()
    return run, sum(row["seconds"] for row in rows if "seconds" in row)


def test_row_1_killed_at_random_instants_it_ends_the_same(undisturbed, tmp_path):
    run, seconds = undisturbed
    instants = random.Random(20261120)
    kills = 0
    for _ in range(12):
        process = start(tmp_path)
        wait_until(lambda: training(tmp_path), process)
        time.sleep(instants.uniform(0, 0.5 * seconds))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if kills == 5:
            break
    assert kills == 5
    assert not the_run(tmp_path).finished()
    continued, output = finish(tmp_path)
    assert record(continued) == record(run)
    assert [row["epoch"] for row in continued.history()] == [0, 1, 2]
    assert not list(continued.path.glob("*.tmp")) and not list(continued.path.glob(".*.tmp")), output


@pytest.mark.slow
@pytest.mark.parametrize("method", ["byol", "regions_within"])
def test_row_1_slow_copies_queues_and_predictors_survive_a_kill(tmp_path, method):
    whole, _ = finish(tmp_path / "whole", method)
    process = start(tmp_path / "killed", method)
    wait_until(lambda: training(tmp_path / "killed"), process)
    time.sleep(0.3 * sum(row.get("seconds", 0) for row in whole.history()))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not the_run(tmp_path / "killed").finished()
    assert record(finish(tmp_path / "killed", method)[0]) == record(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_rows_3_and_4_a_polite_signal_saves_and_says_so(undisturbed, tmp_path, number):
    process = start(tmp_path)
    wait_until(lambda: training(tmp_path), process)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "start again to continue" in output
    assert the_run(tmp_path).state() == "interrupted"
    continued, output = finish(tmp_path)
    assert "Continuing" in output and record(continued) == record(undisturbed[0])


def test_row_3_the_second_signal_stops_at_once(undisturbed, tmp_path):
    process = start(tmp_path)
    wait_until(lambda: training(tmp_path), process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and not the_run(tmp_path).finished()
    assert record(finish(tmp_path)[0]) == record(undisturbed[0])


def limited(size):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [100, 30_000, 10_000_000], ids=["params", "history", "checkpoint"])
def test_row_5_a_full_disk_loses_nothing(undisturbed, tmp_path, size):
    """The file-size limit makes a different write the first to fail; with space again the run goes on."""
    process = start(tmp_path, before=limited(size))
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 2 and "bytes" in output and "free" in output and str(tmp_path) in output
    run = the_run(tmp_path)
    assert run is None or not run.finished()
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.rglob(".*.tmp"))
    assert record(finish(tmp_path)[0]) == record(undisturbed[0])


def test_row_6_a_runs_dir_below_a_file_is_refused_before_training(tmp_path):
    (tmp_path / "runs").write_text("a file")
    process = start(tmp_path)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2 and "runs_dir: a folder" in output and "It is a file" in output


def test_row_15_a_second_start_is_told_who_is_at_it(tmp_path):
    first = start(tmp_path)
    wait_until(lambda: training(tmp_path), first)
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path)
    output = second.communicate(timeout=60)[0]
    first.send_signal(signal.SIGCONT)
    first.kill()
    first.communicate()
    assert second.returncode == 2 and f'"pid": {first.pid}' in output
    assert json.loads((the_run(tmp_path).path / "params.json").read_text())["method"] == "mixsupcon"
