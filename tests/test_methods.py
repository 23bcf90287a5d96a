"""The contract of every method, with every mixer it takes; and what the methods are to each other."""

import pytest
import torch

from mixlab.encoders import Encoder
from mixlab.errors import ParamError
from mixlab.losses import contrastive
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS, pair_views
from mixlab.params import Pretrain, build_method
from mixlab.rng import Key
from mixlab.views import Batch

CLASSES = 3


def pairs():
    """Every method with every mixer that the parameters accept; the others are refused, and say so."""
    for method in METHODS:
        for mixer in MIXERS:
            try:
                yield Pretrain.check(method=method, mixer=mixer).resolved()
            except ParamError as refusal:
                assert (method, mixer) == ("mixsupcon", "none"), refusal


ACCEPTED = list(pairs())
NAMES = [f"{v['method']}-{v['mixer']}" for v in ACCEPTED]


class TinyEncoder(Encoder):
    """The real encoder's interface over an eighth of its width, so that the whole contract takes seconds."""

    def __init__(self):
        super().__init__("resnet10")
        widths = (3, 8, 8, 8, 8)
        layers = [torch.nn.Sequential(torch.nn.Conv2d(a, b, 3, 2, 1), torch.nn.BatchNorm2d(b), torch.nn.ReLU())
                  for a, b in zip((8, 8, 8, 8), widths[1:], strict=True)]
        self.stem, self.layers, self.dim = torch.nn.Conv2d(3, 8, 3, 1, 1), torch.nn.ModuleList(layers), 8


def build(values, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = METHODS[values["method"]]
        arguments = {"num_classes": CLASSES} if method.needs_labels else {}
        return method(TinyEncoder(), MIXERS[values["mixer"]](), **arguments)


def make_batch(method, size=6, step=0):
    generator = torch.Generator().manual_seed(step)
    views = tuple(torch.randn(size, 3, 32, 32, generator=generator) for _ in method.views)
    labels = torch.arange(size) % CLASSES
    return Batch(views, labels if method.needs_labels else None, torch.arange(size), Key(0, "step", 1, step), 1, 0.0)


@pytest.mark.parametrize("values", ACCEPTED, ids=NAMES)
def test_the_contract(values):
    method = build(values)
    batch = make_batch(method, size=5)
    inputs = [v.clone() for v in batch.views]
    state = {k: v.clone() for k, v in method.state_dict().items()}
    out = method(batch)
    assert out["loss"].ndim == 0 and torch.isfinite(out["loss"])
    assert all(torch.equal(a, b) for a, b in zip(inputs, batch.views, strict=True))
    out["loss"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in method.encoder.parameters())
    assert any(p.grad.abs().max() > 0 for p in method.encoder.stem.parameters())
    changed = {k for k, v in method.state_dict().items() if not torch.equal(v, state[k])}
    assert all("running_" in k or "num_batches" in k for k in changed), "more than BatchNorm"
    method.after_step(out)
    again = method(batch)["loss"]
    torch.testing.assert_close(again, out["loss"], rtol=0, atol=0)


@pytest.mark.parametrize("values", ACCEPTED, ids=NAMES)
def test_state_is_whole(values):
    """Two copies that share a state_dict stay equal step after step."""
    first, second = build(values, 0), build(values, 1)
    second.load_state_dict(first.state_dict())
    for step in range(2):
        losses = [m(make_batch(m, step=step))["loss"] for m in (first, second)]
        assert losses[0] == losses[1]


@pytest.mark.parametrize("values", [v for v in ACCEPTED if v["mixer"] in ("none", "mixup")], ids=lambda v: v["method"])
def test_the_loss_falls_on_a_toy_set(values):
    method = build(values)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    batch, losses = make_batch(method, size=12), []
    for _ in range(30):
        out = method(batch)
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        method.after_step(out)
        losses.append(out["loss"].item())
    assert losses[-1] < losses[0] - 0.02


def test_simclr_and_supcon_are_one_argument_apart():
    values = {"method": "simclr", "mixer": "none"}
    simclr, supcon = build(values), build(values | {"method": "supcon"})
    supcon.load_state_dict(simclr.state_dict())
    supcon.temperature = simclr.temperature
    batch = make_batch(supcon)
    each_its_class = Batch(batch.views, torch.arange(6), batch.index, batch.key, 1, 0.0)
    torch.testing.assert_close(simclr(batch)["loss"], supcon(each_its_class)["loss"])
    z = simclr.projector(simclr.encoder(torch.cat(batch.views)))
    torch.testing.assert_close(simclr(batch)["loss"], contrastive(z, torch.arange(6).repeat(2), 0.5)["loss"])


@pytest.mark.parametrize("mixer", [m for m in MIXERS if m != "none"])
def test_supcon_with_a_mixer_is_mixsupcon_with_reading_anchor(mixer):
    supcon, mixsupcon = build({"method": "supcon", "mixer": mixer}), build({"method": "mixsupcon", "mixer": mixer})
    mixsupcon.load_state_dict(supcon.state_dict())
    mixsupcon.reading = "anchor"
    batch = make_batch(supcon)
    torch.testing.assert_close(supcon(batch)["loss"], mixsupcon(batch)["loss"], rtol=0, atol=0)


@pytest.mark.parametrize("n_mix", [1, 2, 3])
def test_mixsupcon_mixes_view_with_view_and_never_an_image_with_itself(n_mix):
    views = tuple(torch.full((4, 1, 2, 2), float(10 * v)) + torch.arange(4.0).view(4, 1, 1, 1) for v in (1, 2))
    images, others, partner = pair_views(views, n_mix, Key(0))
    assert len(images) == len(others) == len(partner) == 4 * n_mix
    first, second = images[:, 0, 0, 0], others[partner][:, 0, 0, 0]
    assert ((first // 10) != (second // 10)).all() and ((first % 10) != (second % 10)).all()


def test_a_large_lambda_of_mixsupcon_is_supcon():
    """With alpha so small that every share is 0 or 1, mixtures are images and their labels are hard."""
    method = build({"method": "mixsupcon", "mixer": "mixup"})
    method.mixer = MIXERS["mixup"](alpha=1e-8)
    batch = make_batch(method)
    images, others, partner = pair_views(batch.views, 2, batch.key)
    draw = method.mixer.draw(images, others, batch.key.child("mixer"), partner=partner)
    labels = torch.where(draw.lam == 1, batch.labels.repeat(2), batch.labels.repeat(2)[draw.partner])
    z = method.projector(method.encoder(draw.apply(images, others)))
    torch.testing.assert_close(method(batch)["loss"], contrastive(z, labels, method.temperature, reading="row")["loss"])


def test_methods_are_built_from_parameters_alone():
    for method in METHODS:
        assert build_method(Pretrain.check(method=method).resolved(), 10).encoder.dim == 512
