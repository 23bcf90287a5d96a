"""Corruptions, and the measures of a representation's shape against slow loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixlab import data
from mixlab.errors import ParamError
from mixlab.evaluate import (
    STRENGTHS,
    alignment,
    corrupt,
    effective_rank,
    scatter,
    spectrum,
    tolerance,
    uniformity,
)


def unit(x):
    return x / math.sqrt(sum(v * v for v in x))


def embedding(seed, count=12, dim=5):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator), torch.arange(count) % 3


def pairs(count):
    return [(i, j) for i in range(count) for j in range(count) if i != j]


@given(st.integers(0, 99))
def test_measures_equal_loops_over_pairs(seed):
    h, labels = embedding(seed)
    z = [unit(row) for row in h.double()]
    distances = [((z[i] - z[j]) ** 2).sum().item() for i, j in pairs(12)]
    assert uniformity(h) == pytest.approx(math.log(sum(math.exp(-2 * d) for d in distances) / len(distances)), abs=1e-5)
    same = [(z[i] @ z[j]).item() for i, j in pairs(12) if labels[i] == labels[j]]
    assert tolerance(h, labels) == pytest.approx(sum(same) / len(same), abs=1e-6)
    other, _ = embedding(seed + 1000)
    expected = sum(((z[i] - unit(other[i].double())) ** 2).sum().item() for i in range(12)) / 12
    assert alignment(h, other) == pytest.approx(expected, abs=1e-5)


@given(st.integers(0, 99))
def test_scatter_equals_its_formulas(seed):
    h, labels = embedding(seed)
    x, labels = h.double().numpy(), labels.numpy()
    means = np.stack([x[labels == k].mean(0) for k in range(3)])
    within = sum(np.outer(v - means[k], v - means[k]) for v, k in zip(x, labels, strict=True)) / 12
    between = sum(np.outer(m - x.mean(0), m - x.mean(0)) for m in means) / 3
    found = scatter(h, torch.from_numpy(labels))
    assert found["within_between"] == pytest.approx(np.trace(within) / np.trace(between), rel=1e-5)
    collapse = np.trace(within @ np.linalg.pinv(between, rcond=1e-9)) / 3
    assert found["collapse"] == pytest.approx(collapse, rel=1e-4)


def test_the_ends_of_the_scales():
    point, axes = torch.ones(8, 4), torch.eye(4).repeat(2, 1)
    assert uniformity(point) == pytest.approx(0, abs=1e-6) and alignment(axes, axes) == 0
    assert alignment(axes, -axes) == pytest.approx(4)
    assert tolerance(axes, torch.arange(8) % 4) == pytest.approx(1)
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert effective_rank(torch.tensor([3.0, 0.0])) == pytest.approx(1)
    assert effective_rank(torch.zeros(3)) == pytest.approx(1)


def test_the_spectrum_is_that_of_the_centred_features():
    h, _ = embedding(0, count=40)
    expected = np.linalg.svd((h - h.mean(0)).numpy(), compute_uv=False) / math.sqrt(40)
    np.testing.assert_allclose(spectrum(h), expected, rtol=1e-5)
    flat = torch.cat([h[:, :2], torch.zeros(40, 3)], 1)  # a collapsed representation
    assert (spectrum(flat)[2:] < 1e-6).all() and effective_rank(spectrum(flat)) < 2.001


PIXELS = data.load("cifar10-mini", split="test").pixels[::50, :, :24].contiguous()


@pytest.mark.parametrize("name", STRENGTHS)
def test_corruptions_are_graded_repeatable_and_leave_their_input(name):
    before = PIXELS.clone()
    found = [corrupt(PIXELS, name, severity, seed=2) for severity in (1, 2, 3, 4, 5)]
    harm = [(f.float() - PIXELS.float()).square().mean().item() for f in found]
    assert harm == sorted(harm) and 0 < harm[0] < harm[4] and torch.equal(PIXELS, before)
    assert all(f.shape == PIXELS.shape and f.dtype == torch.uint8 for f in found)
    assert torch.equal(corrupt(PIXELS, name, 3, seed=2), found[2])
    assert torch.equal(corrupt(PIXELS, name, 3, seed=1), found[2]) == (name not in ("noise", "occlusion"))


def test_every_image_has_its_own_noise_and_its_own_place():
    grey = torch.full((600, 16, 16, 3), 128, dtype=torch.uint8)  # more than a chunk
    noise = corrupt(grey, "noise", 2)
    assert not torch.equal(noise[0], noise[1]) and not torch.equal(noise[0], noise[512])
    assert (noise.float() / 255).std().item() == pytest.approx(STRENGTHS["noise"][1], rel=0.02)
    black = corrupt(torch.zeros_like(grey), "occlusion", 2)
    assert (black.amax(3) > 0).sum((1, 2)).unique().tolist() == [round(0.3 * 16) ** 2]
    places = {tuple(image.amax(2).nonzero()[0].tolist()) for image in black}
    assert len(places) > 50 and {y for y, _ in places} == set(range(16 - 5 + 1))


def test_what_each_corruption_keeps():
    grey = torch.full((2, 16, 16, 3), 90, dtype=torch.uint8)
    assert all(torch.equal(corrupt(grey, name, 5), grey) for name in ("blur", "contrast", "pixelation"))
    cells = corrupt(PIXELS, "pixelation", 5).view(len(PIXELS), 8, 4, 6, 4, 3)  # 8 x 6 cells of 4 x 4 pixels
    assert (cells == cells[:, :, :1, :, :1]).all()
    mean = PIXELS.float().mean((1, 2))
    torch.testing.assert_close(corrupt(PIXELS, "contrast", 3).float().mean((1, 2)), mean, atol=0.5, rtol=0)


@pytest.mark.parametrize(("name", "severity", "message"), [
    ("noize", 1, 'corruption: one of noise, blur.* Did you mean "noise"'),
    ("noise", 0, "severity: a whole number from 1 to 5; got 0"), ("blur", 6, "severity"), ("blur", 2.5, "severity")])
def test_unknown_corruptions_are_refused(name, severity, message):
    with pytest.raises(ParamError, match=message):
        corrupt(PIXELS, name, severity)
