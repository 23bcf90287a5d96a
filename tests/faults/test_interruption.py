"""Rows 1 to 4, 14, 17 and 18 of the fault catalogue: trainings that are killed, stopped, moved, and what is left."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from forks import OWN, leftovers, record, settled, the_run, until, values, write_yaml

from mixlab import runs
from mixlab.errors import ParamError
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params import Pretrain
from mixlab.train import train

KILLED = "Killed (SIGKILL) at a random instant, resumed: weights, momenta and history end bit-identical"
TORN = "Killed while a file was being written or named: nothing half-written is used, the end is bit-identical"
MIXERS_TRIED = ("mixup", "cutmix", "none", "resizemix", "gridmix")  # the first three that a method accepts
KILLS = 3  # of each method and mixer, at least
RETRY = 5  # runs that are killed anew where one ended before its last kill


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def undisturbed(forks, images, tmp_path_factory):
    """A run that was never stopped: its file of parameters, what it left, how long it took, and itself."""
    return whole_run(forks, images, tmp_path_factory.mktemp("undisturbed"))


def whole_run(forks, images, folder, **changes):
    started = time.monotonic()
    code, output = forks.run(yaml=write_yaml(folder / "tiny.yaml", values(images, folder / "runs", **changes)))
    assert code == 0, output
    run = the_run(folder / "runs")
    return record(run), time.monotonic() - started, run


def training(runs_dir):
    """Whether steps are being made: the untrained row is there."""
    run = the_run(runs_dir)
    return run is not None and (run.path / "history.jsonl").exists()


def killed_run(forks, images, folder, instants, seconds, wanted, **changes):
    """A run killed ``wanted`` times at random instants and then finished; how often it was killed, and its record."""
    yaml, kills = write_yaml(folder / "tiny.yaml", values(images, folder / "runs", **changes)), 0
    while kills < wanted:
        pid = forks.start(yaml=yaml)
        time.sleep(instants.uniform(0, seconds / wanted))
        os.kill(pid, signal.SIGKILL)
        code, output = forks.wait(pid)
        if code == 0:
            return kills, record(the_run(folder / "runs"))
        assert code == -signal.SIGKILL, output
        kills += 1
    code, output = forks.run(yaml=yaml)
    assert code == 0 and not leftovers(folder), output
    return kills, record(the_run(folder / "runs"))


def test_row_01_killed_at_random_instants_it_ends_the_same(forks, images, undisturbed, tmp_path, tally):
    expected, seconds, _ = undisturbed
    kills, left = killed_run(forks, images, tmp_path, random.Random(20261120), seconds, 4)
    assert kills >= 1 and [row["epoch"] for row in left[0]] == [0, 1, 2, 3]
    for _ in range(kills):
        tally(KILLED, left == expected)


def accepted(method):
    """Three mixers, or as many as the method takes, with the parameters of its tiny run."""
    found = []
    for mixer in MIXERS_TRIED:
        for parts in ({}, {"bn_splits": 2}):
            try:
                changes = {"method": method, "mixer": mixer, **OWN.get(method, {}), **parts}
                Pretrain.check(**values("x", "y", **changes))
                found.append(changes)
                break
            except ParamError:
                continue
    return found[:3]


PAIRS = [changes for method in METHODS for changes in accepted(method)]


def test_every_method_is_killed():
    assert {pair["method"] for pair in PAIRS} == set(METHODS) and {pair["mixer"] for pair in PAIRS} <= set(MIXERS)
    assert len(PAIRS) * KILLS >= 100


@pytest.mark.faults
@pytest.mark.parametrize("changes", PAIRS, ids=lambda c: f"{c['method']}-{c['mixer']}")
def test_row_01_every_method_and_mixer_survives_kills(forks, images, tmp_path, tally, changes):
    """Runs that ended before their last kill are killed anew, so that each pair is killed often enough."""
    expected, seconds, _ = whole_run(forks, images, tmp_path / "whole", **changes)
    instants, kills = random.Random(f"{changes['method']} {changes['mixer']}"), 0
    for attempt in range(RETRY):
        more, left = killed_run(forks, images, tmp_path / str(attempt), instants, seconds, KILLS + 1, **changes)
        for _ in range(more):
            tally(KILLED, left == expected)
        kills += more
        settled(tmp_path / str(attempt))
        if kills >= KILLS:
            break
    settled(tmp_path)
    assert kills >= KILLS


def struck(forks, images, folder, expected, tally, **fault):
    """A run with a fault at one of its writes, then continued; whether the fault struck at all."""
    yaml = write_yaml(folder / "tiny.yaml", values(images, folder / "runs", epochs=1))
    code, output = forks.run(yaml=yaml, **fault)
    if code == 0:
        return False
    assert code == -signal.SIGKILL, output
    code, output = forks.run(yaml=yaml)
    tally(TORN, code == 0 and record(the_run(folder / "runs")) == expected and not leftovers(folder), fault, output)
    settled(folder)
    return True


@pytest.fixture(scope="module")
def short(forks, images, tmp_path_factory):
    return whole_run(forks, images, tmp_path_factory.mktemp("short"), epochs=1)[0]


@pytest.mark.parametrize("fault", [{"torn_at": 4}, {"unnamed_at": 5}],
                         ids=lambda fault: f"{next(iter(fault))}-{next(iter(fault.values()))}")
def test_row_02_a_kill_inside_a_write_leaves_the_old_file(forks, images, short, tmp_path, tally, fault):
    """Files 3 to 6 are checkpoints of a step each."""
    assert struck(forks, images, tmp_path, short, tally, **fault)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["torn_at", "unnamed_at"])
def test_row_02_every_write_of_a_run_may_be_killed(forks, images, short, tmp_path, tally, fault):
    number = 1
    while struck(forks, images, tmp_path / str(number), short, tally, **{fault: number}):
        number += 1
    assert number > 8


def stopped(forks, images, folder, *signals):
    yaml = write_yaml(folder / "tiny.yaml", values(images, folder / "runs"))
    pid = forks.start(yaml=yaml)
    until(lambda: training(folder / "runs") or forks.ended(pid))
    for number in signals:
        os.kill(pid, number)
    started = time.monotonic()
    return *forks.wait(pid), time.monotonic() - started, yaml


def politely(forks, images, folder, undisturbed, number):
    code, output, seconds, yaml = stopped(forks, images, folder, number)
    assert code == 130 and "start again to continue" in output and seconds < 30
    assert the_run(folder / "runs").state() == "interrupted"
    code, output = forks.run(yaml=yaml)
    assert code == 0 and "Continuing" in output and record(the_run(folder / "runs")) == undisturbed[0]


def test_row_03_one_ctrl_c_finishes_the_step_saves_and_says_so(forks, images, undisturbed, tmp_path):
    politely(forks, images, tmp_path, undisturbed, signal.SIGINT)


def test_row_03_the_second_ctrl_c_stops_at_once(forks, images, undisturbed, tmp_path):
    code, _, _, yaml = stopped(forks, images, tmp_path, signal.SIGINT, signal.SIGINT)
    assert code == 130 and not the_run(tmp_path / "runs").finished()
    assert forks.run(yaml=yaml)[0] == 0 and record(the_run(tmp_path / "runs")) == undisturbed[0]


def test_row_04_a_scheduler_s_sigterm_is_one_ctrl_c(forks, images, undisturbed, tmp_path):
    """Within the 30 seconds that schedulers give at least."""
    politely(forks, images, tmp_path, undisturbed, signal.SIGTERM)


def test_row_14_a_finished_run_is_returned_untouched(forks, undisturbed):
    _, _, run = undisturbed
    before = {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"}
    code, output = forks.run(yaml=str(run.path.parents[1] / "tiny.yaml"))
    assert code == 0 and "is finished; nothing to train" in output
    assert {p: p.read_bytes() for p in run.path.rglob("*") if p.is_file() and p.name != ".lock"} == before


@pytest.mark.parametrize("moved", [False, True], ids=["deleted", "moved"])
def test_row_17_a_run_directory_that_goes_away_is_missed_and_not_made_again(images, tmp_path, moved):
    def remove(row):
        run = the_run(tmp_path / "runs")
        if moved:
            run.path.rename(tmp_path / "elsewhere")
        else:
            shutil.rmtree(run.path)

    with pytest.raises(OSError, match=r"does not exist|No such file") as raised:
        train(Pretrain.check(**values(images, tmp_path / "runs", epochs=1)), on_epoch=remove, log=quiet)
    assert str(tmp_path / "runs") in str(raised.value) and not list((tmp_path / "runs").iterdir())


def test_row_18_a_run_goes_on_in_another_folder_of_any_name(forks, images, undisturbed, tmp_path):
    """Spaces, accents, an emoji, braces, 200 characters; what was moved there unfinished ends bit-identical there."""
    assert stopped(forks, images, tmp_path / "here", signal.SIGINT)[0] == 130
    there = tmp_path / ("a folder, é 🦊 {x} " + "long" * 45) / "runs"
    there.parent.mkdir()
    shutil.move(tmp_path / "here" / "runs", there)
    shutil.copytree(images, there.parent / "pictures {1}")
    code, output = forks.run(yaml=write_yaml(tmp_path / "there.yaml", values(there.parent / "pictures {1}", there)))
    assert code == 0 and "Continuing" in output
    run = the_run(there)
    assert run.name == undisturbed[2].name, "the same pictures elsewhere are the same run"
    assert record(run) == undisturbed[0] and runs.load_encoder(run).dim == 512
    kept = [p.name for p in run.path.rglob("*") if p.is_file() and str(tmp_path).encode() in p.read_bytes()]
    assert kept == ["params.json"], "where it was started is kept as a parameter only"


@pytest.mark.faults
def test_row_01_the_command_itself_is_killed_and_goes_on(images, undisturbed, tmp_path):
    """As above without the forks: a new interpreter each time."""
    yaml = write_yaml(tmp_path / "tiny.yaml", values(images, tmp_path / "runs"))
    command = [sys.executable, "-m", "mixlab.train", yaml]
    one = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=one)
    until(lambda: list((tmp_path / "runs").glob("*/checkpoint.pt")) or process.poll() is not None)
    process.kill()
    process.communicate()
    done = subprocess.run(command, capture_output=True, text=True, env=one)
    assert process.returncode == -signal.SIGKILL and re.search("Continuing", done.stdout), done.stderr
    assert record(the_run(tmp_path / "runs")) == undisturbed[0]
