"""The contract of every method, with every mixer it takes; and what the methods are to each other."""

import inspect
from dataclasses import replace

import pytest
import torch

from mixlab.encoders import Encoder
from mixlab.errors import ParamError
from mixlab.losses import contrastive, info_nce, pair_contrast, soft_info_nce
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS, EncoderGuide, Mixup, NoMix, pair_views, saliency
from mixlab.momentum import Queue
from mixlab.optim import build_optimizer
from mixlab.params import Pretrain, build_method, unmixed, view_names
from mixlab.rng import Key
from mixlab.views import Batch

CLASSES = 3
ALWAYS_MIX = {"mixsupcon": "supcon", "gensupcon": "supcon", "supmix": "supcon", "moco_mix": "moco", "unmix": "moco",
              "imix": "moco", "mixco": "moco"}
NEVER_MIX = {"moco": "moco_mix or unmix", "byol": "unmix", "simsiam": "unmix"}
REGIONS = ("cutmix", "resizemix", "saliencymix", "fmix", "gridmix", "smoothmix", "attentivemix")
SMALL = {"queue_size": 16, "batchnorm": "plain", "proj_hidden": 16, "predictor_hidden": 16}  # odd batches, few seconds


def expected_refusal(method, mixer):
    """What the parameters must say to this pair, or ''."""
    if method in ("regions_between", "regions_within") and mixer not in REGIONS:
        return f"mixer: one of {', '.join(REGIONS)}, because method {method} compares regions; got '{mixer}'"
    if method in NEVER_MIX and mixer != "none":
        return (f"mixer: auto or none, because method {method} does not mix; got '{mixer}' (str). "
                f"Use method {NEVER_MIX[method]} to mix")
    if method in ALWAYS_MIX and mixer == "none":
        return (f"mixer: a mixer that mixes, because method {method} mixes; got 'none' (str). "
                f"Use method {ALWAYS_MIX[method]} for no mixing")
    return ""


def pairs():
    """Every method with every mixer that the parameters accept."""
    for method in METHODS:
        for mixer in MIXERS:
            if not expected_refusal(method, mixer):
                yield Pretrain.check(method=method, mixer=mixer).resolved()


@pytest.mark.parametrize("method", METHODS)
def test_the_other_pairs_are_refused_with_the_stated_reason(method):
    for mixer in (m for m in MIXERS if expected_refusal(method, m)):
        with pytest.raises(ParamError) as refused:
            Pretrain.check(method=method, mixer=mixer)
        assert str(refused.value).startswith(expected_refusal(method, mixer))


ACCEPTED = list(pairs())
NAMES = [f"{v['method']}-{v['mixer']}" for v in ACCEPTED]


class TinyEncoder(Encoder):
    """The real encoder's interface over an eighth of its width, so that the whole contract takes seconds."""

    def __init__(self):
        super().__init__("resnet10")
        widths = (3, 8, 8, 8, 8)
        layers = [torch.nn.Sequential(torch.nn.Conv2d(a, b, 3, 2, 1), torch.nn.BatchNorm2d(b), torch.nn.ReLU())
                  for a, b in zip((8, 8, 8, 8), widths[1:], strict=True)]
        self.stem, self.layers = torch.nn.Conv2d(3, 8, 3, 1, 1), torch.nn.ModuleList(layers)
        self.dim, self.widths = 8, widths[1:]


def make_mixer(name):
    """A mixer with its own defaults; one that needs a guide gets the map without parameters."""
    return MIXERS[name](guide_from=saliency) if MIXERS[name].needs_guide else MIXERS[name]()


def build(values, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method = METHODS[values["method"]]
        taken = inspect.signature(method).parameters
        arguments = {"num_classes": CLASSES} if method.needs_labels else {}
        arguments |= {name: value for name, value in SMALL.items() if name in taken}
        return method(TinyEncoder(), make_mixer(values["mixer"]), **arguments)


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
    torch.testing.assert_close(method(batch)["loss"], out["loss"], rtol=0, atol=0)


@pytest.mark.parametrize("values", ACCEPTED, ids=NAMES)
def test_after_step_leaves_what_gradients_move(values):
    """It changes slow copies and queues from what ``out`` holds detached; encoder, heads and BatchNorm stay."""
    method = build(values)
    out = method(make_batch(method, size=5))
    assert not [name for name, term in out.items() if term.requires_grad and name != "loss"]
    moving = {k for k, p in method.named_parameters() if p.requires_grad}
    state = {k: v.clone() for k, v in method.state_dict().items()}
    method.after_step(out)
    changed = {k for k, v in method.state_dict().items() if not torch.equal(v, state[k])}
    assert not changed & moving and not [k for k in changed if "running_" in k]
    keeps_keys = any(isinstance(m, Queue) for m in method.modules())
    assert keeps_keys == any(k.endswith("keys") for k in changed)


@pytest.mark.parametrize("values", ACCEPTED, ids=NAMES)
def test_state_is_whole(values):
    """Two copies that share a state_dict stay equal step after step."""
    first, second = build(values, 0), build(values, 1)
    second.load_state_dict(first.state_dict())
    for step in range(2):
        outs = [m(make_batch(m, step=step)) for m in (first, second)]
        assert outs[0]["loss"] == outs[1]["loss"]
        for method, out in zip((first, second), outs, strict=True):
            method.after_step(out)


@pytest.mark.parametrize("values", [v for v in ACCEPTED if v["mixer"] in ("none", "mixup")], ids=lambda v: v["method"])
def test_the_loss_falls_on_a_toy_set(values):
    """Against fixed keys of other images: as a queue fills with better ones, the loss rises while the method learns."""
    method = build(values)
    fixed = any(isinstance(m, Queue) for m in method.modules())
    for step in (1, 2) if fixed else ():
        method.after_step(method(make_batch(method, size=12, step=step)))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.05, momentum=0.9)
    batch, losses = make_batch(method, size=12), []
    for _ in range(30):
        out = method(batch)
        optimizer.zero_grad()
        out["loss"].backward()
        optimizer.step()
        if not fixed:
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


def test_cross_entropy_with_a_mixer_asks_for_both_labels_by_their_shares():
    method = build({"method": "cross_entropy", "mixer": "mixup"})
    batch = make_batch(method)
    (x,) = batch.views
    draw = method.mixer.draw(x, x, batch.key.child("mixer"))
    log = method.classifier(method.encoder(draw.apply(x, x))).log_softmax(1)
    terms = [draw.lam[i] * log[i, batch.labels[i]] + (1 - draw.lam[i]) * log[i, batch.labels[j]]
             for i, j in enumerate(draw.partner)]
    torch.testing.assert_close(method(batch)["loss"], -sum(terms) / 6)


@pytest.mark.parametrize("n_mix", [1, 2, 3])
def test_mixsupcon_mixes_view_with_view_and_never_an_image_with_itself(n_mix):
    views = tuple(torch.full((4, 1, 2, 2), float(10 * v)) + torch.arange(4.0).view(4, 1, 1, 1) for v in (1, 2))
    images, others, partner = pair_views(views, n_mix, Key(0))
    assert len(images) == len(others) == len(partner) == 4 * n_mix
    first, second = images[:, 0, 0, 0], others[partner][:, 0, 0, 0]
    assert ((first // 10) != (second // 10)).all() and ((first % 10) != (second % 10)).all()


def first_of_each(images):
    """(M,) bool: no image before it has the same pixels."""
    return torch.tensor([not any(torch.equal(x, y) for y in images[:i]) for i, x in enumerate(images)])


def contrasted(method, batch, monkeypatch, **settings):
    """The loss of a method, and its formula on the same projections and targets, each picture once; both by weight."""
    given, pictures = {}, []
    inner, encode = contrastive, method.encoder._run

    def spy(z, targets, temperature, **named):
        given.update(z=z, targets=targets)
        return inner(z, targets, temperature, **named)

    def look(images, others, draw):
        pictures.append(draw.apply(images, others))
        return encode(images, others, draw)

    monkeypatch.setattr(inspect.getmodule(type(method)), "contrastive", spy)
    monkeypatch.setattr(method.encoder, "_run", look)
    loss, weight = method(batch)["loss"], method.projector[0].weight
    kept = first_of_each(torch.cat(pictures))
    once = contrastive(given["z"][kept], given["targets"][kept], method.temperature, **settings)["loss"]
    found = [(value, torch.autograd.grad(value, weight, retain_graph=True)[0]) for value in (loss, once)]
    return *found, int((~kept).sum())


@pytest.mark.parametrize("name", ["simclr", "supcon", "mixsupcon", "gensupcon"])
@pytest.mark.parametrize("mixer", [Mixup(mix_prob=0.5), Mixup(alpha=1e-8), Mixup(alpha=1e-8, mix_prob=0.5)])
def test_a_picture_that_is_there_already_is_in_no_loss(name, mixer, monkeypatch):
    """Unmixed rows of three and more mixtures, and shares of 0: the same pixels are no positive of themselves."""
    method = build({"method": name, "mixer": "mixup"})
    method.mixer, settings = mixer, {}
    if name == "mixsupcon":
        method.n_mix, settings = 4, {"reading": "row"}
    if name == "gensupcon":
        settings = {"label_similarity": "cosine"}
    got, expected, copies = contrasted(method, make_batch(method, size=12), monkeypatch, **settings)
    assert copies or (mixer.alpha == 1 and name != "mixsupcon")  # of two views, an unmixed one has no copy
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_mix", [1, 2, 3, 5])
def test_mixsupcon_of_any_n_mix_is_supcon_once_mixing_stops(n_mix):
    """Loss and gradient; with n_mix 1 on the one view that it has."""
    method = stopped({"method": "mixsupcon", "mixer": "cutmix"}, n_mix=n_mix, reading="anchor")
    batch = make_batch(method, size=12)
    if n_mix == 1:
        z = method.projector(method.encoder(batch.views[0]))
        losses = [method(batch)["loss"], contrastive(z, batch.labels, method.temperature)["loss"]]
        return torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    supcon = build({"method": "supcon", "mixer": "none"})
    supcon.load_state_dict(method.state_dict())
    losses = [m(batch)["loss"] for m in (method, supcon)]
    torch.testing.assert_close(*losses, rtol=1e-6, atol=1e-6)
    for loss in losses:
        loss.backward()
    for ours, theirs in zip(method.parameters(), supcon.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_mixsupcon_that_mixes_nothing_is_supcon_on_its_projections():
    method, supcon = build({"method": "mixsupcon", "mixer": "mixup"}), build({"method": "supcon", "mixer": "none"})
    method.mixer, method.n_mix, method.reading = Mixup(mix_prob=0), 3, "anchor"
    supcon.load_state_dict(method.state_dict())
    batch = make_batch(method, size=12)
    losses = [m.eval()(batch)["loss"] for m in (method, supcon)]  # BatchNorm would see view 1 twice
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-6)


def test_a_large_lambda_of_mixsupcon_is_supcon():
    """With alpha so small that every share is 0 or 1, mixtures are images and their labels are hard."""
    method = build({"method": "mixsupcon", "mixer": "mixup"})
    method.mixer = MIXERS["mixup"](alpha=1e-8)
    batch = make_batch(method)
    images, others, partner = pair_views(batch.views, 2, batch.key)
    draw = method.mixer.draw(images, others, batch.key.child("mixer"), partner=partner)
    labels = torch.where(draw.lam == 1, batch.labels.repeat(2), batch.labels.repeat(2)[draw.partner])
    z = method.projector(method.encoder(draw.apply(images, others)))
    kept = first_of_each(draw.apply(images, others))
    expected = contrastive(z[kept], labels[kept], method.temperature, reading="row")["loss"]
    torch.testing.assert_close(method(batch)["loss"], expected)


def test_methods_are_built_from_parameters_alone():
    for method in METHODS:
        assert build_method(Pretrain.check(method=method).resolved(), 10).encoder.dim == 512


# Mixing that stops: the trainer puts NoMix in the place of the mixer, and every method that mixes goes on without.


def unmixed_loss(method, batch):
    """What the loss of a method is when nothing is mixed, written from its formula."""
    x1, x2 = batch.views[0], batch.views[-1]
    name = type(method).__name__
    if name == "MixSupCon":  # encodes both views at once
        z = method.projector(method.encoder(torch.cat([x1, x2])))
        return contrastive(z, batch.labels.repeat(2), method.temperature)["loss"]
    z1, z2 = (method.projector(method.encoder(x)) for x in (x1, x2))
    if name == "GenSupCon":
        return contrastive(torch.cat([z1, z2]), batch.labels.repeat(2), method.temperature)["loss"]
    if name == "SupMix":
        return pair_contrast(z1, z2, batch.labels, method.temperature).mean()
    k = method.key_branch(x2, batch.key)  # (B, proj_dim)
    if name == "MoCoMix":
        return 2 * info_nce(z1, k, method.queue.keys, method.temperature).mean()
    ids = torch.eye(len(x1))
    if name == "IMix":
        return soft_info_nce(z1, k, method.queue.keys, ids, method.temperature).mean()
    half = len(x1) // 2
    first = method.projector(method.encoder(x1[:half]))
    mixed = soft_info_nce(first, k, method.queue.keys, ids[:half], method.mix_temperature).mean()
    return info_nce(z1, k, method.queue.keys, method.temperature).mean() + method.mix_weight * mixed


def stopped(values, **changes):
    """A method built with its mixer, which NoMix then replaces."""
    method = build(values)
    for name, value in changes.items():
        setattr(method, name, value)
    method.mixer = NoMix()
    return method


STOPPING = [name for name, kind in METHODS.items() if not kind.needs_region and not hasattr(kind, "mixing_relatives")]


@pytest.mark.parametrize("name", STOPPING)
def test_every_method_that_mixes_goes_on_when_mixing_stops(name):
    Pretrain.check(method=name, mixer="cutmix", mix_until=0.5)
    method = stopped({"method": name, "mixer": "cutmix"})
    batch = make_batch(method, size=5)
    out = method(batch)
    out["loss"].backward()
    assert torch.isfinite(out["loss"]) and any(p.grad.abs().max() > 0 for p in method.encoder.stem.parameters())
    method.after_step(out)
    assert torch.isfinite(method(batch)["loss"])


@pytest.mark.parametrize("name", ["mixsupcon", "gensupcon", "supmix", "moco_mix", "imix", "mixco"])
def test_the_loss_without_mixing_is_its_unmixed_formula(name):
    method = stopped({"method": name, "mixer": "cutmix"}, **({"reading": "anchor"} if name == "mixsupcon" else {}))
    batch, mixed = make_batch(method), build({"method": name, "mixer": "cutmix"})
    expected = unmixed_loss(method, batch)
    torch.testing.assert_close(method(batch)["loss"], expected, rtol=1e-5, atol=1e-6)
    assert (mixed(batch)["loss"] - expected).abs() > 1e-3 * expected


@pytest.mark.parametrize("name", ["cross_entropy", "simclr", "supcon"])
def test_the_loss_without_mixing_is_that_of_mixer_none(name):
    method, plain = stopped({"method": name, "mixer": "mixup"}), build({"method": name, "mixer": "none"})
    batch = make_batch(method)
    assert method(batch)["loss"] == plain(batch)["loss"]


BASES = [("moco", {}), ("moco", {"symmetric": True}), ("moco", {"proj_depth": 1, "batchnorm": "plain"}),
         ("simclr", {}), ("byol", {}), ("simsiam", {})]


def with_its_base(base, given, monkeypatch):
    """unmix and its unmixed relative, both from parameters alone, over small encoders; and the values of each."""
    monkeypatch.setattr(inspect.getmodule(build_method), "Encoder", lambda *_: TinyEncoder())
    asked = {"method": "unmix", "base": base, "mixer": "cutmix", "mix_prob": 0.0, "batch_size": 8, "epochs": 2,
             "temperature": "auto", **given}
    asked |= {"queue_size": 16, "bn_splits": 2} if base == "moco" else {"proj_hidden": 16}
    asked |= {"predictor_hidden": 16} if base in ("byol", "simsiam") else {}
    values = [Pretrain.check(**one).resolved() for one in (asked, unmixed(asked))]
    return [build_method(one, 10) for one in values], values


@pytest.mark.parametrize("stop", [False, True], ids=["mix_prob 0", "past mix_until"])
@pytest.mark.parametrize(("base", "given"), BASES, ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict)
                         else v)
def test_unmix_without_mixing_is_its_base(base, given, stop, monkeypatch):
    """Weights, losses, learning rates and states of four steps, and what views and networks the parameters give."""
    methods, values = with_its_base(base, given, monkeypatch)
    assert values[1]["method"] == base and view_names(values[0]) == view_names(values[1]) == methods[0].views
    for name in ("crop_scale", "jitter"):
        assert values[0][name] == values[1][name]
    if stop:
        methods[0].mixer = NoMix()
    optimizers = [build_optimizer(m, v, torch.device("cpu")) for m, v in zip(methods, values, strict=True)]
    for step in range(4):
        batch, rates = replace(make_batch(methods[1], size=8, step=step), progress=step / 8), []
        losses = [m(batch) for m in methods]
        torch.testing.assert_close(losses[0]["loss"], losses[1]["loss"], rtol=1e-5, atol=1e-6)
        for method, out, optimizer in zip(methods, losses, optimizers, strict=True):
            optimizer.zero_grad()
            out["loss"].backward()
            for group in optimizer.param_groups:
                group["lr"] = 0.05 if group.get("constant_lr") else 0.01 * (4 - step)
            optimizer.step()
            method.after_step(out)
            rates.append([group["lr"] for group in optimizer.param_groups])
        states = [m.state_dict() for m in methods]
        assert rates[0] == rates[1] and states[0].keys() == states[1].keys()
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("base", ["moco", "simclr", "byol", "simsiam"])
def test_unmix_mixes_on_the_scale_of_its_base_whatever_the_coin_says(base, monkeypatch):
    """Mixtures that are the images themselves add the base's loss once more: as much weight for every image."""
    (method, plain), _ = with_its_base(base, {}, monkeypatch)
    batch = make_batch(plain, size=8)
    for coin in (0.0, 1.0):
        method.global_prob, method.mixer = coin, Mixup(mix_prob=1e-12)
        method.whole = method.mixer
        found = method(batch)["loss"]
        if base != "simclr":  # whose keys are encoded together with the clean queries, mixtures on their own
            torch.testing.assert_close(found, 2 * plain(batch)["loss"], rtol=1e-4, atol=1e-5)
        method.mixer = method.whole = Mixup()
        assert not torch.isclose(method(batch)["loss"], found, rtol=1e-4)


@pytest.mark.parametrize("base", ["moco", "simclr", "byol", "simsiam"])
def test_unmix_has_the_defaults_of_its_base(base):
    values, plain = ({**Pretrain.check(temperature="auto", **asked).resolved(), "mixer": None}
                     for asked in ({"method": "unmix", "base": base}, {"method": base}))
    assert {n: v for n, v in plain.items() if v != values[n]} == {
        "method": base, **dict.fromkeys(n for n, v in plain.items() if v is None and values[n] is not None)}
    with torch.random.fork_rng():
        made = METHODS["unmix"](TinyEncoder(), make_mixer("cutmix"), base=base)
        own = METHODS[base](TinyEncoder(), NoMix())
    assert [(n, p.shape) for n, p in made.named_parameters()] == [(n, p.shape) for n, p in own.named_parameters()]


def test_what_a_base_does_not_take_is_refused():
    for base in ("simclr", "byol", "simsiam"):
        with pytest.raises(ParamError, match=f"proj_depth: auto, because base {base} does not take it; got 3"):
            Pretrain.check(method="unmix", base=base, proj_depth=3)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in STOPPING])
def test_methods_that_could_not_go_on_refuse(name):
    with pytest.raises(ParamError, match=f"mix_until: auto or 1, because method {name} "):
        Pretrain.check(method=name, mix_until=0.5)


# A guide: the run's own encoder, or another


def test_the_methods_own_encoder_guides_as_it_is_at_each_step():
    values = Pretrain.check(method="moco_mix", mixer="attentivemix", batchnorm="split").resolved()
    method = build_method(values | {"queue_size": 64}, 10)
    assert method.mixer.guide_from.encoder is method.encoder
    assert method.state_dict().keys() == build_method(
        Pretrain.check(method="moco_mix", batchnorm="split").resolved() | {"queue_size": 64}, 10).state_dict().keys()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = method.mixer.guide_from(images)
    with torch.no_grad():
        method.encoder.layers[3][0].bn2.weight.mul_(3.0)
    assert not torch.allclose(method.mixer.guide_from(images), before)


def test_another_encoder_guides_without_being_part_of_the_method():
    values = Pretrain.check(mixer="pick", pick_from=["mixup", "attentivemix"]).resolved()
    guide = EncoderGuide(TinyEncoder())
    method = build_method(values, 10, guide=guide)
    assert method.mixer.pick_from[1].guide_from is guide
    assert not {id(p) for p in guide.encoder.parameters()} & {id(p) for p in method.parameters()}


@pytest.mark.parametrize("name", [n for n, kind in METHODS.items() if not hasattr(kind, "mixing_relatives")])
def test_a_guide_that_is_the_own_encoder_changes_nothing_but_the_mask(name):
    """The step with its maps, and the step with the same maps given as numbers: all that they leave is equal."""
    method, maps = build({"method": name, "mixer": "attentivemix"}), []
    other = build({"method": name, "mixer": "attentivemix"})
    guide = EncoderGuide(method.encoder)
    method.mixer = MIXERS["attentivemix"](guide_from=lambda x: maps.append(guide(x)) or maps[-1])
    other.mixer = MIXERS["attentivemix"](guide_from=lambda x: maps.pop(0))
    outs = [m(make_batch(m, size=5)) for m in (method, other)]
    assert outs[0]["loss"] == outs[1]["loss"] and method.encoder.training and not maps
    for out in outs:
        out["loss"].backward()
    states = [m.state_dict() for m in (method, other)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    grads = [[p.grad for p in m.encoder.parameters()] for m in (method, other)]
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))
