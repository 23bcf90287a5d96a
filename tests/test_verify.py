"""``python -m mixlab.runs verify``: a sound run passes, damage is named where it is, the first epoch comes again."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab import data, files, runs
from mixlab.attention import localisation
from mixlab.errors import ParamError
from mixlab.evaluate import Protocol, evaluate, write_report
from mixlab.params import Pretrain, load_splits
from mixlab.runs.__main__ import main
from mixlab.train import Trainer, train
from mixlab.verify import retrain, select, verify
from mixlab.verify.checks import checked
from mixlab.verify.stored import splits_at_hand

PROTOCOL = Protocol(probes=("lbfgs",), few_label_fractions=(), knn_k=(5,), geometry=False, robustness=False)


def quiet(line):
    """Takes a line of log and drops it."""


def pictures(folder):
    """Two classes that differ in brightness, 10 training and 4 test images each."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for name, low in (("dark", 0), ("light", 120)):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(low, low + 120, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


def parameters(folder, runs_dir, **changes):
    given = {"dataset": f"folder:{folder}", "image_size": 16, "batch_size": 8, "epochs": 2, "warmup_epochs": 0,
             "snapshot_every": 1, "device": "cpu", "precision": "fp32", "runs_dir": str(runs_dir)}
    return Pretrain.check(**given | changes)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("images") / "pictures")


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """A finished run that is evaluated and whose maps are scored."""
    run = train(parameters(images, tmp_path_factory.mktemp("runs")), log=quiet)
    evaluate(run, PROTOCOL, quiet)
    localisation(run, mosaics=2, log=quiet)
    return run


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "runs" / whole.name)
    return runs.Run(tmp_path / "runs" / whole.name)


def states(run):
    return {check.name: check.state for check in verify(run)}


def unsound(run):
    return {check.name: check for check in verify(run) if not check.sound}


def test_every_file_of_a_whole_run_is_looked_at_and_sound(run):
    found = states(run)
    assert set(found.values()) == {"ok"} and list(found) == [
        "params.json", "result.json", "history.jsonl", "checkpoint.pt", "encoder.safetensors", "head.safetensors",
        "snapshots", "linear_eval.json", "attention.json", "attention_probe.npz", "data", "versions"]
    covered = {"embeddings.npz", "checkpoint.pt.previous", ".lock"}
    assert {file.name for file in run.path.iterdir()} <= set(found) | covered, "a file that nobody verifies"


NAMED = {"run", "seed", "data_checksum", "encoder_sha256", "versions", "device", "threads"}


def test_every_result_names_what_made_it(run, tmp_path):
    """Code, data, seed, libraries and device; the table of all evaluations names them in every row."""
    for file in ("result.json", "linear_eval.json", "attention.json"):
        record = runs.read_sealed(run.path / file)
        assert not NAMED - set(record), file
        assert record["versions"] == runs.versions() and record["threads"] == torch.get_num_threads()
    assert write_report(run.path.parent, tmp_path / "all.csv")
    for row in csv.DictReader((tmp_path / "all.csv").open()):
        assert row["trained_by"] == row["evaluated_by"] == runs.code_version() and len(row["train_checksum"]) == 64
        assert row["seed"] == "0" and row["device"].startswith("cpu") and row["threads"] and "torch=" in row["versions"]
    with np.load(run.path / "attention_probe.npz") as probe:
        assert json.loads(str(probe["about"]))["versions"] == runs.versions()


def edit(file, **changes):
    """A careful forger: the seal, where there is one, is left as it was."""
    files.write_json(file, json.loads(file.read_text()) | changes)


def reseal(file, change):
    record = json.loads(file.read_text())
    change(record)
    files.write_json(file, runs.sealed(record))


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def lose_a_row(file):
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + lines[2])


def unvouched(run):
    """As an older mixlab, which vouched for no history, left it."""
    reseal(run.path / "result.json", lambda record: record.pop("history_sha256"))


HARM = {
    "another parameter": ("params.json", "DAMAGED", lambda run: edit(run.path / "params.json", lr=0.1)),
    "no parameters": ("params.json", "missing", lambda run: (run.path / "params.json").unlink()),
    "another result": ("result.json", "DAMAGED", lambda run: edit(run.path / "result.json", knn_top1=0.99)),
    "the result of another run": ("result.json", "DAMAGED", lambda run: reseal(
        run.path / "result.json", lambda record: record.update(run="other"))),
    "another row": ("history.jsonl", "DAMAGED", lambda run: flip(run.path / "history.jsonl")),
    "a row less": ("history.jsonl", "DAMAGED", lambda run: (unvouched(run), lose_a_row(run.path / "history.jsonl"))),
    "no history": ("history.jsonl", "missing", lambda run: (run.path / "history.jsonl").unlink()),
    "a flipped checkpoint": ("checkpoint.pt", "DAMAGED", lambda run: flip(run.path / "checkpoint.pt")),
    "a headless checkpoint": ("checkpoint.pt", "DAMAGED", lambda run: (run.path / "checkpoint.pt").write_bytes(b"x")),
    "no checkpoint": ("checkpoint.pt", "missing", lambda run: (run.path / "checkpoint.pt").unlink()),
    "a flipped encoder": ("encoder.safetensors", "DAMAGED", lambda run: flip(run.path / "encoder.safetensors")),
    "no head": ("head.safetensors", "missing", lambda run: (run.path / "head.safetensors").unlink()),
    "a flipped snapshot": ("snapshots", "DAMAGED", lambda run: flip(run.path / "snapshots" / "epoch-00001.npz")),
    "a snapshot less": ("snapshots", "missing", lambda run: (run.path / "snapshots" / "epoch-00002.npz").unlink()),
    "another accuracy": ("linear_eval.json", "DAMAGED", lambda run: edit(run.path / "linear_eval.json", knn=[])),
    "an accuracy that the answers do not give": ("linear_eval.json", "DAMAGED", lambda run: reseal(
        run.path / "linear_eval.json", lambda record: record["knn"][0].update(top1=record["knn"][0]["top1"] - 0.125))),
    "other embeddings": ("linear_eval.json", "DAMAGED", lambda run: flip(run.path / "embeddings.npz")),
    "no embeddings": ("linear_eval.json", "missing", lambda run: (run.path / "embeddings.npz").unlink()),
    "other maps": ("attention.json", "DAMAGED", lambda run: edit(run.path / "attention.json", mosaics=[])),
    "a cut probe": ("attention_probe.npz", "DAMAGED",
                    lambda run: (run.path / "attention_probe.npz").write_bytes(b"PK\x03\x04")),
}


@pytest.mark.parametrize("harm", HARM)
def test_damage_is_named_where_it_is(run, harm):
    name, state, strike = HARM[harm]
    strike(run)
    found = unsound(run)
    assert found[name].state == state and found[name].text, found
    assert set(found) == {name}, "nothing else is called damaged"


def test_what_is_not_json_at_all_stops_no_other_check(run):
    for file in ("params.json", "result.json", "linear_eval.json"):
        (run.path / file).write_bytes(b"\xff[")
    found = states(run)
    assert [name for name, state in found.items() if state == "DAMAGED"] == [
        "params.json", "result.json", "linear_eval.json"] and found["encoder.safetensors"] == "not checked"


def test_other_or_missing_images_are_told_apart(run, images, monkeypatch):
    moved = images.with_name("moved")
    images.rename(moved)
    try:
        assert states(run)["data"] == "not checked"
        shutil.copytree(moved, images)
        Image.new("RGB", (16, 16)).save(images / "train" / "dark" / "0.png")
        assert "other images" in unsound(run)["data"].text
    finally:
        shutil.rmtree(images, ignore_errors=True)
        moved.rename(images)
    reseal(run.path / "result.json", lambda record: record.update(data_checksum="0" * 64))
    assert {"params.json", "data"} <= set(unsound(run)), "the name holds the checksum too"


def test_a_run_of_before_val_seed_is_cut_by_its_own_seed(images, tmp_path):
    """Today it would take over the split of the run it started from; what it did is what is verified."""
    start = train(parameters(images, tmp_path, val_fraction=0.2, epochs=1), log=quiet)
    older = runs.Run(tmp_path / "older")
    shutil.copytree(start.path, older.path)
    values = {k: v for k, v in start.params().items() if k != "val_seed"} | {"seed": 5, "init_from": start.name}
    files.write_json(older.path / "params.json", values)
    assert torch.equal(splits_at_hand(older).queries.pixels, data.load_splits(values).queries.pixels)
    assert not torch.equal(load_splits(values).queries.pixels, data.load_splits(values).queries.pixels)


def test_verifying_downloads_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "load", None)
    monkeypatch.setattr("mixlab.data.cifar._fetch", None)
    edit(run.path / "params.json", dataset="cifar10", data_dir=str(tmp_path / "empty"))
    found = {check.name: check for check in verify(run)}["data"]
    assert found.state == "not checked" and "cifar10 is not here" in found.text


def test_an_unfinished_run_is_sound_as_far_as_it_got(images, tmp_path):
    class Cut(Exception):
        pass

    def cut(row):
        if row["epoch"] == 1:
            raise Cut

    with pytest.raises(Cut):
        train(parameters(images, tmp_path), on_epoch=cut, log=quiet)
    (run,) = select("folder-*", tmp_path)
    found = states(run)
    assert set(found.values()) == {"ok", "not checked"} and found["params.json"] == found["history.jsonl"] == "ok"
    assert found["checkpoint.pt"] == "ok" and found["result.json"] == found["encoder.safetensors"] == "not checked"
    assert retrain(run).state == "ok"


def test_the_first_epoch_comes_again_bit_for_bit_and_leaves_nothing(run, monkeypatch):
    before = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    steps, step = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self: (steps.append(1), step(self)))
    again = retrain(run)
    assert again.state == "ok" and "loss" in again.text and "lr" in again.text and "knn_top1" in again.text
    assert len(steps) == 2, "one epoch of two steps"
    assert {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()} == before


def test_a_first_epoch_that_comes_out_otherwise_is_named_or_excused(run):
    unvouched(run)
    rows = run.history()
    rows[1]["loss"] = np.nextafter(rows[1]["loss"], 9.0).item()
    (run.path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = retrain(run)
    assert told.state == "DAMAGED" and f"loss of epoch 1 was {rows[1]['loss']!r} and is" in told.text
    reseal(run.path / "result.json", lambda record: record["versions"].update(torch="2.0.0"))
    told = retrain(run)
    assert told.state == "not checked" and "not promised here: torch 2.0.0 then" in told.text
    reseal(run.path / "result.json", lambda record: record.update(threads=torch.get_num_threads() + 1))
    assert "threads" not in retrain(run).text and torch.get_num_threads() == record_threads(run) - 1


@pytest.mark.parametrize("trouble", [
    MemoryError("32 GiB"), torch.OutOfMemoryError("32 GiB"), PermissionError(13, "Permission denied"),
    OSError(5, "Input/output error")], ids=lambda error: type(error).__name__)
def test_trouble_of_the_machine_is_not_called_damage(run, trouble):
    def look(of):
        raise trouble

    check = checked("history.jsonl", look, run)
    assert check.state == "not checked" and check.sound
    assert "memory is full (32 GiB)" in check.text or trouble.strerror in check.text


@pytest.mark.parametrize("damage", [FileNotFoundError(2, "No such file"), IsADirectoryError(21, "Is a directory"),
                                    OSError("no image"), RuntimeError("no archive")], ids=lambda error: str(error))
def test_what_readers_say_of_content_is_damage(run, damage):
    def look(of):
        raise damage

    assert checked("history.jsonl", look, run).state == "DAMAGED"


def record_threads(run):
    return run.result()["threads"]


def test_the_command_prints_a_line_a_check_and_its_exit_code_says_it(run, capsys):
    folder = str(run.path.parent)
    assert main(["verify", "latest", "--runs-dir", folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(run.path) and lines[-1] == "  sound: 12 checked, 0 not checked" and len(lines) == 14
    flip(run.path / "encoder.safetensors")
    assert main(["verify", str(run.path), "--runs-dir", "elsewhere"]) == 1
    assert "encoder.safetensors  DAMAGED: " in capsys.readouterr().out
    assert main(["verify", "nope", "--runs-dir", folder]) == 2 and "run: latest, a run's directory" in (
        capsys.readouterr().err)


def test_runs_are_meant_by_name_path_and_pattern(run):
    folder = run.path.parent
    (folder / "not a run").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "result.json").write_text("{")
    assert select(run.name, folder) == select(str(run.path), "elsewhere") == [run]
    assert [one.name for one in select("*", folder)] == ["broken", run.name]
    with pytest.raises(ParamError, match="Did you mean"):
        select(run.name[:-1] + "x", folder)


def test_a_name_with_control_characters_is_printed_tame(tmp_path):
    folder = tmp_path / "a\x1b[31m\u202eb\n"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"status": "ok", "run": "\x1b[2J"}))
    assert all(str(check).isprintable() for check in verify(runs.Run(folder)))
