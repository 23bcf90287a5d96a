"""The training loop: what it records, what it refuses, and that it goes on exactly where it was."""

import dataclasses
import json

import pytest
import torch

from mixlab import checkpoint, data, runs
from mixlab.errors import CheckpointError, DataError, NonFiniteLossError, ParamError
from mixlab.params import Pretrain, load_splits
from mixlab.train import Trainer, main, train

TINY = {"train_size": 24, "batch_size": 8, "epochs": 2, "knn_every": 0, "checkpoint_every": 0.0, "warmup_epochs": 0}


@pytest.fixture(scope="module", autouse=True)
def few_test_images():
    """The kNN monitor asks 40 test images instead of 1,000."""
    whole, patch = data.load, pytest.MonkeyPatch()

    def fewer(name, data_dir=None, *, split="train", image_size=None, skip_broken=False):
        images = whole(name, data_dir, split=split, image_size=image_size, skip_broken=skip_broken)
        return data.take(images, 40, 0, "test") if split == "test" and len(images) > 40 else images

    patch.setattr(data, "load", fewer)
    yield
    patch.undo()


def tiny(folder, **changes):
    return Pretrain.check(**TINY | {"runs_dir": str(folder)} | changes)


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return train(tiny(tmp_path_factory.mktemp("runs")), log=quiet)


def without_times(history):
    return [{k: v for k, v in row.items() if k not in ("seconds", "views_per_second")} for row in history]


def final_state(run):
    payload = (run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[1]
    import io
    state = torch.load(io.BytesIO(payload), weights_only=True)
    return state["method"], state["optimizer"]["state"]


def assert_same(run, other):
    assert (run.path / "encoder.safetensors").read_bytes() == (other.path / "encoder.safetensors").read_bytes()
    assert without_times(run.history()) == without_times(other.history())
    (weights, momenta), (weights2, momenta2) = final_state(run), final_state(other)
    assert all(torch.equal(v, weights2[k]) for k, v in weights.items())
    assert all(torch.equal(v["momentum_buffer"], momenta2[k]["momentum_buffer"]) for k, v in momenta.items())


def test_a_run_leaves_a_whole_record(finished):
    result, history = finished.result(), finished.history()
    assert [row["epoch"] for row in history] == [0, 1, 2] and history[0]["loss"] is None
    assert result["status"] == "ok" and result["loss"] == history[-1]["loss"]
    assert 0 <= result["knn_top1"] <= 1 and result["knn_split"] == "test" and result["knn_k"] == 24
    assert result["train_images"] == 24 and result["threads"] == torch.get_num_threads()
    assert set(result["versions"]) == {"mixlab", "python", "torch", "torchvision", "numpy", "pillow"}
    assert result["data_checksum"] == data.load("cifar10-mini").checksum
    assert {p.name for p in finished.path.iterdir()} - {".lock", "checkpoint.pt.previous"} == {
        "checkpoint.pt", "encoder.safetensors", "head.safetensors", "history.jsonl", "params.json", "result.json"}
    assert json.loads((finished.path / "params.json").read_text())["mixer"] == "mixup"
    assert runs.load_encoder(finished).dim == 512
    assert runs.load_head(finished)(torch.zeros(2, 512)).shape == (2, 128)


def test_the_same_parameters_again_give_the_same_run_bit_for_bit(finished, tmp_path):
    assert_same(train(tiny(tmp_path), log=quiet), finished)


def test_a_finished_run_is_returned_untouched(finished):
    """Fault 14."""
    before = {p.name: p.read_bytes() for p in finished.path.iterdir()}
    lines = []
    params = tiny(finished.path.parent)
    assert train(params, log=lines.append) == finished and "is finished; nothing to train" in lines[0]
    assert {p.name: p.read_bytes() for p in finished.path.iterdir() if p.name != ".lock"} == {
        k: v for k, v in before.items() if k != ".lock"}


def test_a_run_made_by_other_code_says_so(tmp_path):
    run = train(tiny(tmp_path, epochs=0), log=quiet)
    record = run.result()
    record["versions"]["mixlab"] = "0.0.9+abc"
    (run.path / "result.json").write_text(json.dumps(record))
    lines = []
    train(tiny(tmp_path, epochs=0), log=lines.append)
    assert "made by mixlab 0.0.9+abc, not by this code" in lines[0]
    assert train(tiny(tmp_path, epochs=0, fresh=True), log=quiet).name == f"{run.name}-2"


def test_no_epochs_record_the_untrained_encoder(tmp_path):
    """Fault 13: the floor of every claim."""
    run = train(tiny(tmp_path, epochs=0), log=quiet)
    assert [row["epoch"] for row in run.history()] == [0]
    assert run.result()["epochs"] == 0 and run.result()["knn_top1"] == run.result()["knn_top1_untrained"]


class Stopped(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 3, 4, 6])
def test_a_run_stopped_at_any_step_ends_as_if_it_never_stopped(finished, tmp_path, monkeypatch, stop_at):
    """Faults 1 and 13 in one process; tests/faults kills real ones."""
    step, made = Trainer.step, []

    def stopping(trainer):
        if len(made) == stop_at:
            raise Stopped
        made.append(1)
        step(trainer)

    monkeypatch.setattr(Trainer, "step", stopping)
    if stop_at < 6:
        with pytest.raises(Stopped):
            train(tiny(tmp_path), log=quiet)
    monkeypatch.setattr(Trainer, "step", step)
    lines = []
    assert_same(train(tiny(tmp_path), log=lines.append), finished)
    assert stop_at == 6 or "Continuing" in lines[0]


def poison(monkeypatch, at, deferred=False):
    """Makes the loss of step ``at`` (from 1) NaN, and reads the flag as on a GPU if ``deferred``."""
    step, made = Trainer.step, []

    def poisoned(trainer):
        made.append(1)
        if deferred:
            trainer.deferred = True
            trainer.optimizer.defaults["fused"] = True
            for group in trainer.optimizer.param_groups:
                group["fused"] = True
        forward = trainer.method.forward
        if len(made) == at:
            trainer.method.forward = lambda batch: {**forward(batch), "loss": forward(batch)["loss"] * float("nan")}
        try:
            step(trainer)
        finally:
            trainer.method.forward = forward

    monkeypatch.setattr(Trainer, "step", poisoned)


def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(tmp_path, monkeypatch):
    """Faults 26 and 27: the checkpoint of the step before is kept, and no row counts the bad one."""
    poison(monkeypatch, at=5)
    with pytest.raises(NonFiniteLossError, match=r"step 5 .*loss nan.*lr .*gradient norm nan.*Lower lr"):
        train(tiny(tmp_path), log=quiet)
    run = runs.list_runs(tmp_path)[0]
    assert run.state() == "failed" and [row["epoch"] for row in run.history()] == [0, 1]
    header = json.loads((run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[0])
    state, _ = checkpoint.load(run.path / "checkpoint.pt", header["belongs_to"])
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (2, 1)
    assert all(torch.isfinite(v).all() for v in state["method"].values() if v.is_floating_point())


def test_where_the_flag_is_read_late_no_later_step_changes_a_weight(tmp_path, monkeypatch):
    """Fault 26 as on a GPU: updates after the bad step are nothing, and the epoch's end names it."""
    poison(monkeypatch, at=2, deferred=True)
    seen, update = [], torch.optim.SGD.step

    def recording(optimizer, closure=None):
        update(optimizer)
        seen.append([p.detach().clone() for g in optimizer.param_groups for p in g["params"]])

    monkeypatch.setattr(torch.optim.SGD, "step", recording)
    with pytest.raises(NonFiniteLossError, match="step 2 gave"):
        train(tiny(tmp_path, checkpoint_every=1e6), log=quiet)
    assert len(seen) == 3 and all(torch.equal(a, b) for later in seen[1:] for a, b in zip(seen[0], later, strict=True))


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    """Fault 31: before training, both numbers named, no run directory made."""
    with pytest.raises(ParamError, match="batch_size: at most the 24 training images; got 64"):
        train(tiny(tmp_path, batch_size=64), log=quiet)
    assert not list(tmp_path.iterdir())


def test_a_method_that_needs_labels_refuses_images_without(tmp_path, monkeypatch):
    images = data.load("cifar10-mini").subset(range(40))
    bare = dataclasses.replace(images, labels=None, classes=(), checksum="")
    monkeypatch.setattr(data, "load", lambda *_, **__: bare)
    with pytest.raises(DataError, match="labelled images, because method mixsupcon needs labels.*method simclr"):
        train(tiny(tmp_path), log=quiet)
    run = train(tiny(tmp_path, method="simclr", epochs=1), log=quiet)
    assert run.result()["knn_top1"] is None and run.result()["status"] == "ok"


def test_one_class_alone_is_refused(tmp_path, monkeypatch):
    """Fault 29."""
    images = data.load("cifar10-mini")
    only = images.subset((images.labels == 0).nonzero().flatten())
    monkeypatch.setattr(data, "load", lambda *_, **__: dataclasses.replace(only, classes=("airplane",), checksum=""))
    with pytest.raises(DataError, match="at least two classes"):
        train(tiny(tmp_path), log=quiet)


def test_a_batch_of_one_class_is_said_once(tmp_path, monkeypatch):
    """Fault 29: finite, and said once."""
    images = data.load("cifar10-mini")
    chosen = torch.cat([(images.labels == 0).nonzero().flatten(), (images.labels == 1).nonzero().flatten()[:1]])
    monkeypatch.setattr(data, "load", lambda *_, **__: images.subset(chosen))
    lines = []
    run = train(tiny(tmp_path, method="supcon", train_size="auto", epochs=1), log=lines.append)
    assert sum("holds a single class" in line for line in lines) == 1 and run.history()[-1]["loss"] > 0


def test_validation_images_answer_instead_of_the_test_set(tmp_path):
    run = train(tiny(tmp_path, epochs=0, val_fraction=0.1), log=quiet)
    assert run.result()["knn_split"] == "val"
    splits = load_splits(tiny(tmp_path, val_fraction=0.1).resolved())
    assert len(splits.queries) == 200 and data.overlap(splits.train, splits.queries) == 0


def test_an_encoder_can_start_from_another_run(finished):
    params = tiny(finished.path.parent, method="cross_entropy", init_from=finished.name, epochs=0)
    trained, started = finished.result(), train(params, log=quiet).result()
    assert started["knn_top1"] == trained["knn_top1"]
    with pytest.raises(ParamError, match="init_from: a run with encoder resnet18"):
        train(tiny(finished.path.parent, init_from=finished.name, encoder="resnet18"), log=quiet)


def test_fine_tuning_starts_from_a_run_with_a_share_of_the_labels(finished, tmp_path):
    """The same loop: cross-entropy, ``init_from``, ``label_fraction``."""
    params = tiny(finished.path.parent, method="cross_entropy", init_from=finished.name, train_size=400,
                  label_fraction=0.1, epochs=1)
    result = train(params, log=quiet).result()
    assert result["train_images"] == 40 and result["status"] == "ok"


def test_a_checkpoint_of_another_run_is_refused(finished, tmp_path):
    """Fault 9."""
    run = train(tiny(tmp_path, epochs=0, method="simclr"), log=quiet)
    (run.path / "result.json").unlink()
    (run.path / "checkpoint.pt").write_bytes((finished.path / "checkpoint.pt").read_bytes())
    with pytest.raises(CheckpointError, match="method: mixsupcon there, simclr here"):
        train(tiny(tmp_path, epochs=0, method="simclr"), log=quiet)


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"epochs: 0\nwarmup_epochs: 0\ntrain_size: 24\nbatch_size: 8\nruns_dir: {tmp_path}/runs\n")
    bad.write_text("epochs: 0\nmethd: simclr\n")
    assert main([]) == 2 and main([str(bad)]) == 2 and main([str(good)]) == 0
    printed = capsys.readouterr()
    assert 'Did you mean "method"' in printed.err and "usage:" in printed.err and "result.json" in printed.out


def test_a_launcher_of_several_processes_is_refused(tmp_path, monkeypatch):
    """Fault 43."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ParamError, match="WORLD_SIZE: 1"):
        train(tiny(tmp_path), log=quiet)


@pytest.mark.slow
def test_compiled_training_stays_close_to_eager(finished, tmp_path):
    run = train(tiny(tmp_path, compile=True), log=quiet)
    assert run.history()[1]["loss"] == pytest.approx(finished.history()[1]["loss"], rel=0.02)
