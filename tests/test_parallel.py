"""Several processes are one: loss, gradient and weights, a rank that dies, and what starts and follows the ranks.

One torchrun launch of two gloo ranks serves all methods (tests/ranks_program.py). In float64 they agree with one
process to 1e-9, the rest being the order of sums; in float32, which runs use, to what the tests below say.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import psutil
import pytest
import ranks_program
import torch
from PIL import Image

from mixlab import errors, parallel, runs
from mixlab.errors import ParamError, RankError
from mixlab.parallel import Ranks
from mixlab.params import Pretrain
from mixlab.train import train

CASES = ranks_program.cases()
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENDED_SECONDS = 60  # README: a rank that dies ends all within this
TINY = {"batch_size": 8, "epochs": 2, "knn_every": 0, "checkpoint_every": 0.0, "warmup_epochs": 0, "device": "cpu",
        "precision": "fp32", "image_size": 16}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What each of two ranks found, from the one launch that all methods share."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run([*TORCHRUN, ranks_program.__file__, str(folder)], capture_output=True, text=True, timeout=600,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def distance(found, expected):
    """Of two dictionaries of tensors, the length of the difference over the length of the second."""
    assert found.keys() == expected.keys()
    names = [name for name, value in expected.items() if value.is_floating_point()]
    flat = [torch.cat([tensors[name].double().flatten() for name in names]) for tensors in (found, expected)]
    return ((flat[0] - flat[1]).norm() / flat[1].norm()).item()


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_are_one_process(two_ranks, name):
    """Loss and gradient of each of three steps, and after them every weight, running statistic, key and cursor."""
    one, two = ranks_program.steps(Ranks(), CASES[name]), two_ranks[0]["cases"][name]
    double = CASES[name][-1] == torch.float64
    torch.testing.assert_close(two["losses"], one["losses"], rtol=1e-9 if double else 1e-3, atol=0)
    for mine, theirs in zip(two["gradients"], one["gradients"], strict=True):
        assert distance(mine, theirs) < (1e-9 if double else 0.05)
    assert distance(two["state"], one["state"]) < (1e-9 if double else 1e-3)
    assert all(torch.equal(two["state"][k], v) for k, v in one["state"].items() if not v.is_floating_point())


def test_the_ranks_stay_equal_bit_for_bit(two_ranks):
    """Or they would drift apart over a long run."""
    for name, mine in two_ranks[0]["cases"].items():
        theirs = two_ranks[1]["cases"][name]["state"]
        assert all(torch.equal(value, theirs[key]) for key, value in mine["state"].items())


def test_the_cases_can_differ():
    """A gradient that misses the other rank's half is far from what the test above allows."""
    one = ranks_program.steps(Ranks(), CASES["simclr"])
    half = {name: value / 2 for name, value in one["gradients"][0].items()}
    assert distance(half, one["gradients"][0]) == pytest.approx(0.5)
    assert all((value != 0).any() for name, value in one["gradients"][0].items() if "conv" in name)


def test_ranks_share_what_the_first_finds_and_fails_at(two_ranks):
    first, second = (found["agreements"] for found in two_ranks)
    assert first["most"] == second["most"] == 5
    assert first["shared"] == second["shared"] == "of rank 0"
    assert first["refused"] == second["refused"] == "ParamError: mine"
    assert "RankError: rank 1: the ranks differ in a run (0 on rank 0, 1 here)" in second["same"]
    assert first["same"].startswith("RankError: rank 0")
    assert "batch_size: a number that 2 ranks can share" in first["odd"]


def test_bf16_passes_between_ranks(two_ranks):
    one = ranks_program.autocast_step(Ranks())
    assert two_ranks[0]["autocast"] == two_ranks[1]["autocast"] == pytest.approx(one.item(), rel=0.02)


def test_one_process_is_left_as_it_is():
    """The usual case pays nothing: no layer is exchanged, no feature gathered."""
    method = ranks_program.build("simclr", "none", {}, torch.float32)
    before, x = [type(m) for m in method.modules()], torch.ones(2)
    assert [type(m) for m in Ranks().spread(method).modules()] == before and "forward" not in vars(method.encoder)
    assert Ranks().gather(x) is x and Ranks().most(3) == 3 and Ranks().shared(lambda: 4) == 4


# Who started this process

TORCHRUN_STATES = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "here", "MASTER_PORT": "1"}


def test_torchruns_word_is_taken(monkeypatch):
    for name, value in TORCHRUN_STATES.items():
        monkeypatch.setenv(name, value)
    assert parallel.started() == Ranks(rank=3, count=4, local=1)


@pytest.mark.parametrize("missing", sorted(TORCHRUN_STATES.keys() - {"WORLD_SIZE"}))
def test_another_launcher_of_several_processes_is_refused(monkeypatch, missing):
    """Fault 43: N processes must not write one run."""
    for name, value in TORCHRUN_STATES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(ParamError, match="WORLD_SIZE: 1, or set by torchrun.*got '4'.*Start with torchrun"):
        parallel.started()


def test_a_number_of_devices_other_than_torchruns_is_refused(monkeypatch, tmp_path):
    for name, value in TORCHRUN_STATES.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ParamError, match="devices: auto or 4, the processes that torchrun started; got 2"):
        train(tiny(tmp_path, devices=2))
    with pytest.raises(ParamError, match=r"devices: auto or a divisor of batch_size \(6\); got 4"):
        train(tiny(tmp_path, batch_size=6))


def test_more_gpus_than_there_are_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ParamError, match="devices: at most the 1 CUDA devices found; got 2"):
        train(tiny(tmp_path, device="cuda", devices=2))


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(ParamError, match=r"devices: auto or a divisor of batch_size \(8\); got 3"):
        Pretrain.check(batch_size=8, devices=3)
    with pytest.raises(ParamError, match=r"devices: auto or a divisor of half of batch_size \(8\); got 8"):
        Pretrain.check(method="mixco", batch_size=8, devices=8, bn_splits=4)
    assert Pretrain.check(batch_size=8, devices=8).resolved()["devices"] == 8


def test_a_rank_that_hangs_is_waited_for_half_an_hour(monkeypatch):
    """README: the exchange that it misses then fails on the others, in our words (``test_a_rank_that_dies...``)."""
    begun = []
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *given, timeout: begun.append(timeout))
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: begun.append("ended"))
    with parallel.joined(Ranks(count=2), "cpu"):
        assert begun == [timedelta(minutes=30)]
    assert len(begun) == 2


# Real runs of two ranks

@pytest.fixture(scope="module", autouse=True)
def images(tmp_path_factory):
    """28 small pictures of two classes, of which 4 are the test set; the working folder is theirs."""
    folder, generator = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, low, high in (("dark", 0, 120), ("light", 100, 256)):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(14):
            pixels = generator.integers(low, high, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    with contextlib.chdir(folder):
        yield


def tiny(folder, **changes):
    return Pretrain.check(**TINY | {"dataset": "folder:pictures", "runs_dir": str(folder)} | changes)


def quiet(line):
    """Takes a line of log and drops it."""


def ranks_alive():
    """``{rank: process}`` of the training processes below this one."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if "mixlab.train" in process.cmdline() and "torch.distributed.run" not in process.cmdline():
                found[int(process.environ()["RANK"])] = process
        except (psutil.Error, KeyError):
            continue
    return found


def assert_close(run, other):
    """Two runs to float32 rounding: what they recorded, and the encoders they learnt."""
    for row, expected in zip(run.history(), other.history(), strict=True):
        assert row["epoch"] == expected["epoch"]
        assert row["epoch"] == 0 or row["loss"] == pytest.approx(expected["loss"], rel=1e-3)
    mine, theirs = (runs.load_encoder(r).state_dict() for r in (run, other))
    assert distance(mine, theirs) < 1e-3


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The run as one process makes it."""
    return train(tiny(tmp_path_factory.mktemp("one")), log=quiet)


def test_a_rank_that_dies_ends_all_by_name_and_one_process_goes_on(undisturbed, tmp_path):
    """Fault 43, from the call that a notebook makes: SIGKILL of rank 1 after the first epoch."""
    rows, lines, killed = [], [], []

    def kill(row):
        rows.append(row)
        if row["epoch"] == 1:
            ranks_alive()[1].kill()
            killed.append(time.monotonic())

    with pytest.raises(RankError, match="rank 1 was ended by signal 9.*Start again"):
        train(tiny(tmp_path, devices=2), on_epoch=kill, log=lines.append)
    assert time.monotonic() - killed[0] < ENDED_SECONDS and not ranks_alive()
    run = runs.list_runs(tmp_path)[0]
    assert [row["epoch"] for row in rows] == [0, 1] and run.state() == "interrupted"
    assert run.name == undisturbed.name, "devices must not make it another run"
    assert len(lines) == 5 and lines[3].startswith("epoch 0/2"), "after three lines about the data"
    again = []
    assert_close(train(tiny(tmp_path), log=again.append), undisturbed)
    assert again[3].startswith(f"Continuing {run.name} at epoch")


def write_yaml(folder, **changes):
    values = TINY | {"dataset": "folder:pictures", "runs_dir": f"{folder}/runs"} | changes
    (folder / "tiny.yaml").write_text("".join(f"{name}: {value}\n" for name, value in values.items()))
    return str(folder / "tiny.yaml")


def wait_until(condition, seconds=ENDED_SECONDS):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)


def recorded(folder):
    """Whether a run below ``folder`` has a row."""
    return any((run.path / "history.jsonl").exists() for run in runs.list_runs(folder))


@pytest.mark.slow
def test_torchrun_trains_a_file(undisturbed, tmp_path):
    for words in ("epoch 1/2", "is finished; nothing to train"):
        done = subprocess.run([*TORCHRUN, "-m", "mixlab.train", write_yaml(tmp_path)], capture_output=True, text=True,
                              timeout=300)
        assert done.returncode == 0 and done.stdout.count(words) == 1, done.stderr
    run = runs.find("latest", tmp_path / "runs")
    assert run.result()["devices"] == 2
    assert_close(run, undisturbed)


@pytest.mark.slow
def test_an_interrupted_notebook_stops_its_ranks_and_they_go_on(undisturbed, tmp_path):
    """Fault 3: Ctrl-C reaches this process only; the ranks save and end, and two of them continue the run."""
    def interrupt(row):
        if row["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped at epoch 2, step .; start again"):
        train(tiny(tmp_path, devices=2, checkpoint_every=1e6), on_epoch=interrupt, log=quiet)
    assert not ranks_alive() and runs.list_runs(tmp_path)[0].state() == "interrupted"
    lines = []
    assert_close(train(tiny(tmp_path, devices=2), log=lines.append), undisturbed)
    assert "Continuing" in lines[3] and "at epoch 2" in lines[3]


@pytest.mark.slow
def test_a_killed_notebook_leaves_no_ranks_behind(tmp_path):
    """Nobody is left to stop them: they notice that their input ended, save, and let go of the run."""
    write_yaml(tmp_path, devices=2, epochs=1000)
    code = ("from mixlab.params import Pretrain; from mixlab.train import train; "
            f"train(Pretrain.from_yaml({str(tmp_path / 'tiny.yaml')!r}))")
    notebook = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    wait_until(lambda: recorded(tmp_path / "runs"))
    ranks = ranks_alive()
    notebook.kill()
    notebook.wait()
    assert len(ranks) == 2
    wait_until(lambda: not any(process.is_running() for process in ranks.values()))
    assert runs.list_runs(tmp_path / "runs")[0].state() == "interrupted"


@pytest.mark.slow
def test_a_signal_to_torchrun_saves_on_all_ranks(tmp_path):
    """Faults 3 and 4 at the command line."""
    process = subprocess.Popen([*TORCHRUN, "-m", "mixlab.train", write_yaml(tmp_path, epochs=1000)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: recorded(tmp_path / "runs"))
    process.terminate()
    output = process.communicate(timeout=ENDED_SECONDS)[1]
    assert process.returncode != 0 and "start again to continue" in output
    assert runs.list_runs(tmp_path / "runs")[0].state() == "interrupted"


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"batch_size": 64}, ParamError, "batch_size: at most the 24 training images; got 64"),
    ({"dataset": "folder:nowhere"}, errors.DataError, "nowhere"),
    ({"lr": 1.0e6, "epochs": 40}, errors.NonFiniteLossError, "loss: finite; step"),
])
def test_what_a_rank_refuses_is_raised_here(tmp_path, changes, error, message):
    with pytest.raises(error, match=message) as raised:
        train(tiny(tmp_path, devices=2, **changes), log=quiet)
    assert "rank" not in str(raised.value)


@pytest.mark.slow
def test_a_busy_run_is_refused_by_all_ranks(tmp_path):
    run = train(tiny(tmp_path, epochs=0), log=quiet)
    (run.path / "result.json").unlink()
    with runs.locked(run), pytest.raises(errors.RunBusyError, match=f'"pid": {os.getpid()}'):
        train(tiny(tmp_path, epochs=0, devices=2), log=quiet)
