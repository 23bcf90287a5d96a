"""The training loop: what it records, what it refuses, and that it goes on exactly where it was."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
import torch
from attention_runs import finished_run as run_on_pictures
from attention_runs import folder_of_pictures
from PIL import Image

from mixlab import data, runs, snapshots
from mixlab.encoders import Encoder
from mixlab.errors import NonFiniteLossError, ParamError
from mixlab.evaluate import Protocol, features
from mixlab.evaluate.subjects import load_images
from mixlab.files import sha256
from mixlab.methods import METHODS
from mixlab.optim import own_state
from mixlab.params import Pretrain, load_splits
from mixlab.train import Trainer, main, train, untrained

TINY = {"train_size": 24, "batch_size": 8, "epochs": 2, "knn_every": 0, "checkpoint_every": 0.0, "warmup_epochs": 0}


@pytest.fixture(scope="module", autouse=True)
def few_test_images():
    """The kNN monitor asks 40 test images instead of 1,000."""
    whole, patch = data.load, pytest.MonkeyPatch()

    def fewer(name, data_dir=None, *, split="train", **how):
        images = whole(name, data_dir, split=split, **how)
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
    state = torch.load(io.BytesIO(payload), weights_only=True)
    return state["method"], state["optimizer"]["state"]


def assert_same(run, other):
    """Bit for bit: encoder and head as files, every row but for its times, snapshots, weights and momenta."""
    for name in ("encoder.safetensors", "head.safetensors"):
        assert sha256(run.path / name) == sha256(other.path / name), name
    assert without_times(run.history()) == without_times(other.history())
    assert_same_snapshots(snapshots.read(run), snapshots.read(other))
    (weights, momenta), (weights2, momenta2) = final_state(run), final_state(other)
    assert all(torch.equal(v, weights2[k]) for k, v in weights.items())
    assert all(torch.equal(v["momentum_buffer"], momenta2[k]["momentum_buffer"]) for k, v in momenta.items())


def assert_same_snapshots(some, others):
    assert (some is None) == (others is None)
    for name in ("epochs", "index", "labels", "features", "checksum") if some else ():
        assert np.array_equal(getattr(some, name), getattr(others, name)), name


def progress_of(run):
    return torch.load(io.BytesIO((run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[1]))["progress"]


def test_a_run_leaves_a_whole_record(finished):
    result, history = finished.result(), finished.history()
    assert [row["epoch"] for row in history] == [0, 1, 2] and history[0]["loss"] is None
    assert result["status"] == "ok" and result["loss"] == history[-1]["loss"]
    assert 0 <= result["knn_top1"] <= 1 and result["knn_split"] == "test" and result["knn_k"] == 24
    assert result["cpu_seconds"] > 0 and result["train_images"] == 24 and result["threads"] == torch.get_num_threads()
    assert set(result["versions"]) == {"mixlab", "python", "torch", "torchvision", "numpy", "pillow"}
    assert result["data_checksum"] == data.load("cifar10-mini").checksum
    assert {p.name for p in finished.path.iterdir()} - {".lock", "checkpoint.pt.previous"} == {
        "checkpoint.pt", "encoder.safetensors", "head.safetensors", "history.jsonl", "params.json", "result.json",
        "snapshots"}
    assert json.loads((finished.path / "params.json").read_text())["mixer"] == "mixup"
    assert runs.load_encoder(finished).dim == 512
    assert runs.load_head(finished)(torch.zeros(2, 512)).shape == (2, 128)


def test_the_same_parameters_again_give_the_same_run_bit_for_bit(finished, tmp_path):
    again = train(tiny(tmp_path), log=quiet)
    assert_same(again, finished)
    assert again.name == finished.name and len(snapshots.read(again).epochs) == 3
    assert again.result()["seed"] == again.params()["seed"] == 0


def test_starting_from_the_latest_run_names_it(tmp_path):
    """``init_from: latest`` is another run when the latest is another; a name that is none leaves nothing behind."""
    with pytest.raises(ParamError, match="init_from: a finished run"):
        train(tiny(tmp_path, init_from="latest"), log=quiet)
    assert not list(tmp_path.iterdir())
    first = train(tiny(tmp_path, epochs=0), log=quiet)
    tuned = [train(tiny(tmp_path, method="cross_entropy", init_from="latest", epochs=0), log=quiet)]
    second = train(tiny(tmp_path, epochs=0, seed=1), log=quiet)
    again = tiny(tmp_path, method="cross_entropy", init_from=second.name, epochs=0)
    tuned.append(train(again, log=quiet))
    assert [run.params()["init_from"] for run in tuned] == [first.name, second.name] and tuned[0].name != tuned[1].name
    assert tuned[1].params()["init_from_sha256"] == second.result()["encoder_sha256"]
    with pytest.raises(ParamError, match="init_from: latest, demo, a run directory"):
        train(tiny(tmp_path, init_from="nope"), log=quiet)


def test_a_run_made_by_other_code_says_so(tmp_path):
    run = train(tiny(tmp_path, epochs=0), log=quiet)
    record = run.result()
    record["versions"]["mixlab"] = "0.0.9+abc"
    (run.path / "result.json").write_text(json.dumps(record))
    lines = []
    train(tiny(tmp_path, epochs=0), log=lines.append)
    assert "made by mixlab 0.0.9+abc, not by this code" in lines[-1]
    assert train(tiny(tmp_path, epochs=0, fresh=True), log=quiet).name == f"{run.name}-2"


def test_an_epoch_sees_every_image_once_and_the_next_in_another_order(tmp_path, monkeypatch):
    whole, seen = Trainer.batch, {1: [], 2: []}

    def noted(trainer):
        batch = whole(trainer)
        seen[batch.epoch] += batch.index.tolist()
        return batch

    monkeypatch.setattr(Trainer, "batch", noted)
    train(tiny(tmp_path), log=quiet)
    count, size = TINY["train_size"], TINY["batch_size"]
    for index in seen.values():
        assert len(index) == len(set(index)) == count - count % size and set(index) <= set(range(count))
    assert seen[1] != seen[2]


class Stopped(Exception):
    pass


@pytest.mark.parametrize(("place", "calls"), [("step", 0), ("step", 1), ("step", 3), ("step", 4), ("_end_epoch", 0),
                                              ("_end_epoch", 1), ("_record", 1), ("_record", 2), ("finish", 0)])
def test_a_run_stopped_anywhere_ends_as_if_it_never_stopped(finished, tmp_path, monkeypatch, place, calls):
    """Fault 1 in one process: before the given call of a step, an epoch's end, a row, the result."""
    whole, made = getattr(Trainer, place), []

    def stopping(trainer, *arguments):
        if len(made) == calls:
            raise Stopped
        made.append(1)
        whole(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, place, stopping)
        with pytest.raises(Stopped):
            train(tiny(tmp_path), log=quiet)
    lines = []
    assert_same(train(tiny(tmp_path), log=lines.append), finished)
    assert "Continuing" in lines[2], "after two lines about the data"


def read_late(trainer):
    """Lets ``trainer`` read its failure flag at the end of an epoch only, as on a GPU."""
    trainer.deferred = True
    trainer.optimizer.defaults["fused"] = True
    for group in trainer.optimizer.param_groups:
        group["fused"] = True


def poison(monkeypatch, at, deferred=False):
    """Makes the loss of step ``at`` (from 1) NaN, and reads the flag as on a GPU if ``deferred``."""
    step, made = Trainer.step, []

    def poisoned(trainer):
        made.append(1)
        if deferred:
            read_late(trainer)
        forward = trainer.method.forward
        if len(made) == at:
            trainer.method.forward = lambda batch: {**forward(batch), "loss": forward(batch)["loss"] * float("nan")}
        try:
            step(trainer)
        finally:
            trainer.method.forward = forward

    monkeypatch.setattr(Trainer, "step", poisoned)


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


def test_where_the_flag_is_read_late_no_later_step_changes_the_methods_own_state(tmp_path, monkeypatch):
    """Fault 26 as on a GPU: slow encoder, queue and cursor stay as they were before the bad step."""
    poison(monkeypatch, at=2, deferred=True)
    seen, after_step = [], Trainer._after_step

    def recording(trainer, out):
        after_step(trainer, out)
        seen.append([state.clone() for state in own_state(trainer.method)])

    monkeypatch.setattr(Trainer, "_after_step", recording)
    with pytest.raises(NonFiniteLossError, match="step 2 gave"):
        train(tiny(tmp_path, method="moco", checkpoint_every=1e6), log=quiet)
    assert len(seen) == 3 and len(seen[0]) > 30
    assert all(torch.equal(a, b) for later in seen[1:] for a, b in zip(seen[0], later, strict=True))


def test_a_good_step_moves_the_methods_own_state_where_the_flag_is_read_late(tmp_path, monkeypatch):
    poison(monkeypatch, at=0, deferred=True)
    late = train(tiny(tmp_path / "late", method="moco", epochs=1), log=quiet)
    monkeypatch.undo()
    early = train(tiny(tmp_path / "early", method="moco", epochs=1), log=quiet)
    state, other = final_state(late)[0], final_state(early)[0]
    assert int(state["queue.cursor"]) == 24 % 12 and all(torch.allclose(v, other[k]) for k, v in state.items())


@pytest.mark.parametrize("method", ["mixsupcon", "unmix"])
def test_mixing_stops_at_its_epoch_also_after_a_resume(tmp_path, monkeypatch, method):
    """``mix_until`` half of two epochs, stopped in the second: what follows is trained without mixing, bit for bit."""
    params = {"method": method, "mix_until": 0.5, "train_size": 16}
    mixed, step = [], Trainer.step

    def recording(trainer):
        mixed.append((trainer.progress.epoch, trainer.method.mixer.mixes))
        if len(mixed) == 8:
            raise Stopped
        step(trainer)

    monkeypatch.setattr(Trainer, "step", recording)
    whole = train(tiny(tmp_path / "whole", **params), log=quiet)
    assert mixed == [(1, True), (1, True), (2, False), (2, False)]
    with pytest.raises(Stopped):
        train(tiny(tmp_path / "parts", **params), log=quiet)
    assert_same(train(tiny(tmp_path / "parts", **params), log=quiet), whole)
    assert mixed[-2:] == [(2, False), (2, False)]


def test_snapshots_are_kept_as_often_as_asked(finished, tmp_path):
    def epochs(run):
        return sorted(int(file.stem.removeprefix("epoch-")) for file in run.path.glob("snapshots/*.npz"))

    assert epochs(finished) == [0, 1, 2]
    assert epochs(train(tiny(tmp_path, epochs=1), log=quiet)) == []
    three = {"epochs": 3, "train_size": 8, "encoder": "resnet10"}
    assert epochs(train(tiny(tmp_path, **three, snapshot_every=2), log=quiet)) == [0, 2, 3]


SMALL_HEADS = {"byol": {"proj_hidden": 32, "predictor_hidden": 32}, "simsiam": {"proj_hidden": 32, "proj_dim": 32}}


@pytest.mark.parametrize("method", ["moco", "byol", "regions_within"])
def test_queue_slow_encoder_and_predictor_survive_a_stop(tmp_path, monkeypatch, method):
    """Bit for bit: the third of four steps is made after a resume."""
    params = {"method": method, "train_size": 16} | SMALL_HEADS.get(method, {})
    whole = train(tiny(tmp_path / "whole", **params), log=quiet)
    step, made = Trainer.step, []

    def stopping(trainer):
        if len(made) == 3:
            raise Stopped
        made.append(1)
        step(trainer)

    monkeypatch.setattr(Trainer, "step", stopping)
    with pytest.raises(Stopped):
        train(tiny(tmp_path / "parts", **params), log=quiet)
    monkeypatch.setattr(Trainer, "step", step)
    lines = []
    assert_same(train(tiny(tmp_path / "parts", **params), log=lines.append), whole)
    assert "Continuing" in lines[2], "after two lines about the data"
    own = [k for k in final_state(whole)[0] if k.startswith(("key_", "queue", "predictor"))]
    assert {"moco": "queue.keys", "byol": "predictor.0.weight", "regions_within": "queues.G.keys"}[method] in own


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("mixsupcon", "moco", "byol", "regions_within")])
def test_every_method_trains_from_its_file(tmp_path, capsys, method):
    """``python -m mixlab.train`` of one step, and its encoder and head can be read again."""
    lines = [f"method: {method}", "epochs: 1", "warmup_epochs: 0", "train_size: 16", "batch_size: 16",
             f"runs_dir: {tmp_path}/runs", *(f"{k}: {v}" for k, v in SMALL_HEADS.get(method, {}).items())]
    (tmp_path / "one.yaml").write_text("\n".join(lines) + "\n")
    assert main([str(tmp_path / "one.yaml")]) == 0, capsys.readouterr().err
    run = runs.find("latest", tmp_path / "runs")
    runs.load_encoder(run)
    runs.load_head(run)
    assert run.result()["status"] == "ok" and run.params()["queue_size"] in (None, 16)


def test_a_slow_encoder_starts_from_init_from_too(finished):
    params = tiny(finished.path.parent, method="moco", init_from=finished.name, epochs=0)
    state = final_state(train(params, log=quiet))[0]
    key = "layers.3.0.conv1.weight"
    assert torch.equal(state[f"key_branch.encoder.{key}"], state[f"encoder.{key}"])
    assert torch.equal(state[f"encoder.{key}"], final_state(finished)[0][f"encoder.{key}"])


def test_simsiams_predictor_keeps_its_learning_rate(tmp_path, monkeypatch):
    rates, step = [], Trainer.step

    def recording(trainer):
        step(trainer)
        rates.append([group["lr"] for group in trainer.optimizer.param_groups])

    monkeypatch.setattr(Trainer, "step", recording)
    train(tiny(tmp_path, method="simsiam", **SMALL_HEADS["simsiam"]), log=quiet)
    falling, constant = zip(*rates, strict=True)
    assert set(constant) == {0.05} and list(falling) == sorted(set(falling), reverse=True)


def test_images_without_labels_are_trained_without_knn(tmp_path, monkeypatch):
    images = data.load("cifar10-mini").subset(range(40))
    bare = dataclasses.replace(images, labels=None, classes=(), checksum="")
    monkeypatch.setattr(data, "load", lambda *_, **__: bare)
    run = train(tiny(tmp_path, method="simclr", epochs=1), log=quiet)
    assert run.result()["knn_top1"] is None and run.result()["status"] == "ok"


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


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """A trained run of seed 0 that held out a tenth of the images."""
    return train(tiny(tmp_path_factory.mktemp("held"), method="simclr", epochs=1, val_fraction=0.1), log=quiet)


def val_pixels(run):
    """What a run held out, as its training cut it and as its evaluation does."""
    one, other = load_splits(run.params()).queries.pixels, load_images(run, Protocol())["val"].pixels
    assert torch.equal(one, other)
    return one


@pytest.mark.parametrize("changes", [{"init_from": "latest"}, {"mixer": "attentivemix", "guide_from": "latest"}])
def test_no_image_is_held_out_that_the_run_it_starts_from_was_trained_on(held_out, changes, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(held_out.path.parent, folder)
    own = train(tiny(tmp_path / "other", epochs=0, seed=1, val_fraction=0.1), log=quiet)
    assert own.params()["val_seed"] == own.result()["val_seed"] == 1
    assert not torch.equal(val_pixels(own), val_pixels(held_out))
    said = []
    child = train(tiny(folder, seed=1, val_fraction=0.1, epochs=1, **changes), log=said.append)
    assert torch.equal(val_pixels(child), val_pixels(held_out)) and "(drawn from seed 0)" in "".join(said)
    assert child.params()["val_seed"] == child.result()["val_seed"] == 0 and child.params()["seed"] == 1
    smaller = train(tiny(folder, seed=2, val_fraction=0.05, epochs=0, init_from=child.name), log=quiet)
    assert len(val_pixels(smaller)) == 100
    inside = [data.Images(val_pixels(run)) for run in (held_out, smaller)]
    assert data.overlap(*inside) == 100, "a grandchild's, too"


@pytest.mark.parametrize("parameter", runs.STARTS)
def test_a_split_that_the_start_did_not_keep_is_refused(held_out, finished, parameter):
    for start, val_fraction, message in (
            (held_out, 0.2, r"val_fraction: at most 0.1, because {}, which it starts from, was trained on the other "
                            r"ones; got 0.2 \(float\). Write val_fraction: 0.1."),
            (finished, 0.1, r"val_fraction: 0, because {}, which it starts from, was trained on all of these images; "
                            r"got 0.1 \(float\). Write val_fraction: 0.0.")):
        params = tiny(start.path.parent, seed=1, mixer="attentivemix", val_fraction=val_fraction,
                      **{parameter: start.name})
        with pytest.raises(ParamError, match=f"^{message.format(start.name)}$"):
            train(params, log=quiet)


def test_an_untrained_start_has_seen_no_image(tmp_path):
    start = train(tiny(tmp_path, epochs=0), log=quiet)
    assert train(tiny(tmp_path, init_from=start.name, seed=1, epochs=0, val_fraction=0.1),
                 log=quiet).result()["val_seed"] == 1


def test_starts_that_disagree_or_are_gone_are_refused(held_out, tmp_path):
    folder = tmp_path / "runs"
    shutil.copytree(held_out.path.parent, folder)
    other = train(tiny(folder, method="simclr", epochs=1, val_fraction=0.1, seed=1), log=quiet)
    params = tiny(folder, mixer="attentivemix", init_from=held_out.name, guide_from=other.name, val_fraction=0.1)
    with pytest.raises(ParamError, match="which it starts from, held out other images than .*; got 0.1"):
        train(params, log=quiet)
    child = train(tiny(folder, init_from=held_out.name, epochs=1, val_fraction=0.1), log=quiet)
    shutil.rmtree(folder / held_out.name)
    with pytest.raises(ParamError, match=f"{held_out.name}, which it starts from, is not there to say what it has"):
        train(tiny(folder, init_from=child.name, val_fraction=0.1), log=quiet)


def test_images_of_another_cifar_set_are_compared_by_their_pixels(tmp_path, monkeypatch):
    whole = data.load

    def load(name, *rest, split="train", **place):
        images = whole("cifar10-mini", split=split)
        return dataclasses.replace(images.subset(range(500)), checksum="") if (name, split) == ("cifar10", "train") \
            else images
    monkeypatch.setattr(data, "load", load)
    start = train(tiny(tmp_path, dataset="cifar10", train_size="auto", epochs=1, batch_size=250), log=quiet)
    for here, words in ((True, r"\d\d of the 200 images held out are"), (False, "200 of .* images held out may be")):
        monkeypatch.setattr(data, "at_hand", lambda name, place, here=here: here)
        with pytest.raises(ParamError, match=f"val_fraction: 0, because {words} of the cifar10 images"):
            train(tiny(tmp_path, init_from=start.name, val_fraction=0.1), log=quiet)


def test_a_folder_is_the_same_by_its_checksum_or_its_path(tmp_path):
    """One path read in another way has another checksum and the same images; read alike, it has changed."""
    theirs = {"dataset": "folder:a", "image_size": 32, "train_size": "auto", "epochs": 1, "seed": 0,
              "val_fraction": 0.1, "init_from": "none"}
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "params.json").write_text(json.dumps(theirs))
    (tmp_path / "start" / "result.json").write_text(json.dumps({"status": "ok", "data_checksum": "c"}))
    child = theirs | {"init_from": "start", "seed": 1}
    for changes, checksum, seed in (({}, "c", 0), ({"dataset": "folder:moved"}, "c", 0), ({"train_size": 50}, "d", 0),
                                    ({"image_size": 64}, "d", 0), ({"dataset": "folder:other"}, "d", 1)):
        assert runs.split_seed(child | changes, checksum, tmp_path) == seed, changes
    with pytest.raises(ParamError, match="0, because start, which it starts from, was trained on what was in this"):
        runs.split_seed(child, "d", tmp_path)


def test_fine_tuning_starts_from_a_run_with_a_share_of_the_labels(finished, tmp_path):
    """The same loop: cross-entropy, ``init_from``, ``label_fraction``."""
    params = tiny(finished.path.parent, method="cross_entropy", init_from=finished.name, train_size=400,
                  label_fraction=0.1, epochs=1)
    result = train(params, log=quiet).result()
    assert result["train_images"] == 40 and result["status"] == "ok"


def test_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(f"epochs: 0\nwarmup_epochs: 0\ntrain_size: 24\nbatch_size: 8\nruns_dir: {tmp_path}/runs\n")
    bad.write_text("epochs: 0\nmethd: simclr\n")
    assert main([]) == 2 and main([str(bad)]) == 2 and main([str(good)]) == 0
    printed = capsys.readouterr()
    assert 'Did you mean "method"' in printed.err and "usage:" in printed.err and "result.json" in printed.out


@pytest.mark.parametrize("method", ["mixsupcon", "moco"])
def test_warming_up_leaves_no_trace(tmp_path, monkeypatch, method):
    """With a compiler that changes nothing, a compiled run is the eager run; its warm-up is no step."""
    eager = train(tiny(tmp_path / "eager", method=method), log=quiet)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(Encoder, "compile", lambda self, **_: None)
    warmed, original = [], Trainer._warm_up
    monkeypatch.setattr(Trainer, "_warm_up", lambda self: warmed.append(self) or original(self))
    compiled = train(tiny(tmp_path / "compiled", method=method, compile=True), log=quiet)
    assert len(warmed) == 1
    assert_same(compiled, eager)


def stopping_at(monkeypatch, count):
    """Lets ``count`` more steps be made, each followed by a checkpoint, and raises ``Stopped`` before the next."""
    step, made = Trainer.step, []

    def stopping(trainer):
        if len(made) == count:
            raise Stopped
        made.append(1)
        step(trainer)

    monkeypatch.setattr(Trainer, "step", stopping)
    return lambda: monkeypatch.setattr(Trainer, "step", step)


@pytest.mark.parametrize("count", range(7))
@pytest.mark.parametrize("train_size", [24, 30])  # 30: a remainder is left out of every epoch
def test_a_compiled_run_goes_on_from_every_step(tmp_path, monkeypatch, train_size, count):
    """Also from the last step of an epoch, where no batch is left that compilation could be warmed up with."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(Encoder, "compile", lambda self, **_: None)
    params = {"compile": True, "train_size": train_size, "width": 8, "checkpoint_every": 0.0}
    whole = train(tiny(tmp_path / "whole", **params), log=quiet)
    go_on = stopping_at(monkeypatch, count)
    if count < 6:
        with pytest.raises(Stopped):
            train(tiny(tmp_path / "parts", **params), log=quiet)
    before = runs.Run(tmp_path / "parts" / whole.name)
    spent = progress_of(before)["cpu_seconds"] if 0 < count < 6 else 0
    go_on()
    assert_same(train(tiny(tmp_path / "parts", **params), log=quiet), whole)
    assert before.result()["cpu_seconds"] > spent >= 0 and (spent > 0) == (0 < count < 6)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("first", "then"), [("cpu", "gpu"), ("gpu", "cpu"), ("gpu", "gpu")])
def test_a_run_goes_on_where_another_kind_of_device_left_it(tmp_path, monkeypatch, first, then, compiled):
    """As on a GPU: a fused optimizer that is told of bad steps. Its arithmetic rounds in another order."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(Encoder, "compile", lambda self, **_: None)
    made, params = Trainer.__init__, {"compile": compiled, "width": 8, "checkpoint_every": 0.0}
    whole = train(tiny(tmp_path / "whole", **params), log=quiet)

    def on(kind):
        def start(trainer, *arguments):
            made(trainer, *arguments)
            if kind == "gpu":
                read_late(trainer)
        monkeypatch.setattr(Trainer, "__init__", start)

    on(first)
    go_on = stopping_at(monkeypatch, 2)
    with pytest.raises(Stopped):
        train(tiny(tmp_path / "parts", **params), log=quiet)
    go_on()
    on(then)
    run = train(tiny(tmp_path / "parts", **params), log=quiet)
    state, other = final_state(run)[0], final_state(whole)[0]
    assert all(torch.allclose(v.double(), other[k].double(), rtol=1e-3, atol=1e-5) for k, v in state.items())


def test_fp32_is_exact_inside_convolutions_while_training_and_encoding(tmp_path, monkeypatch):
    """On a GPU cuDNN's default would be TF32; what was set before is put back, after an error, too."""
    seen, step, run_encoder = [], Trainer.step, Encoder.forward
    assert torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(Trainer, "step", lambda self: seen.append(torch.backends.cudnn.allow_tf32) or step(self))
    monkeypatch.setattr(Encoder, "forward", lambda self, *a, **b: seen.append(torch.backends.cudnn.allow_tf32)
                        or run_encoder(self, *a, **b))
    run = train(tiny(tmp_path, epochs=1, width=8), log=quiet)
    assert torch.backends.cudnn.allow_tf32
    features(runs.load_encoder(run), data.load("cifar10-mini").pixels[:2])
    assert torch.backends.cudnn.allow_tf32 and len(seen) > 4 and not any(seen)
    go_on = stopping_at(monkeypatch, 0)
    with pytest.raises(Stopped):
        train(tiny(tmp_path, epochs=1, width=8, seed=1), log=quiet)
    go_on()
    assert torch.backends.cudnn.allow_tf32


def test_the_floor_is_the_encoder_that_training_began_with_and_is_made_once(tmp_path):
    """Methods of one seed share it; runs that are untrained, or began with another's weights, have none."""
    small = {"epochs": 1, "width": 8, "snapshot_every": 0}
    some = [train(tiny(tmp_path, **small, **more), log=quiet)
            for more in ({"method": "supcon"}, {}, {"seed": 1}, {"method": "cross_entropy"})]
    floors = untrained(some, log=quiet)
    assert [floor.params()["seed"] for floor in floors] == [0, 1] and all(floor.finished() for floor in floors)
    start = train(tiny(tmp_path / "start", method="supcon", **small | {"epochs": 0}), log=quiet)
    for name, tensor in runs.load_encoder(start).state_dict().items():
        assert torch.equal(tensor, runs.load_encoder(floors[0]).state_dict()[name]), name
    assert {run.name for run in runs.list_runs(tmp_path)} == {run.name for run in some}, "no runs of anybody's"
    made = [floor.result()["finished_at"] for floor in floors]
    assert [floor.result()["finished_at"] for floor in untrained(some, log=quiet)] == made
    tuned = train(tiny(tmp_path, init_from=some[0].name, **small), log=quiet)
    assert untrained([start, tuned], log=quiet) == []


def test_an_untrained_encoder_of_moved_images_or_beside_a_read_only_run(tmp_path, modes_count):
    """The images are looked for where they are now; where nothing can be written, that is said and no error."""
    run = run_on_pictures(tmp_path / "runs", folder_of_pictures(tmp_path / "old"), epochs=1)
    (tmp_path / "old").rename(tmp_path / "new")
    said = []
    assert untrained([run], log=said.append) == [] and "No untrained encoder beside" in said.pop()
    (floor,) = untrained([run], str(tmp_path / "new"), log=said.append)
    assert floor.result()["data_checksum"] == run.result()["data_checksum"] and not said
    shutil.rmtree(floor.path.parent)
    (tmp_path / "runs").chmod(0o555)
    assert untrained([run], str(tmp_path / "new"), log=said.append) == []
    assert said == [f"No untrained encoder beside {run.name}: {tmp_path / 'runs'} can't be written."]
    (tmp_path / "runs").chmod(0o755)


def test_snapshots_of_another_data_set_follow_its_test_images(tmp_path):
    """``snapshot_dataset``: a map that needs no more data than comes with the package; nothing else changes."""
    folder = tmp_path / "images"
    for kind in ("cat", "dog"):
        for number in range(12):
            file = folder / kind / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 9 * number, np.uint8)).save(file)
    own = {"dataset": f"folder:{folder}", "train_size": "auto", "batch_size": 4, "width": 8, "val_fraction": 0.25}
    plain, other = (train(tiny(tmp_path / str(n), **own, **more), log=quiet)
                    for n, more in enumerate(({}, {"snapshot_dataset": "cifar10-mini"})))
    assert plain.name == other.name and sha256(plain.path / "encoder.safetensors") == other.result()["encoder_sha256"]
    kept, images = snapshots.read(other), data.load("cifar10-mini", split="test")
    assert (kept.dataset, kept.split, kept.checksum) == ("cifar10-mini", "test", images.checksum)
    assert kept.features.shape == (3, len(images), 64) and kept.labels.tolist() == images.labels.tolist()
    last = features(runs.load_encoder(other), images.pixels, other.params()["precision"])
    assert np.abs(kept.features[-1] - last.numpy()).max() < 2e-2
    assert snapshots.read(plain).dataset == "" and len(snapshots.read(plain).index) == 6


@pytest.mark.slow
def test_compiled_training_stays_close_to_eager(finished, tmp_path):
    run = train(tiny(tmp_path, compile=True), log=quiet)
    assert run.history()[1]["loss"] == pytest.approx(finished.history()[1]["loss"], rel=0.02)
