"""Rows 25 to 43 of the fault catalogue: what is not finite, degenerate batches, values at the edge, devices, seeds.

A rank that dies (row 43) is killed in tests/test_parallel.py, where ranks are started anyway.
"""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from forks import OWN, record, the_run, values, write_yaml

from mixlab import checkpoint, data, runs
from mixlab.errors import CheckpointError, DataError, NonFiniteLossError, ParamError
from mixlab.evaluate import effective_rank, scatter, spread, uniformity
from mixlab.files import write_json
from mixlab.losses import check_targets, contrastive
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params import Pretrain, build_method
from mixlab.rng import Key
from mixlab.train import Trainer, main, train
from mixlab.views import Batch


def quiet(line):
    """Takes a line of log and drops it."""


def tiny(images, folder, **changes):
    return Pretrain.check(**values(images, folder, **changes))


def before_step(monkeypatch, number, strike):
    """Calls ``strike(trainer)`` before the step of that number, from 1."""
    step, made = Trainer.step, []

    def struck(trainer):
        made.append(1)
        if len(made) == number:
            strike(trainer)
        step(trainer)

    monkeypatch.setattr(Trainer, "step", struck)


def poison_loss(trainer):
    forward = trainer.method.forward
    trainer.method.forward = lambda batch: {**forward(batch), "loss": forward(batch)["loss"] * math.nan}


def poison_gradient(trainer):
    trainer.method.encoder.stem[0].weight.register_hook(lambda gradient: gradient * math.inf)


def stopped_at_five(images, folder, message):
    """The checkpoint is that of the step before, and no row counts the bad one."""
    with pytest.raises(NonFiniteLossError, match=message):
        train(tiny(images, folder), log=quiet)
    run = the_run(folder)
    assert run.state() == "failed" and "step 5" in run.result()["reason"]
    assert [row["epoch"] for row in run.history()] == [0, 1] and math.isfinite(run.history()[1]["loss"])
    header = json.loads((run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[0])
    state, _ = checkpoint.load(run.path / "checkpoint.pt", header["belongs_to"])
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (2, 1)
    assert all(torch.isfinite(v).all() for v in state["method"].values() if v.is_floating_point())


def test_row_25_a_checkpoint_of_another_format_is_refused_with_both(tmp_path):
    checkpoint.save(tmp_path / "checkpoint.pt", {"w": torch.ones(1)}, {"lr": 0.1})
    header, payload = (tmp_path / "checkpoint.pt").read_bytes().split(b"\n", 1)
    header = json.dumps(json.loads(header) | {"mixlab_checkpoint": 7}).encode()
    (tmp_path / "checkpoint.pt").write_bytes(header + b"\n" + payload)
    with pytest.raises(CheckpointError, match=rf"has format 7, this mixlab reads {checkpoint.FORMAT}\. Use the mixlab"):
        checkpoint.load(tmp_path / "checkpoint.pt", {"lr": 0.1})


def test_row_26_a_loss_that_is_not_finite_stops_the_run_naming_the_step(images, tmp_path, monkeypatch):
    before_step(monkeypatch, 5, poison_loss)
    stopped_at_five(images, tmp_path, r"step 5 .*loss nan.*lr .*gradient norm nan.*Lower lr.*\(epoch 2, step 1\)")


def test_row_26_at_once_it_still_leaves_a_checkpoint(images, tmp_path, monkeypatch):
    """Before the first minute is over."""
    before_step(monkeypatch, 1, poison_loss)
    with pytest.raises(NonFiniteLossError, match=r"checkpoint is kept \(epoch 1, step 0\)"):
        train(tiny(images, tmp_path, checkpoint_every=60.0), log=quiet)
    assert (the_run(tmp_path).path / "checkpoint.pt").exists()


def test_row_27_a_gradient_that_is_not_finite_is_found_before_the_step(images, tmp_path, monkeypatch):
    before_step(monkeypatch, 5, poison_gradient)
    stopped_at_five(images, tmp_path, r"step 5 .*loss \d.*gradient norm (nan|inf)")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_row_28_pixels_that_are_not_finite_are_named_by_their_image(value):
    pixels = torch.zeros(5, 4, 4, 3)
    pixels[3, 1, 2, 0] = value
    with pytest.raises(DataError, match=r"pixels\[3\].*float32.*in 1 images"):
        data.Images(pixels)


@pytest.mark.parametrize("method", METHODS)
def test_row_28_images_without_contrast_give_finite_losses_and_gradients(method):
    """All zero, and one and the same constant."""
    own = METHODS[method].__init__.__kwdefaults__ or {}
    chosen = OWN.get(method, {}) | {k: v for k, v in {"batchnorm": "plain", "queue_size": 8}.items() if k in own}
    built = build_method(Pretrain.check(method=method, batch_size=4, epochs=1, **chosen).resolved(), 2)
    for level in (0.0, 2.5):
        views = tuple(torch.full((4, 3, 16, 16), level) for _ in built.views)
        out = built(Batch(views, torch.tensor([0, 1, 0, 1]), torch.arange(4), Key(0, "step", 1, 0), 1, 0.0))
        out["loss"].backward()
        gradients = [p.grad for p in built.parameters() if p.grad is not None]
        assert torch.isfinite(out["loss"]) and gradients and all(torch.isfinite(g).all() for g in gradients)


def test_row_29_one_class_alone_is_refused(images, tmp_path, monkeypatch):
    whole = data.load(f"folder:{images}", image_size=16)
    only = whole.subset((whole.labels == 0).nonzero().flatten())
    monkeypatch.setattr(data, "load", lambda *_, **__: dataclasses.replace(only, classes=("dark",), checksum=""))
    with pytest.raises(DataError, match="at least two classes"):
        train(tiny(images, tmp_path), log=quiet)


def test_row_29_batches_of_one_class_are_counted_and_an_epoch_of_them_is_an_error(images, tmp_path, monkeypatch):
    """Their loss is finite, and the epoch's line tells them."""
    whole, lines = data.load(f"folder:{images}", image_size=16), []
    first, second = ((whole.labels == k).nonzero().flatten() for k in (0, 1))
    mostly = whole.subset(torch.cat([first, first[:11], second[:1]]))
    monkeypatch.setattr(data, "load", lambda *_, **__: mostly)
    run = train(tiny(images, tmp_path, method="supcon", epochs=1), log=lines.append)
    assert run.history()[-1]["single_class_batches"] == 2 and run.history()[-1]["loss"] > 0
    assert "  2 batches of one class, without a negative of another" in lines[-2] and "of one class" not in lines[3]
    place = Key(1, "order", 1).generator().permutation(25)[-1]  # of the image that waits for another epoch
    order = torch.cat([first] * 3)[:25].index_put((torch.tensor(place),), second[0])
    monkeypatch.setattr(data, "load", lambda *_, **__: whole.subset(order))
    with pytest.raises(DataError, match="got 3 batches of one class each in epoch 1"):
        train(tiny(images, tmp_path, method="supcon", epochs=1, seed=1), log=quiet)


@pytest.mark.parametrize("reading", ["anchor", "row", "pairs"])
def test_row_30_a_step_on_anchors_without_positives_changes_no_weight_and_is_told(reading):
    """A single view whose labels all differ: exactly 0, counted, and printed with the epoch's row."""
    layer = torch.nn.Linear(3, 4)
    before, optimizer = layer.weight.detach().clone(), torch.optim.SGD(layer.parameters(), lr=1.0)
    out = contrastive(layer(torch.eye(3)), torch.tensor([4, 0, -2]), 0.07, reading=reading)
    out["loss"].backward()
    optimizer.step()
    assert out["loss"] == 0 and torch.equal(layer.weight, before)
    line = runs.describe({"epoch": 1, "loss": out["loss"].item(),
                          "anchors_without_positive": out["anchors_without_positive"].item()}, 1)
    assert "loss 0.0000" in line and "3.0 anchors a step without a positive, left out" in line


def test_row_31_a_batch_larger_than_the_data_is_refused(images, tmp_path):
    """Before training, both numbers named, no run directory made."""
    with pytest.raises(ParamError, match="batch_size: at most the 24 training images; got 64"):
        train(tiny(images, tmp_path, batch_size=64), log=quiet)
    assert not list(tmp_path.iterdir())


def test_row_32_a_batch_of_one_is_refused_and_an_odd_one_leaves_out_the_rest(images, tmp_path, monkeypatch):
    with pytest.raises(ParamError, match="batch_size: a whole number >= 2"):
        tiny(images, tmp_path, batch_size=1)
    for name in MIXERS:
        if MIXERS[name].mixes and not MIXERS[name].needs_guide:
            with pytest.raises((ParamError, DataError), match="at least 2"):
                MIXERS[name]()(torch.rand(1, 3, 16, 16), Key(0, "mixer"))
    sizes, batch = [], Trainer.batch

    def recording(trainer):
        made = batch(trainer)
        sizes.append(len(made.index))
        return made

    monkeypatch.setattr(Trainer, "batch", recording)
    train(tiny(images, tmp_path, batch_size=7, epochs=1), log=quiet)
    assert sizes == [7, 7, 7], "24 images; the last 3 wait for another epoch's order"


def test_row_33_a_queue_is_a_ring_of_any_size_that_holds_a_batch(images, tmp_path):
    for size in (0, 7):
        with pytest.raises(ParamError, match=rf"queue_size: .*got {size} \(int\)"):
            tiny(images, tmp_path, method="moco", bn_splits=2, queue_size=size)
    run = train(tiny(images, tmp_path, method="moco", bn_splits=2, queue_size=13, epochs=1, knn_every=0), log=quiet)
    header = json.loads((run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[0])
    state = checkpoint.load(run.path / "checkpoint.pt", header["belongs_to"])[0]["method"]
    assert int(state["queue.cursor"]) == 24 % 13 and state["queue.keys"].shape == (13, 128)
    torch.testing.assert_close(state["queue.keys"].norm(dim=1), torch.ones(13))


@pytest.mark.parametrize("temperature", [0, -0.1, math.nan, math.inf, -math.inf, 1e-6, 100.0])
def test_row_34_a_temperature_outside_its_open_interval_is_refused(temperature):
    for method in ("simclr", "supcon", "mixsupcon", "moco", "moco_mix"):
        with pytest.raises(ParamError, match="temperature: auto or a number > 1e-06 and < 100; got"):
            Pretrain.check(method=method, temperature=temperature)


@pytest.mark.parametrize("reading", ["anchor", "row", "pairs"])
def test_row_34_a_tiny_temperature_overflows_nothing(reading):
    z = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = torch.eye(3).repeat(4, 1)
    for targets in (rows.argmax(1), rows):
        out = contrastive(z, targets, 1e-4, reading=reading)
        (gradient,) = torch.autograd.grad(out["loss"], z)
        assert torch.isfinite(out["loss"]) and out["loss"] > 0 and torch.isfinite(gradient).all()


WITH_ALPHA = [name for name, mixer in MIXERS.items() if mixer.has_alpha and not mixer.needs_guide]


@pytest.mark.parametrize("name", WITH_ALPHA)
def test_row_35_alpha_at_its_edges(name):
    """0, below, and what is not finite are refused; near 0 a coin is tossed; huge, both images share alike."""
    for alpha in (0, -1.0, math.nan, math.inf):
        with pytest.raises(ParamError, match="^alpha: "):
            MIXERS[name](alpha=alpha)
    images = torch.rand(400, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    coin = MIXERS[name](alpha=1e-8).draw(images, images, Key(1, "mixer")).lam
    half = MIXERS[name](alpha=1e6).draw(images, images, Key(1, "mixer")).lam
    assert abs((coin == 1).float().mean() - 0.5) < 0.1, "the other half is of the second image"
    assert ((half > 0.3) & (half < 1)).all()
    if not MIXERS[name].has_region and name != "pick":  # boxes are cut off at the edge, and lam is what is left
        assert ((coin == 0) | (coin == 1)).all() and (half - 0.5).abs().max() < 0.01


def test_row_36_collapsed_features_have_finite_indicators_that_say_so(tmp_path):
    """The rank falls to 1, uniformity to 0; what no number can say becomes null in files, never NaN."""
    collapsed, healthy = torch.ones(40, 8), torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 4
    ranks = [effective_rank(torch.linalg.svdvals(x - x.mean(0))) for x in (collapsed, healthy)]
    assert ranks[0] == pytest.approx(1) and ranks[1] > 5
    assert uniformity(collapsed) == pytest.approx(0, abs=1e-6) and uniformity(healthy) < -1
    write_json(tmp_path / "measures.json", {"rank": ranks[0], **scatter(collapsed, labels)})
    assert "NaN" not in (tmp_path / "measures.json").read_text()


def test_row_36_a_run_whose_features_collapse_says_so_in_its_row_and_its_line(images, tmp_path, monkeypatch):
    """SimSiam without a predictor, pulled to zero by its weight decay; with one, and without the pull, it is silent."""
    found = {}
    for name, changes in (("healthy", {}), ("collapsed", {"weight_decay": 1.0, "sgd_momentum": 0.0, "lr": 0.5})):
        if name == "collapsed":
            monkeypatch.setattr("mixlab.methods.simsiam.predictor", lambda *_: torch.nn.Identity())
        lines, given = [], {"epochs": 4, "knn_every": 2, "checkpoint_every": 60.0, **OWN["simsiam"], **changes}
        run = train(tiny(images, tmp_path / name, method="simsiam", **given), log=lines.append)
        found[name] = [row.get("feature_spread") for row in run.history()]
        assert [spread is not None for spread in found[name]] == [epoch % 2 == 0 for epoch in range(5)]
        assert ("features have collapsed: spread 0.00" in lines[7]) == (name == "collapsed"), lines
        assert "collapsed" not in lines[3] and math.isfinite(run.result()["loss"])
    assert found["collapsed"][-1] < 0.01 < 0.03 < min(found["collapsed"][0], *found["healthy"][::2])


def test_row_36_spread_is_0_of_one_point_and_1_of_directions_that_cancel():
    assert spread(torch.full((40, 8), 3.0)) == 0 == spread(torch.zeros(40, 8))
    assert spread(torch.cat([torch.eye(8), -torch.eye(8)]) * torch.rand(16, 1)) == pytest.approx(1)
    line = runs.describe({"epoch": 1, "loss": 0.5, "knn_top1": 0.1, "feature_spread": 0.0}, 1)
    assert "features have collapsed: spread 0.0000" in line
    assert "collapsed" not in runs.describe({"epoch": 1, "loss": 0.5, "feature_spread": math.nan}, 1)


def test_row_36_an_absurd_learning_rate_ends_by_name(images, tmp_path):
    with pytest.raises(NonFiniteLossError, match="Lower lr"):
        train(tiny(images, tmp_path, lr=1e6, epochs=3), log=quiet)


@pytest.mark.parametrize("labels, first, value", [
    ([0, 1, 3], 2, "3"), ([0, -1, 5], 1, "-1"), ([-100, -100], 0, "-100"), ([0.0, 1.5, 2.0], 1, "1.5"),
    ([0.0, 1.0], 0, "0.0"), ([float("nan"), 0.0], 0, "nan"), ([True, False], 0, "True"), (["cat"], 0, "cat")])
def test_row_37_wrong_labels_are_named_by_index_and_value(labels, first, value):
    for given_as in [labels, np.array(labels)] + ([] if labels == ["cat"] else [torch.tensor(labels)]):
        with pytest.raises(DataError, match=rf"labels\[{first}\]: an integer in 0\.\.2; got '?{value}"):
            data.check_labels(given_as, 3)
    if labels != ["cat"]:
        with pytest.raises(DataError, match=r"labels"):
            data.Images(torch.zeros(len(labels), 2, 2, 3, dtype=torch.uint8), torch.tensor(labels), ("a", "b", "c"))


def test_row_38_soft_labels_that_are_no_shares_are_named_by_their_row():
    good = torch.tensor([[0.2, 0.8], [1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [1.0, 1e-4]])
    check_targets(good)
    check_targets(torch.tensor([4, -7]))
    for value in (math.nan, -0.5, 3.0):
        rows = good.clone()
        rows[2, 1] = rows[4, 0] = value
        with pytest.raises(DataError, match=rf"targets row 2: numbers >= 0 that sum to 1; got .*{value}.* 2 of 5 rows"):
            check_targets(rows)
    for first, rows in ((1, [[0.5, 0.5], [1.0, 0.01], [0.5, 0.6]]), (1, [[0.5, 0.5], [0.2, 0.2]]), (0, [[1.5, -0.5]])):
        with pytest.raises(DataError, match=f"row {first}"):
            check_targets(torch.tensor(rows))


def test_row_39_a_full_device_is_named_and_the_batch_never_made_smaller(images, tmp_path, monkeypatch, capsys):
    def full(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with monkeypatch.context() as patch:
        before_step(patch, 5, full)
        assert main([write_yaml(tmp_path / "tiny.yaml", values(images, tmp_path / "runs", epochs=2))]) == 2
    message = capsys.readouterr().err
    assert "batch_size: as many images of 16 x 16" in message and "got 8 (int). Try batch_size 4" in message
    assert "another run" in message and "(epoch 2, step 1)" in message and "Traceback" not in message
    run = the_run(tmp_path / "runs")
    assert run.state() == "failed" and run.params()["batch_size"] == 8
    again = train(tiny(images, tmp_path / "runs", epochs=2), log=quiet)
    assert again == run and record(again) == record(train(tiny(images, tmp_path / "whole", epochs=2), log=quiet))


def test_row_40_a_device_that_is_not_there_is_refused_and_auto_takes_the_cpu(images, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamError, match="device: auto or cpu, because no CUDA device was found; got 'cuda'"):
        train(tiny(images, tmp_path, device="cuda"), log=quiet)
    assert train(tiny(images, tmp_path, device="auto", epochs=0), log=quiet).result()["device"].startswith("cpu")


LOST = ["CUDA error: unspecified launch failure\nCUDA kernel errors might be ...", "cuDNN error: CUDNN_STATUS_X"]


def test_row_40_a_device_lost_in_the_middle_ends_by_name_and_the_run_goes_on(images, tmp_path, monkeypatch, capsys):
    def lose(trainer):
        raise getattr(torch, "AcceleratorError", RuntimeError)(LOST[0].replace("error", "Error"))

    if not hasattr(torch, "AcceleratorError"):
        pytest.skip("this torch has no type of its own for it; the next test knows it by its words")
    with monkeypatch.context() as patch:
        before_step(patch, 5, lose)
        assert main([write_yaml(tmp_path / "tiny.yaml", values(images, tmp_path / "runs", epochs=2))]) == 2
    message, run = capsys.readouterr().err, the_run(tmp_path / "runs")
    assert message.startswith("device: cpu") and "failed (CUDA Error: unspecified launch failure)" in message
    assert "(epoch 2, step 1). Start again to continue." in message and "might be" not in message
    assert run.state() == "interrupted" and run.result()["reason"] == message.strip()
    again = train(tiny(images, tmp_path / "runs", epochs=2), log=quiet)
    assert again == run and record(again) == record(train(tiny(images, tmp_path / "whole", epochs=2), log=quiet))


@pytest.mark.parametrize("text", LOST, ids=["CUDA", "cuDNN"])
def test_row_40_a_lost_device_is_known_by_the_words_of_the_libraries_too(images, tmp_path, monkeypatch, text):
    def lose(trainer):
        raise RuntimeError(text)

    before_step(monkeypatch, 1, lose)
    with pytest.raises(OSError, match=rf"^device: cpu.* failed \({text.splitlines()[0]}\).*Start again to continue"):
        train(tiny(images, tmp_path, epochs=1), log=quiet)


def test_row_40_another_error_in_the_middle_is_no_lost_device(images, tmp_path, monkeypatch):
    def stumble(trainer):
        raise RuntimeError("shapes do not fit")

    before_step(monkeypatch, 1, stumble)
    with pytest.raises(RuntimeError, match="^shapes do not fit$"):
        train(tiny(images, tmp_path, epochs=1), log=quiet)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64, "7", 1.5, 7.0, True, None])
def test_row_41_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ParamError, match="^seed: a whole number >= 0 and < 4294967296; got"):
        Pretrain.check(seed=seed)


def test_row_41_equal_seeds_give_equal_runs_and_different_ones_differ(images, tmp_path):
    found = {}
    for place, seed in (("a", 0), ("b", 0), ("c", 2**32 - 1)):
        found[place] = record(train(tiny(images, tmp_path / place, seed=seed, epochs=1), log=quiet))
    assert found["a"] == found["b"]
    assert not set(found["a"][1].values()) & set(found["c"][1].values()), "weights of another seed"


def test_row_43_a_launcher_of_several_processes_that_is_not_torchrun_is_refused(images, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ParamError, match="WORLD_SIZE: 1"):
        train(tiny(images, tmp_path), log=quiet)
    assert not list(tmp_path.iterdir())
