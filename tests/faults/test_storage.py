"""Rows 5 to 13, 15, 16 and 19 to 24 of the fault catalogue: disks, locks, damaged and foreign files, clocks."""

import contextlib
import json
import math
import os
import pickle
import random
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from forks import QUICK, WRITES, left, leftovers, record, safe, settled, the_run, until, values, went_on, write_yaml
from PIL import Image

from mixlab import benchmark, checkpoint, runs, snapshots
from mixlab.attention import localisation
from mixlab.attention.classifier import read_probe
from mixlab.errors import CheckpointError, ParamError, RunBusyError
from mixlab.evaluate import Protocol, evaluate
from mixlab.files import writable_folder, write
from mixlab.params import Benchmark, Pretrain
from mixlab.train import Trainer, train
from mixlab.verify import verify
from mixlab.verify.checks import OK, checked, evaluation, parameters
from mixlab.verify.stored import who

FULL = "The disk full from one write of a run on: named, nothing lost, with space again the end is bit-identical"
DAMAGED = "Truncated or one bit flipped in a file of a run: detected, or every value read is as it was written"
RACED = "Two starts race for one run: exactly one proceeds, the other names its owner"
PROTOCOL = Protocol(**QUICK)
WHO = {"dataset": "folder", "method": "simclr", "mixer": "none", "encoder": "resnet10", "seed": 3, "lr": 0.1}


def quiet(line):
    """Takes a line of log and drops it."""


def tiny(images, folder, **changes):
    return Pretrain.check(**values(images, folder, **{"epochs": 1} | changes))


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    """A finished run, evaluated, with its maps scored, made in this process; tests copy it before they harm it."""
    run = train(tiny(images, tmp_path_factory.mktemp("finished"), epochs=2), log=quiet)
    evaluate(run, PROTOCOL, quiet)
    localisation(run, mosaics=2, log=quiet)
    return run


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it that can be harmed."""
    return runs.Run(Path(shutil.copytree(finished.path, tmp_path / finished.name)))


# Full disks

@pytest.fixture(scope="module")
def undisturbed(forks, images, tmp_path_factory):
    """What one epoch leaves, and the bytes of each of its files."""
    folder = tmp_path_factory.mktemp("undisturbed")
    code, output = forks.run(yaml=write_yaml(folder / "tiny.yaml", values(images, folder / "runs", epochs=1)))
    assert code == 0, output
    return record(the_run(folder / "runs"))


def full_from(forks, images, folder, number, expected, tally):
    """A run whose disk is full from its write ``number`` on, then continued; False where it ended before that."""
    yaml = write_yaml(folder / "tiny.yaml", values(images, folder / "runs", epochs=1))
    code, output = forks.run(yaml=yaml, full_at=number)
    if code == 0:
        return False
    named = code == 2 and "bytes" in output and "free" in output and str(folder / "runs") in output
    before = left(folder / "runs")
    unharmed = safe(before, number) and not leftovers(folder)
    code, again = forks.run(yaml=yaml)
    resumed = went_on(before, again, left(folder / "runs"))
    whole = code == 0 and record(the_run(folder / "runs")) == expected
    tally(FULL, named and unharmed and resumed and whole, number, before, output, again)
    settled(folder)
    return True


@pytest.mark.parametrize("number", [1, 4, 11], ids=["params", "checkpoint", "result"])
def test_row_05_a_full_disk_loses_nothing(forks, images, undisturbed, tmp_path, tally, number):
    assert full_from(forks, images, tmp_path, number, undisturbed, tally)


@pytest.mark.faults
def test_row_05_every_write_of_a_run_may_fill_the_disk(forks, images, undisturbed, tmp_path, tally):
    number = 1
    while full_from(forks, images, tmp_path / str(number), number, undisturbed, tally):
        number += 1
    assert number == len(WRITES) + 1


def test_row_05_a_report_that_fills_the_disk_leaves_the_old_one(tmp_path):
    """The limit is lowered in this process, for this write."""
    write(tmp_path / "page.html", "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        with pytest.raises(OSError, match=r"page\.html needs 5,000 bytes, [\d,]+ are free. The previous file is unch"):
            write(tmp_path / "page.html", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "page.html").read_text() == "old" and os.listdir(tmp_path) == ["page.html"]


LATER = "The disk full from one write after the training on: result and run whole, all of it can be made again"
ALL_LATER = 7  # embeddings, evaluation, the probe for maps, their scores, two pages and the table


def later_full_from(forks, run, pages, number, tally):
    """The disk is full from write ``number`` of what comes after a training on; False where all was written before."""
    pages.mkdir()
    for name in PAGES:
        (pages / name).write_text("old")
    before = contents(run)
    code, output = forks.run("afterwards", folder=str(run.path), pages=str(pages), full_at=number)
    if code == 0:
        return False
    named = code == 2 and "bytes" in output and "free" in output
    unharmed = before.items() <= contents(run).items() and all(check.sound for check in verify(run))
    unharmed = unharmed and not leftovers(run.path.parent) and not leftovers(pages)
    texts = [(pages / name).read_text() for name in PAGES]
    old = [text == "old" for text in texts]
    code, again = forks.run("afterwards", folder=str(run.path), pages=str(pages))
    made = [(pages / name).read_text() for name in PAGES]
    whole = code == 0 and "old" not in made and {check.state for check in verify(run)} == {OK}
    kept = old == sorted(old) and old[-1] and all(text in ("old", page) for text, page in zip(texts, made, strict=True))
    tally(LATER, named and unharmed and kept and whole, number, output, again, old)
    return True


PAGES = ("attention.html", "embedding.html", "results.csv")  # in the order in which they are written


def contents(run):
    return {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file() and file.name != ".lock"}


@pytest.fixture
def trained(finished, tmp_path):
    """Copies of the run as its training left it."""
    def copy(name):
        ignored = shutil.ignore_patterns("linear_eval*", "embeddings*", "attention*")
        return runs.Run(Path(shutil.copytree(finished.path, tmp_path / str(name) / finished.name, ignore=ignored)))

    return copy


def test_row_05_a_page_that_fills_the_disk_harms_no_run(forks, trained, tmp_path, tally):
    assert later_full_from(forks, trained("runs"), tmp_path / "pages", 5, tally)


@pytest.mark.faults
def test_row_05_every_write_after_a_training_may_fill_the_disk(forks, trained, tmp_path, tally):
    number = 1
    while later_full_from(forks, trained(number), tmp_path / f"pages {number}", number, tally):
        settled(tmp_path / str(number))
        number += 1
    assert number == ALL_LATER + 1


@pytest.mark.parametrize(("place", "message"), [
    ("file", "runs_dir: a folder; got .* It is a file"), ("file/below", "One of its parents is a file"),
    ("/proc/mixlab", "runs_dir: a folder that can be written; got '/proc/mixlab'")])
def test_row_06_a_place_that_cannot_be_written_is_refused_before_training(images, tmp_path, place, message):
    (tmp_path / "file").touch()
    with pytest.raises(ParamError, match=message):
        train(tiny(images, tmp_path / place), log=pytest.fail)
    assert (tmp_path / "file").read_bytes() == b""


def test_row_06_a_folder_that_is_missing_is_made(tmp_path):
    assert writable_folder(tmp_path / "new" / "folder", "runs_dir").is_dir()


# Damage

def belongs_to(run):
    return json.loads((run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[0])["belongs_to"]


def unfinished(run):
    (run.path / "result.json").unlink()
    return run


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.5, 0.999])
def test_row_07_a_truncated_checkpoint_is_named_or_the_one_before_used(finished, copied, images, share):
    """Without a readable header the one before it is used, saying so; with one the damage is named."""
    file = unfinished(copied).path / "checkpoint.pt"
    os.truncate(file, int(share * file.stat().st_size))
    start, lines = tiny(images, copied.path.parent, epochs=2), []
    if share < 0.5:  # the header is a line of some thousand bytes
        again = train(start, log=lines.append)
        assert "at epoch" in lines[3] and "checkpoint.pt.previous" in lines[3]
        assert record(again) == record(finished)
    else:
        with pytest.raises(CheckpointError, match=r"damaged.*Delete it to continue from checkpoint\.pt\.previous"):
            train(start, log=quiet)
        file.unlink()
        assert record(train(start, log=quiet)) == record(finished)


def embeddings(run):
    return evaluation(run, run.path / "linear_eval.json") and (run.path / "embeddings.npz").read_bytes()


def who_it_is(run):
    """The parameters that change numbers, checked against the run's name; paths and intervals are only notes."""
    found = checked("params.json", parameters, run)
    if found.state != OK:
        raise CheckpointError(str(found))
    return who(run)


READERS = {
    "params.json": who_it_is,
    "checkpoint.pt": lambda run: checkpoint.load(run.path / "checkpoint.pt", belongs_to(run))[0]["method"],
    "encoder.safetensors": lambda run: runs.load_encoder(run).state_dict(),
    "head.safetensors": lambda run: runs.load_head(run).state_dict(),
    "result.json": lambda run: run.result(),
    "history.jsonl": lambda run: run.history(),
    "snapshots/epoch-00001.npz": lambda run: vars(snapshots.read(run)),
    "linear_eval.json": lambda run: runs.read_sealed(run.path / "linear_eval.json"),
    "embeddings.npz": embeddings,
    "attention.json": lambda run: runs.read_sealed(run.path / "attention.json"),
    "attention_probe.npz": read_probe,
}
MANY = dict.fromkeys(READERS, 300) | {"params.json": 200, "encoder.safetensors": 200, "head.safetensors": 200,
                                      "result.json": 400, "history.jsonl": 400, "snapshots/epoch-00001.npz": 400}


def harmed(content, chance):
    """The content cut short, or with one bit flipped."""
    place = chance.randrange(len(content))
    if chance.random() < 0.3:
        return content[:place]
    return content[:place] + bytes([content[place] ^ 1 << chance.randrange(8)]) + content[place + 1:]


def same(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and all(k in b and same(v, b[k]) for k, v in a.items())
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "shape"):
        return a.shape == b.shape and bool((a == b).all())
    return a == b


def damage(run, file, times, chance, tally):
    """Harms a file again and again, and reads it as mixlab does."""
    path, read = run.path / file, READERS[file]
    content, expected = path.read_bytes(), read(run)
    who = belongs_to(run)
    for _ in range(times):
        path.write_bytes(harmed(content, chance))
        try:
            found = checkpoint.load(path, who)[0]["method"] if file == "checkpoint.pt" else read(run)
        except CheckpointError as error:
            tally(DAMAGED, path.name in str(error), file, error)
        else:
            tally(DAMAGED, same(expected, found), file)
    path.write_bytes(content)


@pytest.mark.parametrize("file", READERS)
def test_row_08_a_flipped_bit_or_a_cut_is_noticed(copied, tally, file):
    """Three kinds of harm are let through, as they change no number that is read: the bytes of an archive's headers
    that no reader looks at, the name under which a record keeps its own sha256, and parameters without influence on
    the run's numbers (paths, intervals), which its name does not vouch for.
    """
    (copied.path / "checkpoint.pt.previous").unlink()
    damage(copied, file, 12, random.Random(file), tally)


@pytest.mark.faults
@pytest.mark.parametrize("file", READERS)
def test_row_08_hundreds_of_flips_and_cuts_of_each_file_are_noticed(copied, tally, file):
    (copied.path / "checkpoint.pt.previous").unlink()
    damage(copied, file, MANY[file], random.Random(f"many {file}"), tally)


@pytest.mark.parametrize("change", ["weight", "bias", "about"])
def test_row_08_a_sound_archive_with_other_content_is_no_probe(copied, change):
    """Its own checksums of parts fit; the sha256 in it doesn't."""
    file = copied.path / "attention_probe.npz"
    with np.load(file) as stored:
        arrays = dict(stored)
    changed = arrays[change] + 1 if change != "about" else str(arrays["about"]).replace('"seed": 0', '"seed": 1')
    assert (changed != arrays[change]).any()
    np.savez(file, **arrays | {change: changed})
    with pytest.raises(CheckpointError, match=r"attention_probe\.npz: damaged"):
        read_probe(copied)


def test_there_are_a_thousand_damaged_files():
    assert sum(MANY.values()) >= 1000


@pytest.mark.parametrize(("changes", "words"), [
    ({"method": "simclr", "mixer": "mixup"}, "method: mixsupcon there, simclr here"),
    ({"encoder": "resnet18"}, "encoder: resnet10 there, resnet18 here"),
    ({"proj_dim": 32}, "proj_dim: 128 there, 32 here"),
    ({"image_size": 24}, r"data_checksum: \w+ there, \w+ here"),
], ids=["method", "encoder", "width", "data"])
def test_row_09_the_checkpoint_of_another_run_is_refused_side_by_side(images, copied, tmp_path, changes, words):
    """Not by a list of tensors whose sizes differ."""
    target = tmp_path / "other"
    run = train(tiny(images, target, epochs=0, **changes), log=quiet)
    unfinished(run)
    shutil.copy(copied.path / "checkpoint.pt", run.path)
    with pytest.raises(CheckpointError, match=f"belongs to another run .*{words}") as refused:
        train(tiny(images, target, epochs=0, **changes), log=quiet)
    assert "size mismatch" not in str(refused.value)


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("disguise", ["bare", "with our header", "as weights"])
def test_row_10_a_malicious_pickle_is_refused_and_not_run(copied, tmp_path, disguise):
    marker, bomb = tmp_path / "marker", Malicious(tmp_path / "marker")
    path = copied.path / "checkpoint.pt"
    if disguise == "with our header":
        checkpoint.save(path, {"payload": bomb}, WHO)
    else:
        path.write_bytes(pickle.dumps(bomb))
        (copied.path / "encoder.safetensors").write_bytes(pickle.dumps(bomb))
        (copied.path / "checkpoint.pt.previous").unlink()
    with pytest.raises(CheckpointError) as refused:
        runs.load_encoder(copied) if disguise == "as weights" else checkpoint.load(path, WHO)
    assert not marker.exists() and "weights_only" not in str(refused.value)
    pickle.loads(pickle.dumps(bomb))
    assert marker.exists(), "the bomb is live"


@pytest.mark.parametrize("changes", [{"lr": 0.2}, {"temperature": 0.2}, {"batch_size": 12}, {"jitter": 0.5},
                                     {"epochs": 3}], ids=lambda c: next(iter(c)))
def test_row_11_a_changed_parameter_is_another_run(images, copied, tmp_path, changes):
    """Differs from the catalogue, as DESIGN has it: nothing is resumed with other values, more epochs included."""
    before = {p: p.read_bytes() for p in copied.path.rglob("*") if p.is_file()}
    params = tiny(images, tmp_path, **{"epochs": 2} | changes)
    with pytest.raises(Interrupted), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", interrupted)
        train(params, log=quiet)
    other = next(run for run in runs.list_runs(tmp_path) if run.name != copied.name)
    assert all(p.read_bytes() == content for p, content in before.items())
    shutil.copy(copied.path / "checkpoint.pt", other.path)
    name, value = next(iter(changes.items()))
    with pytest.raises(CheckpointError, match=rf"{name}: {copied.params()[name]} there, {value} here"):
        train(params, log=quiet)


class Interrupted(Exception):
    pass


def interrupted(trainer, stop, on_epoch=None):
    raise Interrupted


def test_row_12_fewer_epochs_than_done_overwrite_nothing(images, copied, tmp_path):
    """Another run, too: the longer one stays as it is."""
    before = {p: p.read_bytes() for p in copied.path.rglob("*") if p.is_file()}
    run = train(tiny(images, tmp_path, epochs=0), log=quiet)
    assert run.name != copied.name and all(p.read_bytes() == content for p, content in before.items())


def test_row_13_no_epochs_record_the_untrained_encoder(images, tmp_path):
    """The floor of every claim."""
    run = train(tiny(images, tmp_path, epochs=0), log=quiet)
    assert [row["epoch"] for row in run.history()] == [0] and run.history()[0]["loss"] is None
    result = run.result()
    assert result["epochs"] == 0 and result["status"] == "ok" and result["views_per_second"] is None
    assert result["knn_top1"] == result["knn_top1_untrained"] == run.history()[0]["knn_top1"]


# Two at once

def race(forks, folder, tally):
    """Both wait for the same instant; who has the run holds it until the other was refused."""
    go = folder / "go"
    pids = [forks.start("race", runs_dir=str(folder), who=WHO, go=str(go)) for _ in range(2)]
    time.sleep(0.005)
    go.touch()
    until(lambda: any(forks.ended(pid) for pid in pids), 30)
    go.unlink()
    ended = dict(zip(pids, map(forks.wait, pids), strict=True))
    winners = [pid for pid, (code, _) in ended.items() if code == 0]
    told = [output for code, output in ended.values() if code == 2]
    run = the_run(folder)
    unharmed = run.params() == WHO and not run.held() and not leftovers(folder)
    tally(RACED, len(winners) == len(told) == 1 and f'"pid": {winners[0]}' in told[0] and unharmed, ended)
    shutil.rmtree(run.path)


def test_row_15_of_two_starts_exactly_one_proceeds(forks, tmp_path, tally):
    for _ in range(10):
        race(forks, tmp_path, tally)


@pytest.mark.faults
def test_row_15_a_hundred_races_have_one_winner_each(forks, tmp_path, tally):
    for _ in range(100):
        race(forks, tmp_path, tally)


def test_row_15_a_second_start_of_the_command_is_told_who_is_at_it(forks, images, finished, tmp_path):
    yaml = write_yaml(tmp_path / "tiny.yaml", values(images, tmp_path / "runs", epochs=0))
    run = runs.create(tmp_path / "runs", belongs_to(train(tiny(images, tmp_path / "like", epochs=0), log=quiet)), {})
    with runs.locked(run):
        code, output = forks.run(yaml=yaml)
    assert code == 2 and f'"pid": {os.getpid()}' in output and '"host"' in output
    assert not (run.path / "history.jsonl").exists()


@pytest.mark.parametrize("host", ["here", "another"])
def test_row_16_a_lock_left_by_the_dead_is_no_lock(tmp_path, host):
    """The operating system lets go when a process dies, on any host that shares the folder; the text is for people.

    So there is no owner to guess at, and nothing to refuse or to ask: what the file says is what is replaced.
    """
    run = runs.create(tmp_path, WHO, WHO)
    (run.path / ".lock").write_text(json.dumps({"pid": 2**22 - 1, "host": host}))
    assert not run.held() and run.state() == "unfinished"
    with runs.locked(run, wait_seconds=0):
        assert json.loads((run.path / ".lock").read_text())["pid"] == os.getpid() and run.state() == "running"
        with pytest.raises(RunBusyError, match=f'"pid": {os.getpid()}'), runs.locked(run, wait_seconds=0):
            pass


# Rows and readers

def test_row_19_a_torn_last_row_is_left_out_and_a_damaged_one_is_named(tmp_path):
    run = runs.create(tmp_path, WHO, WHO)
    file = run.path / "history.jsonl"
    file.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert [r["epoch"] for r in run.history()] == [1, 2]
    for middle in ("garbage", '{"loss": 1}', '{"epoch": "2"}', "[1]", '{"epoch": 2}{"epoch": 3}', "\x00\xff"):
        file.write_text(f'{{"epoch": 1}}\n{middle}\n{{"epoch": 3}}\n')
        with pytest.raises(CheckpointError, match="line 2 is damaged"):
            run.history()


def test_row_19_rows_that_the_checkpoint_is_past_are_never_silently_missing(images, copied):
    """A history that lost whole rows parses well; the run isn't continued over the gap."""
    file = unfinished(copied).path / "history.jsonl"
    file.write_text("".join(line for line in file.read_text().splitlines(True) if '"epoch": 1' not in line))
    with pytest.raises(CheckpointError, match=r"history\.jsonl: rows of epochs \[1\] are missing"):
        train(tiny(images, copied.path.parent, epochs=2), log=quiet)


def test_row_20_a_thousand_reads_while_rows_are_written(tmp_path):
    """A child writes; each read here is a whole prefix, and the run is running until its result is there."""
    run, states = runs.create(tmp_path, WHO, WHO), set()
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException), runs.locked(run):
            for epoch in range(120):
                runs.record_row(run, {"epoch": epoch, "loss": 1 / (epoch + 1), "seconds": "x" * 200})
                time.sleep(0.005)
            runs.write_result(run, {"status": "ok"})
            code = 0
        os._exit(code)
    longest = reads = 0
    while reads < 1000 or os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        states.add(run.state())
        rows = run.history()
        assert [row["epoch"] for row in rows] == list(range(len(rows))) and len(rows) >= longest
        longest, reads = len(rows), reads + 1
    assert os.waitpid(child, 0)[1] == 0
    assert run.state() == "finished" and len(run.history()) == 120 and "running" in states and "failed" not in states


def test_row_21_a_report_that_cannot_be_written_is_named_and_made_alone_later(copied, tmp_path):
    """The results of runs are elsewhere and stay; the report's folder is refused before anything is measured."""
    (tmp_path / "reports").touch()
    before = copied.result()
    with pytest.raises(ParamError, match=f"reports_dir: a folder; got '{tmp_path / 'reports'}'.*It is a file"):
        benchmark.run(Benchmark.check(reports_dir=str(tmp_path / "reports")), log=pytest.fail)
    assert runs.load_encoder(copied).dim == 512 and copied.result() == before
    (tmp_path / "reports").unlink()
    assert writable_folder(tmp_path / "reports", "reports_dir").is_dir()


# Long runs, clocks, versions

LONG = "{:,} steps of the real loop, with checkpoints, draws and views: memory flat, count and last learning rate exact"


def long_run(forks, tmp_path, epochs, tally):
    """1,000 steps an epoch of a model of one weight, in a process of its own."""
    pictures = tmp_path / "flat"
    pictures.mkdir()
    for number in range(20):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(pictures / f"{number}.png")
    yaml = write_yaml(tmp_path / "long.yaml", values(pictures, tmp_path, method="simclr", epochs=epochs, image_size=8,
                                                     checkpoint_every=0.1, knn_every=0, snapshot_every=0))
    (tmp_path / "run").mkdir()
    code, output = forks.run("steps", yaml=yaml, epochs=epochs, folder=str(tmp_path / "run"))
    assert code == 0, output
    found = json.loads(output.splitlines()[-1])
    steps = 1000 * epochs
    assert found["schedule"] == ["cosine", 0] and found["drawn"] == steps // 20 and found["saved"] > 2 + epochs // 10
    # Half a cosine down from the peak at step 0; the last step begins one step before the end.
    lr = found["peak_lr"] * math.sin(math.pi / 2 / steps) ** 2
    exact = (found["steps"] == steps and found["progress"] == [epochs + 1, 0] and found["epoch"] == epochs
             and found["rows"] == epochs + 1 and abs(found["lr"] - lr) < 2**-52)
    flat = max(found["memory"]) <= 1.05 * min(found["memory"])
    linear = found["bytes"] < 250 * found["rows"]
    tally(LONG.format(steps), exact and flat and linear, found, lr)


def test_row_22_thousands_of_steps_need_no_more_memory(forks, tmp_path, tally):
    long_run(forks, tmp_path, 3, tally)


@pytest.mark.faults
def test_row_22_a_million_steps_need_no_more_memory(forks, tmp_path, tally):
    long_run(forks, tmp_path, 1000, tally)


def test_row_23_clocks_that_jump_change_nothing(finished, images, tmp_path, monkeypatch):
    """The clock goes back a day at every reading; file times say the opposite of the order of writing."""
    now = [time.time()]

    def backwards():
        now[0] -= 86400
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    params, step, made = tiny(images, tmp_path, epochs=2), Trainer.step, []

    def stopping(trainer):
        if len(made) == 4:
            raise Interrupted
        made.append(1)
        step(trainer)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(Interrupted):
        train(params, log=quiet)
    run = the_run(tmp_path)
    os.utime(run.path / "checkpoint.pt", (1, 1))
    os.utime(run.path / "checkpoint.pt.previous", (2**31, 2**31))
    monkeypatch.setattr(Trainer, "step", step)
    lines = []
    assert record(train(params, log=lines.append)) == record(finished)
    assert "at epoch 2, step 1." in lines[3]
    assert all(row["seconds"] > 0 for row in run.history()[1:]) and run.result()["seconds"] > 0


def test_row_24_other_versions_or_threads_at_a_resume_are_said_and_recorded(images, copied):
    """The promise of equal bits is withdrawn in the result."""
    assert copied.result()["continued_from"] == []
    path, who = unfinished(copied).path / "checkpoint.pt", belongs_to(copied)
    state = checkpoint.load(path, who)[0]
    state["made_by"][0]["versions"]["torch"], state["made_by"][0]["threads"] = "2.11.0", 64
    checkpoint.save(path, state, who)
    lines = []
    result = train(tiny(images, copied.path.parent, epochs=2), log=lines.append).result()
    assert f"Note: threads 64 to {torch.get_num_threads()}, torch 2.11.0 to {runs.versions()['torch']}" in lines[4]
    (earlier,) = result["continued_from"]
    assert earlier["versions"]["torch"] == "2.11.0" and earlier["threads"] == 64
    assert result["versions"] == runs.versions()
