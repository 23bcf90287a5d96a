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
from forks import (
    OWN,
    WRITES,
    Left,
    left,
    leftovers,
    record,
    safe,
    settled,
    the_run,
    until,
    values,
    went_on,
    write_yaml,
)

from mixlab import runs
from mixlab.errors import ParamError
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params import Pretrain
from mixlab.train import train

KILLED = "Killed (SIGKILL) at a random instant, resumed from its checkpoint: weights, momenta, history bit-identical"
EARLY = "Killed before there was a checkpoint, started anew: weights, momenta, history bit-identical"
TORN = "Killed while a file was being written or named: the one before is used and continued, the end bit-identical"
MIXERS_TRIED = ("mixup", "cutmix", "none", "resizemix", "gridmix")  # the first three that a method accepts
KILLS = 3  # of each method and mixer with a checkpoint, at least, and at two places or more
MOST = 4  # of one run; instants are drawn over the time of a whole run, so that most runs end before
RETRY = 12  # runs, at most, that are killed until there are enough kills
PLACES = {(1, 0), (4, 0), *((epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3))}  # where checkpoints stand


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def undisturbed(forks, images, tmp_path_factory):
    """A run that was never stopped: its file of parameters, what it left, how long it took, and itself."""
    return whole_run(forks, images, tmp_path_factory.mktemp("undisturbed"))


def whole_run(forks, images, folder, **changes):
    pid = forks.start(yaml=write_yaml(folder / "tiny.yaml", values(images, folder / "runs", **changes)))
    started = time.monotonic()  # now that the process which forks has imported all
    code, output = forks.wait(pid)
    assert code == 0, output
    run = the_run(folder / "runs")
    return record(run), time.monotonic() - started, run


def killed_run(forks, images, folder, instants, seconds, **changes):
    """A run killed at random instants until it ends, ``MOST`` times at most: where it stood each time, its record."""
    yaml, before, places = write_yaml(folder / "tiny.yaml", values(images, folder / "runs", **changes)), Left(), []
    while True:
        pid = forks.start(yaml=yaml)
        if len(places) < MOST:
            time.sleep(instants.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
        code, output = forks.wait(pid)
        after = left(folder / "runs")
        assert went_on(before, output, after, killed=code != 0), (before, output, after)
        if code == 0:
            assert not leftovers(folder)
            return places, record(the_run(folder / "runs"))
        assert code == -signal.SIGKILL, output
        places.append(after.place)
        before = after


def killed_runs(forks, images, folder, expected, instants, seconds, tally, **changes):
    """Fresh runs are killed until there were ``KILLS`` kills with a checkpoint, at two places; all these places."""
    places = []
    for attempt in range(RETRY):
        found, end = killed_run(forks, images, folder / str(attempt), instants, seconds, **changes)
        for place in found:
            tally(KILLED if place else EARLY, end == expected, attempt, found)
        settled(folder / str(attempt))
        places += [place for place in found if place]
        if len(places) >= KILLS and len(set(places)) > 1:
            return places
    raise AssertionError(f"after {RETRY} runs: {places}")


def test_row_01_killed_at_random_instants_it_ends_the_same(forks, images, undisturbed, tmp_path, tally):
    expected, seconds, _ = undisturbed
    assert [row["epoch"] for row in expected[0]] == [0, 1, 2, 3]
    assert set(killed_runs(forks, images, tmp_path, expected, random.Random(20261120), seconds, tally)) <= PLACES


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


@pytest.fixture(scope="module")
def struck():
    """Where the runs of all methods and mixers stood when they were killed."""
    return []


@pytest.mark.faults
@pytest.mark.parametrize("changes", PAIRS, ids=lambda c: f"{c['method']}-{c['mixer']}")
def test_row_01_every_method_and_mixer_survives_kills(forks, images, tmp_path, tally, struck, changes):
    expected, seconds, _ = whole_run(forks, images, tmp_path / "whole", **changes)
    instants = random.Random(f"{changes['method']} {changes['mixer']}")
    struck += killed_runs(forks, images, tmp_path, expected, instants, seconds, tally, **changes)
    settled(tmp_path)


@pytest.mark.faults
def test_row_01_the_kills_fell_over_the_whole_run(struck):
    """From the first checkpoint to the files that end it."""
    if len(struck) < 100:
        pytest.skip("says something of a hundred kills only; run it with the tests above")
    assert set(struck) <= PLACES and len(PLACES - set(struck)) <= 1, f"never struck: {PLACES - set(struck)}"


def failed_at(forks, images, folder, expected, tally, fault, number):
    """A run killed at its write ``number``, then continued; whether it has so many writes."""
    yaml = write_yaml(folder / "tiny.yaml", values(images, folder / "runs", epochs=1))
    code, output = forks.run(yaml=yaml, **{fault: number})
    if code == 0:
        return False
    assert code == -signal.SIGKILL, output
    before = left(folder / "runs")
    code, output = forks.run(yaml=yaml)
    resumed = safe(before, number) and went_on(before, output, left(folder / "runs"))
    whole = code == 0 and record(the_run(folder / "runs")) == expected and not leftovers(folder)
    tally(TORN, resumed and whole, fault, number, before, output)
    settled(folder)
    return True


@pytest.fixture(scope="module")
def short(forks, images, tmp_path_factory):
    return whole_run(forks, images, tmp_path_factory.mktemp("short"), epochs=1)[0]


@pytest.mark.parametrize(("fault", "number"), [("torn_at", 4), ("unnamed_at", 5)])
def test_row_02_a_kill_inside_a_write_leaves_the_old_file(forks, images, short, tmp_path, tally, fault, number):
    assert WRITES[number - 1][0] == "checkpoint"
    assert failed_at(forks, images, tmp_path, short, tally, fault, number)


@pytest.mark.faults
@pytest.mark.parametrize("fault", ["torn_at", "unnamed_at"])
def test_row_02_every_write_of_a_run_may_be_killed(forks, images, short, tmp_path, tally, fault):
    number = 1
    while failed_at(forks, images, tmp_path / str(number), short, tally, fault, number):
        number += 1
    assert number == len(WRITES) + 1


def stopped(forks, images, folder, *signals, seconds=0.2):
    """A run that gets a signal in its fifth step, and each more ``seconds`` before that step would go on."""
    folder.mkdir(exist_ok=True)
    yaml = write_yaml(folder / "tiny.yaml", values(images, folder / "runs"))
    pid = forks.start(yaml=yaml, hold_at=5, told=str(folder), seconds=seconds)
    for number, sign in zip(signals, ("in the step", "asked"), strict=False):
        until(lambda sign=sign: (folder / sign).exists() or forks.ended(pid))
        assert not forks.ended(pid)
        os.kill(pid, number)
    started = time.monotonic()
    return *forks.wait(pid), time.monotonic() - started, yaml


def continued(forks, folder, yaml, undisturbed, place):
    """The run stands at ``place``; started again it goes on there and ends as if nothing had been."""
    before = left(folder / "runs")
    assert before.place == place and the_run(folder / "runs").state() == "interrupted"
    code, output = forks.run(yaml=yaml)
    assert code == 0 and went_on(before, output, left(folder / "runs"))
    assert record(the_run(folder / "runs")) == undisturbed[0] and not leftovers(folder)


def politely(forks, images, folder, undisturbed, number):
    """The step during which the signal came is the second of epoch 2."""
    code, output, seconds, yaml = stopped(forks, images, folder, number)
    assert code == 130 and "stopped at epoch 2, step 2; start again to continue" in output and seconds < 30
    continued(forks, folder, yaml, undisturbed, (2, 2))


def test_row_03_one_ctrl_c_finishes_the_step_saves_and_says_so(forks, images, undisturbed, tmp_path):
    politely(forks, images, tmp_path, undisturbed, signal.SIGINT)


def test_row_03_the_second_ctrl_c_stops_at_once(forks, images, undisturbed, tmp_path):
    """In the midst of a step of half a minute, whose work is lost."""
    code, output, seconds, yaml = stopped(forks, images, tmp_path, signal.SIGINT, signal.SIGINT, seconds=30)
    assert code == 130 and "stopped at once; start again to continue" in output and seconds < 15
    continued(forks, tmp_path, yaml, undisturbed, (2, 1))


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
