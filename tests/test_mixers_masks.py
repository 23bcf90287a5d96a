"""Mixers whose region is no box, and mixers made of others: each against a slow reference of its own."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_mixers import NoHostReads, cases, laws, normal, same_bits, slow_cells

from mixlab.encoders import Encoder
from mixlab.errors import ParamError
from mixlab.mixers import (
    AttentiveMix,
    CutMix,
    EncoderGuide,
    FMix,
    GridMix,
    ManifoldMixup,
    Mixup,
    NoMix,
    Pick,
    ResizeMix,
    SaliencyMix,
    SmoothMix,
    draw_larger,
    saliency,
)
from mixlab.mixers.grids import pool, spread
from mixlab.momentum import with_batchnorm
from mixlab.rng import Key

SIZES = [(8, 12), (9, 7), (16, 16)]


def blank(count, *size):
    return torch.zeros(count, 1, *size)


# ---------------------------------------------------------------------------------------------------------------- fmix


def slow_grey(drawn, size, decay):
    """The inverse Fourier transform as a sum of waves: drawn (H, W//2+1, 2) are real and imaginary parts."""
    height, width = size
    y, x = np.arange(height)[:, None], np.arange(width)
    grey = np.zeros(size)
    for row in range(height):
        for column in range(width // 2 + 1):
            fy = row / height if row < (height + 1) // 2 else row / height - 1
            scale = max(math.hypot(fy, column / width), 1 / max(size)) ** -decay
            alone = column in (0, width / 2)  # other waves stand for their mirror image too
            angle = 2 * math.pi * (row * y / height + column * x / width)
            real, imaginary = drawn[row, column] * scale * (1 if alone else 2)
            grey += real * np.cos(angle) - imaginary * np.sin(angle)
    return grey


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("decay", [0.0, 3.0])
def test_fmix_is_the_brightest_part_of_a_low_frequency_image(size, decay):
    key, count = Key(4, "loop"), 6
    draw = FMix(alpha=0.7, decay=decay).draw(blank(count, *size), blank(count, *size), key)
    lam = key.child("lam").generator().beta(0.7, 0.7, size=count)
    shape = (count, size[0], size[1] // 2 + 1, 2)
    drawn = key.child("fourier").generator().standard_normal(shape, dtype=np.float32)
    for i in range(count):
        grey = slow_grey(drawn[i], size, decay).flatten()
        bright = np.argsort(-grey)[:round(lam[i] * grey.size)]
        expected = np.zeros(grey.size)
        expected[bright] = 1
        assert np.array_equal(draw.mask[i, 0].flatten().numpy(), expected)
        assert draw.lam[i].item() == pytest.approx(len(bright) / grey.size, abs=1e-7)


def test_fmix_shares_follow_the_law_and_larger_decay_makes_larger_blobs():
    images = blank(3000, 16, 16)
    draws = [FMix(decay=decay).draw(images, images, Key(0)) for decay in (0.0, 1.5, 3.0, 6.0)]
    for draw in draws:
        assert abs(draw.lam.mean() - 0.5) < 0.02 and abs(draw.lam.var() - 1 / 12) < 0.01
    edges = [(d.mask[..., 1:] != d.mask[..., :-1]).float().mean().item() for d in draws]
    assert edges == sorted(edges, reverse=True) and edges[0] > 3 * edges[2]


def test_fmix_masks_of_a_batch_differ_and_any_pixel_may_be_either():
    mask = FMix().draw(*[blank(400, 8, 8)] * 2, Key(0), lam=0.5).mask
    assert (mask.sum((1, 2, 3)) == 32).all() and len({tuple(m.flatten().tolist()) for m in mask}) > 390
    assert ((mask.mean(0) - 0.5).abs() < 0.12).all()


# --------------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [1, 4, 5])
def test_gridmix_is_cells_pasted_pixel_by_pixel(size, grid):
    images, others, key = normal(0, 10, 2, *size), normal(1, 10, 2, *size), Key(7, "loop")
    mixed = GridMix(alpha=0.8, grid=grid)(images, key, others)
    lam = key.child("lam").generator().beta(0.8, 0.8, size=10)
    scores = key.child("cells").generator().random((10, grid * grid))
    rows, columns = (slow_cells(grid, n) for n in size)
    for i, partner in enumerate(mixed.partner.tolist()):
        other = set(np.argsort(scores[i])[:round((1 - lam[i]) * grid * grid)].tolist())
        expected = images[i].clone()
        for y in range(size[0]):
            for x in range(size[1]):
                if rows[y] * grid + columns[x] in other:
                    expected[:, y, x] = others[partner, :, y, x]
        assert torch.equal(mixed.images[i], expected)


def test_gridmix_cells_are_drawn_evenly_and_none_is_empty():
    mask = GridMix(grid=4).draw(*[blank(2000, 8, 8)] * 2, Key(0), lam=0.25).mask
    cells = mask[:, 0, ::2, ::2]  # (n,4,4)
    assert (cells.sum((1, 2)) == 4).all() and ((cells.mean(0) - 0.25).abs() < 0.04).all()
    assert torch.equal(mask[:, 0], cells.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert (GridMix(grid=9).draw(*[blank(3, 2, 3)] * 2, Key(0), lam=0.5).lam == 0.5).all()  # 6 pixels, so 6 cells


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
@laws
def test_spread_and_pool_are_loops_over_pixels(rows, columns, height, width):
    cells = normal(rows, 2, rows, columns)
    y, x = slow_cells(rows, height), slow_cells(columns, width)
    assert torch.equal(spread(cells, height, width)[:, 0], cells[:, y][:, :, x])
    exact = np.zeros((rows, columns))
    maps = normal(width, 1, 1, height, width)
    for i in range(rows):
        for j in range(columns):
            for a in range(height):
                for b in range(width):
                    exact[i, j] += maps[0, 0, a, b] * float(_shared(i, rows, a, height) * _shared(j, columns, b, width))
    np.testing.assert_allclose(pool(maps, rows, columns)[0, 0].numpy(), exact * rows * columns, atol=1e-5)


def _shared(cell, cells, pixel, size):
    """Length that a cell and a pixel have in common on an axis of length 1."""
    start = max(Fraction(cell, cells), Fraction(pixel, size))
    return max(min(Fraction(cell + 1, cells), Fraction(pixel + 1, size)) - start, Fraction(0))


# --------------------------------------------------------------------------------------------------------------- spots


@pytest.mark.parametrize("size", SIZES)
def test_smoothmix_is_a_gaussian_spot_pixel_by_pixel(size):
    key, count = Key(3, "loop"), 6
    images, others = normal(0, count, 1, *size), normal(1, count, 1, *size)
    mixed = SmoothMix(sigma=(0.1, 0.6))(images, key, others)
    y0, x0, width = key.child("spot").generator().random((3, count, 1))[..., 0]
    for i, partner in enumerate(mixed.partner.tolist()):
        s = (0.1 + 0.5 * width[i]) * min(size)
        for y in range(size[0]):
            for x in range(size[1]):
                square = (y + 0.5 - y0[i] * size[0]) ** 2 + (x + 0.5 - x0[i] * size[1]) ** 2
                weight = math.exp(-square / (2 * s * s))
                assert mixed.mask[i, 0, y, x].item() == pytest.approx(1 - weight, abs=1e-6)
                expected = (1 - weight) * images[i, 0, y, x] + weight * others[partner, 0, y, x]
                assert mixed.images[i, 0, y, x].item() == pytest.approx(expected.item(), abs=1e-5)


def test_smoothmix_middles_are_everywhere_and_widths_in_their_range():
    draw = SmoothMix().draw(*[blank(4000, 16, 16)] * 2, Key(0))
    middle = (1 - draw.mask).flatten(1).argmax(1)
    assert set(middle.tolist()) == set(range(256))
    assert draw.lam.min() > 0.2 and draw.lam.max() < 0.97 and draw.lam.std() > 0.05


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.integers(0, 99))
@laws
def test_smoothmix_finds_the_width_of_any_share(lam, seed):
    mixed = SmoothMix()(blank(3, 7, 9), Key(seed), lam=np.array(lam))
    np.testing.assert_allclose(mixed.mask.double().mean((1, 2, 3)).numpy(), lam, atol=1e-6)
    assert (mixed.lam.double() - torch.tensor(lam, dtype=torch.float64)).abs().max() < 1e-6


# --------------------------------------------------------------------------------------------------------------- guide


def test_attentivemix_pastes_the_top_cells_of_the_partner():
    guide, key = normal(5, 6, 1, 8, 8).abs(), Key(1)
    images, others = normal(0, 6, 3, 16, 16), normal(1, 6, 3, 16, 16)
    mixed = AttentiveMix()(images, key, others, guide=guide)
    lam = key.child("lam").generator().beta(2.0, 2.0, size=6)
    for i, partner in enumerate(mixed.partner.tolist()):
        values = [guide[partner, 0, 2 * r:2 * r + 2, 2 * c:2 * c + 2].mean().item() for r in range(4) for c in range(4)]
        top = sorted(range(16), key=lambda cell: -values[cell])[:round((1 - lam[i]) * 16)]
        expected = images[i].clone()
        for row, column in (divmod(cell, 4) for cell in top):
            box = np.s_[:, 4 * row:4 * row + 4, 4 * column:4 * column + 4]
            expected[box] = others[partner][box]
        assert torch.equal(mixed.images[i], expected)


def test_attentivemix_does_not_care_for_the_scale_of_a_guide_and_ties_go_to_the_first():
    images, guide = normal(0, 5, 3, 16, 16), normal(1, 5, 1, 16, 16).abs()
    masks = [AttentiveMix().draw(images, images, Key(0), guide=guide * scale).mask for scale in (1e-12, 1, 1e12)]
    assert torch.equal(masks[0], masks[1]) and torch.equal(masks[1], masks[2])
    flat = AttentiveMix().draw(images, images, Key(0), guide=torch.ones(5, 1, 4, 4), lam=13 / 16).mask
    assert (flat[:, 0, :4, :12] == 0).all() and flat.sum() == 5 * 13 * 16


def test_attentivemix_without_a_guide_says_how_to_give_one():
    with pytest.raises(ParamError, match=r"guide: a tensor \(3, 1, h, w\), because AttentiveMix needs one; got None"):
        AttentiveMix()(blank(3, 4, 4), Key(0))
    with pytest.raises(ParamError, match=r"guide: a floating-point tensor \(3, 1, h, w\)"):
        AttentiveMix(guide_from=lambda images: images[:2])(blank(3, 4, 4), Key(0))


def test_guide_from_is_asked_for_the_others_and_a_given_guide_comes_first():
    images, others, seen = normal(0, 4, 3, 16, 16), normal(1, 4, 3, 16, 16), []
    mixer = AttentiveMix(guide_from=lambda x: seen.append(x) or saliency(x))
    asked = mixer(images, Key(0), others)
    assert len(seen) == 1 and seen[0] is others
    assert torch.equal(asked.mask, AttentiveMix()(images, Key(0), others, guide=saliency(others)).mask)
    flat = torch.ones(4, 1, 4, 4)
    given = mixer(images, Key(0), others, guide=flat), AttentiveMix()(images, Key(0), others, guide=flat)
    assert torch.equal(given[0].mask, given[1].mask)
    assert len(seen) == 1


def encoder(seed=0, batchnorm="plain"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = with_batchnorm(Encoder("resnet10"), batchnorm, 2)
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.fill_(0.1)
            part.running_var.fill_(0.7)
    return made


@pytest.mark.parametrize("batchnorm", ["plain", "split"])
def test_an_encoder_guides_by_the_squares_of_its_last_map_and_is_left_as_it_was(batchnorm):
    asked, images = encoder(batchnorm=batchnorm), normal(0, 3, 3, 32, 32)
    state = {name: value.clone() for name, value in asked.state_dict().items()}
    asked.layers[0].eval()  # a part that somebody froze stays frozen
    modes = [part.training for part in asked.modules()]
    with NoHostReads():
        maps = EncoderGuide(asked)(images)
    assert [part.training for part in asked.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in asked.state_dict().items())
    assert not maps.requires_grad and all(p.grad is None for p in asked.parameters())
    features = asked.eval().feature_maps(images)[4]  # an odd batch, which split statistics would refuse in training
    slow = sum(features[:, channel] ** 2 for channel in range(512))
    assert maps.shape == (3, 1, 4, 4)
    torch.testing.assert_close(maps[:, 0], slow.detach(), rtol=1e-4, atol=1e-6)


def test_an_encoder_that_fails_is_put_back_into_its_mode():
    asked = encoder().train()
    with pytest.raises(RuntimeError):
        EncoderGuide(asked)(normal(0, 2, 5, 32, 32))
    assert all(part.training for part in asked.modules())


def test_a_guide_trained_on_other_colours_sees_the_images_as_it_knows_them():
    asked, pixels = encoder(), normal(0, 2, 3, 32, 32).abs()
    asked.mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    asked.std.copy_(torch.tensor([0.5, 0.6, 0.7]))
    own = (pixels - asked.mean.view(3, 1, 1)) / asked.std.view(3, 1, 1)
    theirs = (pixels - 0.4) / 0.2
    expected = EncoderGuide(asked)(own)
    torch.testing.assert_close(EncoderGuide(asked, (0.4,) * 3, (0.2,) * 3)(theirs), expected, rtol=1e-3, atol=1e-5)
    assert not torch.allclose(EncoderGuide(asked)(theirs), expected, rtol=1e-3)


# ---------------------------------------------------------------------------------------------------------------- pick

THREE = (Mixup(), CutMix(), GridMix())


def which(draw):
    """The mixer a draw of ``THREE`` came from."""
    return 0 if not draw.region else 1 if draw.box is not None else 2


def test_pick_per_batch_is_one_of_its_mixers_as_often_as_it_should():
    images, mixer = normal(0, 4, 1, 8, 8), Pick(THREE, (0.5, 0.3, 0.2), alpha=0.4)
    counts = np.zeros(3)
    for seed in range(400):
        draw = mixer.draw(images, images, Key(seed))
        number = which(draw)
        counts[number] += 1
        alone = type(THREE[number])(alpha=0.4).draw(images, images, Key(seed))  # the very draw of that mixer
        assert torch.equal(draw.partner, alone.partner) and torch.equal(draw.mask, alone.mask)
    assert np.abs(counts / 400 - (0.5, 0.3, 0.2)).max() < 0.08


def test_pick_per_sample_gives_every_sample_the_mask_of_its_own_mixer():
    images, others = normal(0, 300, 1, 8, 8), normal(1, 300, 1, 8, 8)
    mixer, key = Pick(THREE, (0.2, 0.3, 0.5), pick_per="sample"), Key(2)
    mixed = mixer(images, key, others)
    chosen = key.child("pick").generator().choice(3, 300, p=(0.2, 0.3, 0.5))
    alone = [m(images, key, others) for m in THREE]
    for i, number in enumerate(chosen):
        assert torch.equal(mixed.mask[i], alone[number].mask[i]) and mixed.lam[i] == alone[number].lam[i]
        torch.testing.assert_close(mixed.images[i], alone[number].images[i])
    assert abs((chosen == 2).mean() - 0.5) < 0.1 and torch.equal(mixed.partner, alone[0].partner)


@given(cases())
@laws
def test_pick_per_sample_obeys_the_laws(case):
    fields, images, others, key = case
    mixer = Pick((Mixup(), FMix(), SmoothMix(), AttentiveMix()), pick_per="sample", **fields)
    guide = saliency(others)
    mixed = mixer(images, key, others, guide=guide)
    torch.testing.assert_close(mixed.lam.double(), mixed.mask.double().mean((1, 2, 3)), atol=1e-6, rtol=0)
    assert torch.equal(mixed.images, mixer(images, key, others, guide=guide).images)
    assert same_bits(mixer(images, key, others, lam=1.0, guide=guide).images, images)
    assert mixed.images.dtype == images.dtype


def test_pick_rules_over_alpha_share_and_probability_of_its_mixers():
    images = normal(0, 6, 1, 8, 8)
    mixer = Pick((Mixup(alpha=9.0, mix_prob=0.1), ResizeMix(mix_prob=0.1)), alpha=0.5, lam_per="batch")
    for seed in range(20):
        lam = mixer.draw(images, images, Key(seed)).lam
        assert (lam == lam[0]).all() and lam[0] < 1
    drawn = Key(3).child("lam").generator().beta(0.5, 0.5, size=6)
    first = Pick((Mixup(alpha=9.0), CutMix()), (1 - 1e-9, 1e-9), alpha=0.5).draw(images, images, Key(3))
    np.testing.assert_allclose(first.lam.numpy(), drawn, atol=1e-6)


def test_the_larger_share_is_the_first_image_s_where_a_picked_mixer_draws_from_beta():
    images, key = normal(0, 300, 1, 8, 8), Key(2)
    mixer = Pick((Mixup(), SmoothMix()), pick_per="sample")
    got, own = draw_larger(mixer, images, images, key).lam, mixer.draw(images, images, key).lam
    beta = torch.from_numpy(key.child("pick").generator().choice(2, 300, p=(0.5, 0.5)) == 0)
    torch.testing.assert_close(got[beta], torch.maximum(own, 1 - own)[beta])
    assert torch.equal(got[~beta], own[~beta]) and (got[~beta] < 0.5).any() and (own[beta] < 0.5).any()
    assert mixer.has_alpha and not Pick((ResizeMix(), SmoothMix())).has_alpha


def test_pick_keeps_layers_and_shrunken_images_and_hands_on_a_guide():
    images, guide = normal(0, 4, 1, 8, 8), torch.eye(8).expand(4, 1, 8, 8)
    both = Pick((ManifoldMixup(layers=(2,)), ResizeMix()))
    kinds = {(d.layer, d.resized) for d in (both.draw(images, images, Key(seed)) for seed in range(20))}
    assert kinds == {(2, False), (0, True)}
    mixer = Pick((SaliencyMix(), AttentiveMix()))
    for seed in range(8):  # both take the guide; neither is Mixup, which would refuse it
        assert mixer.draw(images, images, Key(seed), guide=guide).region
    Pick().draw(images, images, Key(0), guide=guide)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"pick_from": (Mixup(),)}, "pick_from: two or more mixers that mix, other than Pick"),
    ({"pick_from": (Mixup(), NoMix())}, "pick_from: two or more"),
    ({"pick_from": (Mixup(), Pick())}, "pick_from: two or more"),
    ({"pick_from": ("mixup", "cutmix")}, "pick_from: two or more"),
    ({"pick_probs": (0.5, 0.6)}, "pick_probs: None, or a number above 0 for each of pick_from, sum 1"),
    ({"pick_probs": (1.0,)}, "pick_probs: "), ({"pick_probs": (1.0, 0.0)}, "pick_probs: "),
    ({"pick_per": "samples"}, 'pick_per: one of sample, batch; .*Did you mean "sample"'),
    ({"pick_per": "sample", "pick_from": (ManifoldMixup(), ResizeMix())},
     "pick_per: batch, because ManifoldMixup and ResizeMix cannot be picked per sample"),
    ({"alpha": 0}, "alpha: a finite number"),
])
def test_pick_refuses_what_it_cannot_pick(arguments, message):
    with pytest.raises(ParamError, match=message):
        Pick(**arguments)


@pytest.mark.parametrize("mixer", [GridMix, AttentiveMix])
@pytest.mark.parametrize("grid", [0, 1025, 4.0, True, "4", None])
def test_bad_grids_are_refused(mixer, grid):
    with pytest.raises(ParamError, match=r"^grid: a whole number from 1 to 1024"):
        mixer(grid=grid)


def test_other_bad_fields_are_refused():
    for sigma in ((0, 0.5), (0.5, 0.1), (0.1, 11), (0.1,), 0.5):
        with pytest.raises(ParamError, match="^sigma"):
            SmoothMix(sigma=sigma)
    for decay in (-1, 11, "3", math.nan):
        with pytest.raises(ParamError, match="^decay"):
            FMix(decay=decay)
    with pytest.raises(ParamError, match="^guide_from"):
        AttentiveMix(guide_from=3)
