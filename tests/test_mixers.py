"""Laws that every mixer obeys, whatever the batch; then each mixer against a slow reference of its own."""

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mixlab.errors import ParamError
from mixlab.mixers import (
    MIXERS,
    CutMix,
    FMix,
    ManifoldMixup,
    Mixup,
    NoMix,
    Pick,
    ResizeMix,
    SaliencyMix,
    pair_views,
    pairs_shown_before,
    saliency,
)
from mixlab.mixers.grids import cell_means, shrink
from mixlab.rng import Key

every_mixer = pytest.mark.parametrize("name", MIXERS)
laws = settings(max_examples=20, deadline=None)
TOLERANCE = {torch.float32: 4e-6, torch.float64: 4e-12, torch.bfloat16: 2**-8}  # bfloat16 rounds by up to 2**-9
NAMES_THAT_MIX = [name for name in MIXERS if MIXERS[name].mixes]


def normal(seed, *shape, dtype=torch.float32):
    values = Key(seed, f"test {shape}").generator().normal(size=shape)
    return torch.from_numpy(values).to(dtype)


def build(name, **fields):
    """A mixer with those of the fields that it has."""
    known = {field.name for field in dataclasses.fields(MIXERS[name])}
    return MIXERS[name](**{field: value for field, value in fields.items() if field in known})


def mix(mixer, images, key, others=None, **arguments):
    others = images if others is None else others
    if mixer.needs_guide:
        arguments["guide"] = normal(key.seed, len(others), 1, *images.shape[-2:]).abs()
    return mixer(images, key, others=others, **arguments)


def same_bits(a, b):
    """Equal shape, type and bytes: tells -0.0 from 0.0."""
    bits = [x.contiguous().flatten().view(torch.uint8) for x in (a, b)]
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*bits)


@st.composite
def cases(draw, dtypes=tuple(TOLERANCE)):
    """Mixer fields, images, others of another view, and a key. Odd batches, one channel, images that are not square."""
    size = [draw(st.integers(*bounds)) for bounds in ((2, 7), (1, 3), (1, 11), (1, 11))]
    dtype, seed = draw(st.sampled_from(dtypes)), draw(st.integers(0, 2**32 - 1))
    fields = {"alpha": draw(st.sampled_from([1e-8, 0.2, 1.0, 4.0, 1e6])),
              "lam_per": draw(st.sampled_from(["sample", "batch"])), "mix_prob": draw(st.sampled_from([0.5, 1.0]))}
    views = [normal(seed + view, *size, dtype=dtype) for view in (0, 1)]
    return fields, *views, Key(seed, "laws")


# ---------------------------------------------------------------------------------------------------------------- laws


@every_mixer
@laws
@given(cases())
def test_share_is_the_mean_of_the_mask(name, case):
    fields, images, others, key = case
    mixed = mix(build(name, **fields), images, key, others)
    assert torch.isfinite(mixed.lam).all() and (mixed.lam >= 0).all() and (mixed.lam <= 1).all()
    assert (mixed.mask >= 0).all() and (mixed.mask <= 1).all()
    assert mixed.mask.shape == (len(images), 1, *images.shape[-2:])
    torch.testing.assert_close(mixed.lam.double(), mixed.mask.double().mean((1, 2, 3)), atol=1e-6, rtol=0)


@every_mixer
@laws
@given(cases())
def test_images_are_what_the_mask_says(name, case):
    fields, images, others, key = case
    mixed = mix(build(name, **fields), images, key, others)
    partner = others[mixed.partner].double()
    if mixed.draw.resized:
        partner = slow_shrink(partner, mixed.draw.box, images.shape[-2:]) / (1 - mixed.mask.double()).clamp(min=1e-9)
    expected = mixed.mask * images.double() + (1 - mixed.mask.double()) * partner
    tolerance = TOLERANCE[images.dtype]
    torch.testing.assert_close(mixed.images.double(), expected, atol=min(tolerance, 1e-5), rtol=tolerance)


@every_mixer
@laws
@given(cases())
def test_share_of_one_returns_the_input_bit_for_bit(name, case):
    fields, images, others, key = case
    images.view(-1)[0] = -0.0
    others.view(-1)[-1] = math.nan  # an image that has no part in the mixture must not leak into it
    draw = mix(build(name, **fields), images, key, others, lam=1.0).draw
    assert (draw.lam == 1).all()
    assert same_bits(draw.apply(images, others), images)
    for shape in ((5, 3, 4), (2, 7, 1), (4,)):  # feature maps on coarser and finer grids, vectors
        a, b = (normal(s, len(images), *shape, dtype=images.dtype) for s in (0, 1))
        assert same_bits(draw.apply(a, b), a)


@pytest.mark.parametrize("name", NAMES_THAT_MIX)
@laws
@given(cases())
def test_share_of_zero_returns_the_partner(name, case):
    fields, images, others, key = case
    mixed = mix(build(name, **fields), images, key, others, lam=0.0)
    assert (mixed.lam == 0).all() and torch.equal(mixed.images, others[mixed.partner])


@every_mixer
@laws
@given(cases())
def test_partners_are_a_permutation_without_self(name, case):
    fields, images, others, key = case
    partner = mix(build(name, **fields), images, key, others).partner
    assert partner.dtype == torch.int64 and sorted(partner.tolist()) == list(range(len(images)))
    assert not (partner == torch.arange(len(images))).any()


@every_mixer
@laws
@given(cases())
def test_same_key_same_result(name, case):
    fields, images, others, key = case
    first, second = (mix(build(name, **fields), images, key, others) for _ in range(2))
    for field in ("images", "lam", "partner", "mask"):
        assert same_bits(getattr(first, field), getattr(second, field))


@every_mixer
def test_another_key_another_result(name):
    images = normal(0, 32, 3, 8, 8)
    keys = [Key(0, "a"), Key(1, "a"), Key(0, "b"), Key(0, "a", 1), Key(0, "a", 0, 1)]
    results = [mix(MIXERS[name](), images, key) for key in keys]
    assert len({tuple(mixed.partner.tolist()) for mixed in results}) == len(keys)
    if MIXERS[name].mixes:
        assert len({tuple(mixed.lam.tolist()) for mixed in results}) == len(keys)


@every_mixer
@laws
@given(cases())
def test_inputs_are_untouched_and_dtype_is_kept(name, case):
    fields, images, others, key = case
    before = images.clone(), others.clone()
    mixed = mix(build(name, **fields), images, key, others)
    mixed.images.add_(1)  # the result is the caller's own, not a view of an input
    assert same_bits(images, before[0]) and same_bits(others, before[1])
    assert mixed.images.shape == images.shape
    assert (mixed.images.dtype, mixed.images.device) == (images.dtype, images.device)
    assert mixed.lam.dtype == mixed.mask.dtype == torch.float32


@every_mixer
def test_channels_last_is_kept(name):
    images = normal(0, 4, 3, 8, 8).to(memory_format=torch.channels_last)
    mixed = mix(MIXERS[name](), images, Key(0))
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)


@every_mixer
@laws
@given(cases())
def test_targets_are_shares_of_labels(name, case):
    fields, images, others, key = case
    mixed = mix(build(name, **fields), images, key, others)
    labels, other_labels = torch.arange(len(images)) % 3, torch.arange(len(images)) % 4
    targets = mixed.targets(labels, 5, other_labels)
    slow = torch.zeros(len(images), 5, dtype=torch.float64)
    for i, (lam, partner) in enumerate(zip(mixed.lam.tolist(), mixed.partner.tolist(), strict=True)):
        slow[i, labels[i]] += lam
        slow[i, other_labels[partner]] += 1 - lam
    assert targets.dtype == torch.float32
    torch.testing.assert_close(targets.double(), slow, atol=1e-6, rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(len(images)), atol=1e-6, rtol=0)
    assert torch.equal(mixed.targets(labels, 5), mixed.draw.targets(labels, 5, labels))


def rounding(mixer, draw, lam, height, width):
    """How far the measured share may be from the wanted one: whole sides, cells or pixels."""
    if draw.box is not None:
        side = math.sqrt(1 - lam)
        return side / height + side / width + 1 / (height * width)
    if hasattr(mixer, "grid"):  # half a cell, and cells are not all of one size
        rows, columns = (np.bincount(slow_cells(min(mixer.grid, n), n)) / n for n in (height, width))
        cells = np.outer(rows, columns)
        return 0.5 / cells.size + np.abs(cells - 1 / cells.size).sum() / 2
    return 0.5 / (height * width) if isinstance(mixer, FMix) else 0


def slow_cells(count, size):
    """Which of ``count`` cells the middle of each of ``size`` pixels lies in."""
    middles = [Fraction(2 * y + 1, 2 * size) for y in range(size)]
    return [next(c for c in range(count) if middle < Fraction(c + 1, count)) for middle in middles]


@every_mixer
@laws
@given(cases(dtypes=(torch.float32,)), st.floats(0, 1))
def test_a_fixed_share_is_honoured_up_to_whole_pixels(name, case, lam):
    fields, images, others, key = case
    mixer = build(name, **{**fields, "mix_prob": 0.0})
    if not mixer.mixes:
        return
    height, width = images.shape[-2:]
    mixed = mix(mixer, images, key, others, lam=lam)
    assert (mixed.lam - lam).abs().max() <= rounding(mixer, mixed.draw, lam, height, width) + 1e-6
    each = np.linspace(0, 1, len(images))
    wanted = mix(mixer, images, key, others, lam=torch.from_numpy(each)).lam
    assert torch.equal(wanted, mix(mixer, images, key, others, lam=each).lam)
    assert wanted[0] == 0 and wanted[-1] == 1


@every_mixer
@pytest.mark.parametrize("partner", ["permute", "reverse"])
def test_a_batch_of_one_is_refused_by_name(name, partner):
    with pytest.raises(ParamError, match=r"images: a batch of at least 2 images.*got 1 \(int\)"):
        mix(MIXERS[name](), normal(0, 1, 3, 8, 8), Key(0), partner=partner)


@every_mixer
def test_integer_pixels_are_refused_by_name(name):
    pixels = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ParamError, match=r"images: a floating-point tensor.*torch.uint8"):
        MIXERS[name]()(pixels, Key(0))


@every_mixer
def test_reverse_same_and_given_partners(name):
    images, mixer = normal(0, 5, 1, 4, 4), MIXERS[name]()
    assert mix(mixer, images, Key(0), partner="reverse").partner.tolist() == [4, 3, 2, 1, 0]
    assert mix(mixer, images, Key(0), partner="same").partner.tolist() == [0, 1, 2, 3, 4]
    assert mix(mixer, images[:1], Key(0), partner="same").images.shape == (1, 1, 4, 4)
    given = np.array([2, 0, 1, 1, 2])
    assert mix(mixer, images, Key(0), others=images[:3], partner=given).partner.tolist() == given.tolist()


@pytest.mark.parametrize("name", NAMES_THAT_MIX)
def test_per_batch_is_one_draw_for_all(name):
    images = normal(0, 8, 3, 16, 16)
    for seed in range(5):
        assert len(set(mix(build(name, lam_per="sample"), images, Key(seed)).lam.tolist())) > 1
        batch = mix(build(name, lam_per="batch"), images, Key(seed))
        if name not in ("saliencymix", "attentivemix"):  # each image's own map says where
            assert (batch.mask == batch.mask[:1]).all()
    shares = [mix(build(name, lam_per="batch"), images, Key(seed)).lam[0].item() for seed in range(5)]
    assert len(set(shares)) > 2


@pytest.mark.parametrize("name", NAMES_THAT_MIX)
def test_mix_prob_is_the_part_that_is_mixed(name):
    images = torch.zeros(600, 1, 16, 16)
    assert (mix(build(name, mix_prob=0.0), images, Key(3)).lam == 1).all()
    part = (mix(build(name, mix_prob=0.25, alpha=4.0), images, Key(3)).lam < 1).float().mean()
    assert abs(part - 0.25) < 0.08
    mixer = build(name, mix_prob=0.5, alpha=4.0, lam_per="batch")
    batches = [mix(mixer, images[:4], Key(seed)).lam < 1 for seed in range(80)]
    assert all(mixed.all() or not mixed.any() for mixed in batches)
    assert 20 < sum(mixed.all().item() for mixed in batches) < 60


class NoHostReads(TorchDispatchMode):
    """Fails on operations that would make the host wait for a GPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not any(word in str(func) for word in ("_local_scalar_dense", "nonzero", "masked_select", "aten.equal"))
        places = args[1] if "aten.index.Tensor" in str(func) or "aten.index_put" in str(func) else []
        assert not any(at is not None and at.dtype == torch.bool for at in places)  # the host would count them
        return func(*args, **(kwargs or {}))


@every_mixer
def test_nothing_is_read_back_from_the_device(name):
    images, labels = normal(0, 5, 3, 12, 8), torch.arange(5)
    with NoHostReads():
        mixed = mix(MIXERS[name](), images, Key(0))
        mixed.targets(labels, 5)
        mixed.draw.apply(normal(1, 5, 2, 5, 3), normal(2, 5, 2, 5, 3))
    with pytest.raises(AssertionError), NoHostReads():
        mixed.lam[0].item()
    with pytest.raises(AssertionError), NoHostReads():
        mixed.lam[mixed.lam < 2]


@every_mixer
def test_autocast_does_not_lower_the_precision_of_mixing(name):
    images, a, b = normal(0, 6, 3, 41, 41), normal(1, 6, 4, 7, 7), normal(2, 6, 4, 7, 7)
    lam = 0.3 if MIXERS[name].mixes else None
    plain = mix(MIXERS[name](), images, Key(0), lam=lam)
    features = plain.draw.apply(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = mix(MIXERS[name](), images, Key(0), lam=lam)
        assert same_bits(under.images, plain.images) and same_bits(under.mask, plain.mask)
        assert same_bits(under.draw.apply(a, b), features)


@every_mixer
def test_low_precision_features_are_mixed_in_float32(name):
    draw = mix(MIXERS[name](), normal(0, 6, 3, 41, 41), Key(0)).draw
    a, b = (normal(seed, 6, 4, 7, 7, dtype=torch.bfloat16) for seed in (1, 2))
    assert same_bits(draw.apply(a, b), draw.apply(a.float(), b.float()).bfloat16())


@every_mixer
def test_mixing_features_is_differentiable(name):
    draw = mix(MIXERS[name](), normal(0, 4, 3, 8, 8), Key(1)).draw
    a, b = (normal(seed, 4, 2, 3, 3, dtype=torch.float64).requires_grad_() for seed in (1, 2))
    draw.apply(a, b).sum().backward()
    share = draw.cells(3, 3).double().expand_as(a)
    torch.testing.assert_close(a.grad, share, atol=1e-6, rtol=0)  # d/da is the weight of a
    total = a.grad.sum() + b.grad.sum()
    torch.testing.assert_close(total, torch.tensor(float(a.numel()), dtype=torch.float64), atol=1e-4, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: draws on the CPU only")
@every_mixer
def test_a_gpu_sees_the_draws_of_the_cpu(name):
    images = normal(0, 7, 3, 20, 12)
    here, there = mix(MIXERS[name](), images, Key(5)), mix(MIXERS[name](), images.cuda(), Key(5))
    assert there.images.is_cuda and torch.equal(here.partner, there.partner.cpu())
    assert torch.equal(here.mask, there.mask.cpu()) and torch.equal(here.lam, there.lam.cpu())
    torch.testing.assert_close(here.images, there.images.cpu(), atol=1e-5, rtol=1e-5)
    assert same_bits(mix(MIXERS[name](), images.cuda(), Key(5), lam=1.0).images.cpu(), images)


def test_facts():
    for name, mixer in MIXERS.items():
        assert mixer.mixes == (name != "none")
        assert mixer.has_alpha == any(field.name == "alpha" for field in dataclasses.fields(mixer))
        draw = mix(mixer(), normal(0, 4, 3, 8, 8), Key(0)).draw
        assert draw.region == mixer.has_region or mixer is Pick  # which promises no region, and may have one
        assert mixer.mask_says_all == (name not in ("manifold", "resizemix"))
        assert mixer.needs_guide == (name == "attentivemix")
        shared = {"lam_per", "mix_prob"} & {field.name for field in dataclasses.fields(mixer)}
        assert len(shared) == (2 if mixer.mixes else 0)


def test_defaults_are_the_papers():
    assert (Mixup().alpha, CutMix().alpha, ManifoldMixup().alpha, SaliencyMix().alpha) == (1, 1, 2, 1)
    assert ResizeMix().scale == (0.1, 0.8) and ManifoldMixup().layers == (0, 1, 2)
    assert (FMix().alpha, FMix().decay, Pick().alpha) == (1, 3, 1)
    assert Pick().pick_from == (Mixup(), CutMix()) and Pick().pick_per == "batch"


# -------------------------------------------------------------------------------------------------------------- shares


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_shares_follow_the_beta_law(alpha):
    lam = Mixup(alpha).draw(*[torch.zeros(20000, 1, 1, 1)] * 2, Key(1)).lam.double()
    assert abs(lam.mean() - 0.5) < 0.01
    assert abs(lam.var() - 1 / (4 * (2 * alpha + 1))) < 0.005


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-8])
def test_tiny_alpha_tosses_a_coin(alpha):
    lam = Mixup(alpha).draw(*[torch.zeros(4000, 1, 1, 1)] * 2, Key(1)).lam
    assert ((lam == 0) | (lam == 1)).all() and abs(lam.mean() - 0.5) < 0.04


def test_huge_alpha_mixes_half_and_half():
    lam = Mixup(1e6).draw(*[torch.zeros(4000, 1, 1, 1)] * 2, Key(1)).lam
    assert (lam - 0.5).abs().max() < 0.01


@pytest.mark.parametrize("alpha", [0, -1.0, math.nan, math.inf, 1.1e6, True, "1", None])
@pytest.mark.parametrize("name", [name for name in MIXERS if MIXERS[name].has_alpha])
def test_bad_alpha_is_refused_by_name(name, alpha):
    with pytest.raises(ParamError, match=r"^alpha: a finite number"):
        MIXERS[name](alpha=alpha)


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(ParamError) as caught:
        ManifoldMixup(alpha=0, lam_per="batches", mix_prob=1.5, layers=(0, 7))
    message = str(caught.value)
    assert [line.split(":")[0] for line in message.splitlines()] == ["layers", "alpha", "lam_per", "mix_prob"]
    assert 'Did you mean "batch"' in message


@pytest.mark.parametrize("layers", [(), (0, 0), (5,), (1.0,), 1, (True,)])
def test_bad_layers_are_refused(layers):
    with pytest.raises(ParamError, match=r"^layers"):
        ManifoldMixup(layers=layers)


@pytest.mark.parametrize("scale", [(0, 0.5), (0.5, 0.1), (0.1, 1.5), (0.1,), 0.5, (0.1, math.nan)])
def test_bad_scales_are_refused(scale):
    with pytest.raises(ParamError, match=r"^scale"):
        ResizeMix(scale=scale)


@pytest.mark.parametrize("lam", [-0.1, 1.1, math.nan, "0.5", True, [0.5, 0.5], [0.1, 0.2, 2.0]])
def test_bad_fixed_shares_are_refused(lam):
    for mixer in MIXERS.values():
        with pytest.raises(ParamError, match=r"^lam: "):
            mix(mixer(), torch.zeros(3, 1, 4, 4), Key(0), lam=lam)


def test_no_mix_refuses_a_share():
    with pytest.raises(ParamError, match="lam: 1 or None"):
        NoMix()(torch.zeros(3, 1, 4, 4), Key(0), lam=0.5)


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("arguments, name", [
    ({"partner": "permut"}, "partner: one of permute"),
    ({"partner": np.array([0, 1, 4])}, r"partner\[2\]"),
    ({"partner": np.array([0, -1, 2])}, r"partner\[1\]"),
    ({"partner": np.array([0, 1])}, "partner"),
    ({"partner": np.array([0.0, 1.0, 2.0])}, "partner"),
    ({"partner": [0, 1, 2]}, "partner"),
    ({"others": torch.zeros(4, 1, 4, 4)}, "others: 3 images"),
    ({"others": torch.zeros(4, 1, 4, 4), "partner": "same"}, "others: 3 images"),
    ({"others": torch.zeros(3, 1, 4, 5)}, r"others: a tensor \(B2, 1, 4, 4\)"),
    ({"others": torch.zeros(3, 1, 4, 4).double()}, "others: a tensor"),
    ({"guide": torch.zeros(3, 1, 4, 4)}, "guide: None, because Mixup takes no guide"),
])
def test_bad_arguments_are_refused_by_name(arguments, name):
    with pytest.raises(ParamError, match=rf"^{name}"):
        Mixup()(torch.zeros(3, 1, 4, 4), Key(0), **arguments)


@pytest.mark.parametrize("images", [torch.zeros(3, 4, 4), torch.zeros(3, 1, 0, 4), np.zeros((3, 1, 4, 4))])
def test_bad_images_are_refused_by_name(images):
    with pytest.raises(ParamError, match=r"^images: a floating-point tensor"):
        Mixup()(images, Key(0))


@pytest.mark.parametrize("guide", [torch.zeros(2, 1, 4, 4), torch.zeros(3, 2, 4, 4), torch.zeros(3, 4, 4)])
def test_bad_guides_are_refused_by_name(guide):
    with pytest.raises(ParamError, match=r"^guide: a floating-point tensor \(3, 1, h, w\)"):
        SaliencyMix()(torch.zeros(3, 1, 4, 4), Key(0), guide=guide)


def test_apply_refuses_what_does_not_fit():
    draw = CutMix().draw(*[torch.zeros(3, 1, 4, 4)] * 2, Key(0))
    good = torch.zeros(3, 2, 2, 2)
    for a in (good[:2], good[0], good.long()):
        with pytest.raises(ParamError, match=r"^a: "):
            draw.apply(a, good)
    for b in (good[:2], good[:, :1], good.double()):
        with pytest.raises(ParamError, match=r"^b: "):
            draw.apply(good, b)


def test_targets_refuse_what_does_not_fit():
    draw = Mixup().draw(*[torch.zeros(3, 1, 4, 4)] * 2, Key(0))
    labels = torch.arange(3)
    for bad in (labels[:2], labels.float(), labels[:, None], labels > 0, [0, 1, 2]):
        with pytest.raises(ParamError, match=r"^labels: an integer tensor"):
            draw.targets(bad, 3)
        with pytest.raises(ParamError, match=r"^other_labels: an integer tensor"):
            draw.targets(labels, 3, bad)
    for bad in (0, 3.0, True):
        with pytest.raises(ParamError, match=r"^num_classes"):
            draw.targets(labels, bad)


# -------------------------------------------------------------------------------------------------------------- blends


def test_manifold_draws_its_layers_evenly():
    images = torch.zeros(2, 1, 2, 2)
    layers = [ManifoldMixup(layers=(0, 1, 3)).draw(images, images, Key(seed)).layer for seed in range(600)]
    counts = [layers.count(layer) for layer in (0, 1, 3)]
    assert sum(counts) == 600 and all(abs(count - 200) < 60 for count in counts)


@laws
@given(cases())
def test_manifold_mixes_features_by_its_share(case):
    fields, images, others, key = case
    draw = ManifoldMixup(**fields).draw(images, others, key)
    assert all((mask == draw.lam[:, None, None, None]).all() for mask in (draw.mask, draw.cells(3, 2)))
    a, b = (normal(seed, len(images), 4, 3, 2, dtype=torch.float64) for seed in (0, 1))
    lam = draw.lam.double()[:, None, None, None]
    torch.testing.assert_close(draw.apply(a, b), lam * a + (1 - lam) * b[draw.partner])
    vectors = draw.apply(a.flatten(1), b.flatten(1))  # the same mixture, pooled or flattened first
    torch.testing.assert_close(vectors.view_as(a), draw.apply(a, b))


def test_features_after_pooling_are_mixed_by_the_share():
    draw = CutMix().draw(*[torch.zeros(4, 1, 6, 6)] * 2, Key(2))
    a, b = torch.ones(4, 5), torch.zeros(4, 5)
    torch.testing.assert_close(draw.apply(a, b), draw.lam[:, None].expand(4, 5))


# ------------------------------------------------------------------------------------------------------------- regions


@pytest.mark.parametrize("size", [(8, 20), (21, 9), (32, 32)])
def test_cutmix_is_a_box_pasted_pixel_by_pixel(size):
    images, others, key = normal(0, 40, 2, *size), normal(1, 40, 2, *size), Key(7, "loop")
    mixed = CutMix(alpha=0.8)(images, key, others)
    lam = key.child("lam").generator().beta(0.8, 0.8, size=40)
    centres = key.child("box").generator().random((2, 40))
    for i, partner in enumerate(mixed.partner.tolist()):
        expected, cut = images[i].clone(), 0
        height, width = (round(math.sqrt(1 - lam[i]) * n) for n in size)
        top, left = int(centres[0, i] * size[0]) - height // 2, int(centres[1, i] * size[1]) - width // 2
        for y in range(max(top, 0), min(top + height, size[0])):
            for x in range(max(left, 0), min(left + width, size[1])):
                expected[:, y, x] = others[partner, :, y, x]
                cut += 1
        assert torch.equal(mixed.images[i], expected)
        assert mixed.lam[i].item() == pytest.approx(1 - cut / (size[0] * size[1]), abs=1e-7)


def test_cutmix_area_law():
    # alpha 1: 1 - lam = u is uniform, and a side r = sqrt(u) around a uniform centre keeps r - r^2/4 of itself inside.
    lam = CutMix().draw(*[torch.zeros(20000, 1, 64, 64)] * 2, Key(0)).lam
    assert abs(1 - lam.mean() - (1 / 2 - 1 / 5 + 1 / 48)) < 0.01


def test_boxes_of_a_batch_differ():
    boxes = CutMix().draw(*[torch.zeros(50, 1, 32, 32)] * 2, Key(0)).box
    assert len({tuple(box) for box in boxes.tolist()}) > 40


def test_a_fixed_share_keeps_the_box_inside():
    for mixer in (CutMix(), SaliencyMix(), ResizeMix()):
        images = normal(0, 200, 1, 10, 20)
        box = mixer.draw(images, images, Key(0), lam=0.51).box  # sides 0.7 of the image's
        assert (box[:, 2] - box[:, 0] == 7).all() and (box[:, 3] - box[:, 1] == 14).all()
        assert (box >= 0).all() and (box[:, 2] <= 10).all() and (box[:, 3] <= 20).all()


@laws
@given(cases(), st.integers(1, 9), st.integers(1, 9))
def test_cells_are_areas_found_by_fine_upsampling(case, height, width):
    fields, images, others, key = case
    draw = CutMix(**fields).draw(images, others, key)
    fine = draw.mask.double().repeat_interleave(height, 2).repeat_interleave(width, 3)  # (M,1,H h,W w)
    areas = F.avg_pool2d(fine, images.shape[-2:])  # (M,1,h,w)
    torch.testing.assert_close(draw.cells(height, width).double(), areas, atol=1e-6, rtol=0)
    torch.testing.assert_close(draw.cells(height, width).mean((1, 2, 3)), draw.lam, atol=1e-6, rtol=0)
    a, b = (normal(seed, len(images), 2, height, width, dtype=torch.float64) for seed in (0, 1))
    expected = areas * a + (1 - areas) * b[draw.partner]
    torch.testing.assert_close(draw.apply(a, b), expected, atol=1e-5, rtol=1e-5)


def test_cells_equal_mean_pooling_where_sizes_divide():
    mask = torch.rand(5, 1, 12, 8)
    torch.testing.assert_close(cell_means(mask, 3, 4), F.avg_pool2d(mask, (4, 2)))


def test_a_mask_of_ones_has_cells_of_exactly_one():
    for size in (7, 28, 49, 224):
        for cells in (1, 3, 7, 14, 300):
            assert (cell_means(torch.ones(1, 1, size, size), cells, cells) == 1).all()
            assert (cell_means(torch.zeros(1, 1, size, size), cells, cells) == 0).all()


def slow_shrink(maps, box, size):
    """Each map as a picture of constant squares, shrunk into its box and averaged over cells, in exact fractions."""
    small = []
    for one, (top, left, bottom, right) in zip(maps.double(), box.tolist(), strict=True):
        rows = slow_weights(top, bottom, one.shape[1], size[0])
        columns = slow_weights(left, right, one.shape[2], size[1])
        small.append(torch.stack([rows @ channel @ columns.T for channel in one]))
    return torch.stack(small)


def slow_weights(low, high, cells, size):
    weights = [[float(slow_overlap(i, j, low, high, cells, size)) for j in range(cells)] for i in range(cells)]
    return torch.tensor(weights, dtype=torch.float64)


def slow_overlap(i, j, low, high, cells, size):
    """Part of target cell i that shows source cell j, when [0, size) is shrunk into [low, high)."""
    cell, shrinking = Fraction(size, cells), Fraction(high - low, size)
    shown = low + j * cell * shrinking, low + (j + 1) * cell * shrinking  # where source cell j comes to lie, pixels
    return max(Fraction(0), min((i + 1) * cell, shown[1]) - max(i * cell, shown[0])) / cell


@laws
@given(cases(dtypes=(torch.float64,)), st.integers(1, 6), st.integers(1, 6))
def test_resizemix_on_feature_grids(case, height, width):
    _, images, others, key = case
    draw = ResizeMix().draw(images, others, key)
    a, b = (normal(seed, len(images), 2, height, width, dtype=torch.float64) for seed in (0, 1))
    expected = draw.cells(height, width) * a + slow_shrink(b[draw.partner], draw.box, images.shape[-2:])
    torch.testing.assert_close(draw.apply(a, b), expected, atol=1e-5, rtol=1e-5)
    ones = torch.ones_like(a)
    torch.testing.assert_close(draw.apply(ones, ones), ones, atol=1e-6, rtol=0)  # weights sum to 1 in every cell


def test_resizemix_is_mean_pooling_where_sizes_divide():
    images = normal(0, 3, 2, 12, 8)
    box = torch.tensor([[3, 1, 9, 5]]).expand(3, 4)  # half of each side
    small = shrink(images, box, (12, 8))
    torch.testing.assert_close(small[:, :, 3:9, 1:5], F.avg_pool2d(images, 2))
    small[:, :, 3:9, 1:5] = 0
    assert (small == 0).all()


def test_resizemix_scales_and_places():
    images = torch.zeros(5000, 1, 20, 40)
    box = ResizeMix(scale=(0.2, 0.6)).draw(images, images, Key(0)).box
    sides = (box[:, 2:] - box[:, :2]).double()
    assert (sides[:, 0] >= 4).all() and (sides[:, 0] <= 12).all() and (sides[:, 1] <= 24).all()
    assert ((sides[:, 0] / 20).mean() - 0.4).abs() < 0.01 and (sides[:, 1] - 2 * sides[:, 0]).abs().max() <= 1
    assert box.min() == 0 and box[:, 2].max() == 20 and box[:, 3].max() == 40  # borders are reached, never crossed
    place = box[:, 0] / (20 - sides[:, 0])
    assert abs(place.mean() - 0.5) < 0.02
    tiny = torch.zeros(50, 1, 3, 3)
    assert (ResizeMix(scale=(0.01, 0.01)).draw(tiny, tiny, Key(0)).lam < 1).all()  # never an empty box


# ------------------------------------------------------------------------------------------------------------ saliency


def blobs(seed, count, size):
    """Noise with a bright spot of 5x5 pixels each; and where its middle is."""
    images, middle = normal(seed, count, 3, *size) * 0.1, []
    for i, (y, x) in enumerate(Key(seed, "blobs").generator().integers(4, np.array(size) - 4, size=(count, 2))):
        images[i, :, y - 2:y + 3, x - 2:x + 3] += 3.0 * (-1) ** i  # dark ones too
        middle.append((y, x))
    return images, np.array(middle)


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_saliencymix_pastes_the_blob_of_the_partner(size):
    others, middle = blobs(0, 40, size)
    draw = SaliencyMix().draw(normal(1, 40, 3, *size), others, Key(2), lam=0.9)  # sides 0.32 of the image's
    for (top, left, bottom, right), partner in zip(draw.box.tolist(), draw.partner.tolist(), strict=True):
        y, x = middle[partner]
        assert top <= y < bottom and left <= x < right


def test_saliency_is_local_contrast_not_brightness():
    ramp = torch.linspace(-1.5, 1.5, 32).expand(1, 3, 32, 32).clone()  # brightest at the right border
    ramp[..., 10:15, 8:13] += 2.0  # hardly brighter than the border
    row, column = divmod(saliency(ramp).argmax().item(), 32)
    assert abs(row - 12) <= 4 and abs(column - 10) <= 4


def test_autocast_does_not_lower_the_precision_of_saliency():
    images, _ = blobs(1, 3, (32, 32))
    plain = saliency(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same_bits(saliency(images), plain)


def test_saliency_peaks_inside_the_image():
    maps = saliency(normal(0, 100, 3, 32, 32))
    assert (maps[:, :, 1:-1, 1:-1].amax((1, 2, 3)) == maps.amax((1, 2, 3))).all()


def test_saliency_of_an_image_does_not_depend_on_its_batch():
    images, _ = blobs(3, 6, (32, 32))
    assert saliency(images).shape == (6, 1, 32, 32) and (saliency(images) >= 0).all()
    torch.testing.assert_close(saliency(images)[4:5], saliency(images[4:5]))
    torch.testing.assert_close(saliency(images * 2 + 5), saliency(images) * 2, rtol=1e-3, atol=1e-2)  # contrast only


def test_guide_overrides_the_map():
    images, guide = normal(0, 4, 3, 16, 16), torch.zeros(4, 1, 16, 16)
    peaks = [(2, 13), (8, 8), (13, 3), (5, 10)]
    for i, (y, x) in enumerate(peaks):
        guide[i, 0, y, x] = 1
    draw = SaliencyMix().draw(images, images, Key(0), guide=guide)
    for (top, left, bottom, right), partner in zip(draw.box.tolist(), draw.partner.tolist(), strict=True):
        y, x = peaks[partner]
        assert (top <= y < bottom and left <= x < right) or top == bottom or left == right
        if top > 0 and bottom < 16:
            assert top == y - (bottom - top) // 2
    coarse = F.max_pool2d(guide, 4)  # a map from a feature grid: the box is around the middle of the best cell
    box = SaliencyMix().draw(images, images, Key(0), partner="same", guide=coarse, lam=1 - 1 / 256).box
    assert box[:, :2].tolist() == [[2, 14], [10, 10], [14, 2], [6, 10]]


# --------------------------------------------------------------------------------------------------------------- pairs


@given(st.integers(2, 9), st.integers(1, 5), st.integers(2, 3), st.integers(0, 2**32 - 1))
@laws
def test_pair_views_pairs_different_views_of_different_images(size, n_mix, count, seed):
    tags = torch.arange(size).float()[:, None, None, None]
    views = tuple(torch.cat([tags, torch.full_like(tags, view)], 1) for view in range(count))  # (B,2,1,1)
    images, others, partner = pair_views(views, n_mix, Key(seed))
    assert images.shape == others.shape == (n_mix * size, 2, 1, 1) and partner.dtype == np.int64
    second = others[torch.from_numpy(partner)]
    assert (images[:, 0] != second[:, 0]).all() and (images[:, 1] != second[:, 1]).all()
    for k in range(n_mix):
        block = slice(k * size, (k + 1) * size)
        assert (images[block, 1] == k % count).all() and (second[block, 1] == (k + 1) % count).all()
        assert sorted(second[block, 0].flatten().tolist()) == list(range(size))
    labels = torch.arange(size).repeat(n_mix)
    targets = Mixup().draw(images, others, Key(seed), partner=partner, lam=0.25).targets(labels, size)
    assert torch.equal(targets.argmax(1), second[:, 0].flatten().long())


def test_pair_views_draws_a_cycle_for_each_block():
    view = torch.zeros(50, 1, 1, 1)
    partner = pair_views((view, view), 2, Key(0))[2]
    assert (partner[:50] != partner[50:] - 50).any()
    assert (partner == pair_views((view, view), 2, Key(0))[2]).all()
    assert (partner != pair_views((view, view), 2, Key(1))[2]).any()


@given(st.integers(2, 6), st.integers(1, 5), st.integers(2, 3), st.integers(0, 2**32 - 1))
@laws
def test_mixtures_shown_before_are_those_with_the_pixels_of_one_before(size, n_mix, count, seed):
    views = torch.arange(1.0, count * size + 1).view(count, size, 1, 1, 1)  # every image another value
    images, others, partner = pair_views(tuple(views), n_mix, Key(seed))
    lam = np.random.default_rng(seed).choice([0, 0.25, 1], n_mix * size)
    draw = Mixup().draw(images, others, Key(seed), partner=partner, lam=lam)
    pixels, seen, expected = draw.apply(images, others).flatten().tolist(), set(), []
    for value, share in zip(pixels, lam, strict=True):
        expected.append(share in (0, 1) and value in seen)
        seen |= {value} if share in (0, 1) else set()
    assert pairs_shown_before(draw, size, count).tolist() == expected


def test_pair_views_refuses_what_it_cannot_pair():
    view = torch.zeros(4, 1, 2, 2)
    bad_views = ((view,), 1), ((view, view[:3]), 1), ((view[:1], view[:1]), 1)
    bad_counts = ((view, view), 0), ((view, view), 1.0)
    for (views, n_mix), name in [(bad, "views") for bad in bad_views] + [(bad, "n_mix") for bad in bad_counts]:
        with pytest.raises(ParamError, match=rf"^{name}: "):
            pair_views(views, n_mix, Key(0))
