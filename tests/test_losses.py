"""The losses against slow loops written from their formulas, their laws, and the equations as printed."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from mixlab.errors import ParamError
from mixlab.losses import LABEL_SIMILARITIES, READINGS, contrastive, soft_cross_entropy
from mixlab.losses import streamed as losses

I64 = torch.iinfo(torch.int64)


def numbers(seed, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def soft_rows(seed, n, k):
    """Mixed labels: lam * onehot(a) + (1 - lam) * onehot(b)."""
    g = torch.Generator().manual_seed(seed)
    lam = torch.rand(n, 1, generator=g, dtype=torch.float64)
    a, b = torch.randint(0, k, (2, n), generator=g)
    return lam * F.one_hot(a, k) + (1 - lam) * F.one_hot(b, k)


def value_and_gradient(loss, z, *args, **kwargs):
    z = z.clone().requires_grad_()
    value = loss(z, *args, **kwargs)
    value = value["loss"] if isinstance(value, dict) else value
    return value.detach(), torch.autograd.grad(value, z)[0]


def by_the_formula(z, targets, temperature, reading="anchor", label_similarity="dot"):
    """The docstring of ``contrastive`` as a double loop over float64 scalars."""
    n, u = len(z), [row / row.norm() for row in z]

    def s(i, j):
        return (u[i] * u[j]).sum() / temperature

    def w(i, j):
        if targets.ndim == 1:
            return float(targets[i] == targets[j])
        a, b = targets[i].tolist(), targets[j].tolist()
        length = math.hypot(*a) * math.hypot(*b) if label_similarity == "cosine" else 1.0
        return sum(x * y for x, y in zip(a, b, strict=True)) / length

    lse = [torch.stack([s(i, a) for a in range(n) if a != i]).logsumexp(0) for i in range(n)]
    if reading == "pairs":
        lse = [torch.stack(lse).logsumexp(0)] * n
    terms, masses = [], []
    for i in range(n):
        mass = sum(w(i, j) for j in range(n) if j != i)
        if mass >= 1e-3:
            terms.append(sum(w(i, j) * (lse[i] - s(i, j)) for j in range(n) if j != i))
            masses.append(mass)
    if reading == "anchor":
        return sum(term / mass for term, mass in zip(terms, masses, strict=True)) / len(terms)
    return sum(terms) / sum(masses)


def dense_supcon(z, ids, temperature):
    """L_out of Khosla et al. 2020, Eq 2, with the N x N matrix."""
    u = F.normalize(z, dim=1)
    self_pair = torch.eye(len(z), dtype=torch.bool)
    positive = (ids[:, None] == ids) & ~self_pair
    log_p = (u @ u.T / temperature).masked_fill(self_pair, -torch.inf).log_softmax(1)
    per_anchor = log_p.masked_fill(~positive, 0).sum(1) / positive.sum(1)
    return -per_anchor[positive.any(1)].mean()


# Equal to the formula


TARGETS = {
    "ids": torch.tensor([3, 1, 3, 3, 0, 1, 7, 0, 3]),  # 7 has no positive
    "rows": torch.cat([soft_rows(1, 8, 5) * torch.tensor([1, 1, 1, 1, 0.0]), torch.eye(5)[[4]]]).double(),
    "any rows": numbers(2, 9, 4).abs(),  # not summing to 1
}


@pytest.mark.parametrize("tile", [(256, 2048), (4, 3)])
@pytest.mark.parametrize("temperature", [0.3, 0.01])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("similarity", LABEL_SIMILARITIES)
@pytest.mark.parametrize("reading", READINGS)
def test_equals_the_formula(reading, similarity, kind, temperature, tile, monkeypatch):
    monkeypatch.setattr(losses, "CPU_TILE", tile)
    z, targets = numbers(0, 9, 4), TARGETS[kind]
    got = value_and_gradient(contrastive, z, targets, temperature, reading=reading, label_similarity=similarity)
    expected = value_and_gradient(by_the_formula, z, targets, temperature, reading, similarity)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-11)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=7), st.integers(0, 99), st.sampled_from(READINGS))
@settings(max_examples=25, deadline=None)
def test_equals_the_formula_for_any_ids(ids, seed, reading):
    ids = torch.tensor([*ids, ids[0]])  # at least one positive pair
    z = numbers(seed, len(ids), 3)
    got = value_and_gradient(contrastive, z, ids, 0.2, reading=reading)
    torch.testing.assert_close(got, value_and_gradient(by_the_formula, z, ids, 0.2, reading), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("tile", [(256, 2048), (4, 3)])
@pytest.mark.parametrize("temperature", [0.3, 0.01])
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("similarity", LABEL_SIMILARITIES)
@pytest.mark.parametrize("reading", READINGS)
def test_what_is_left_out_counts_as_if_it_were_not_there(reading, similarity, kind, temperature, tile, monkeypatch):
    monkeypatch.setattr(losses, "CPU_TILE", tile)
    z, targets, settings = numbers(0, 9, 4), TARGETS[kind], {"reading": reading, "label_similarity": similarity}
    left_out = torch.tensor([0, 1, 0, 0, 1, 0, 0, 1, 0]).bool()
    loss, gradient = value_and_gradient(contrastive, z, targets, temperature, left_out=left_out, **settings)
    kept, kept_gradient = value_and_gradient(contrastive, z[~left_out], targets[~left_out], temperature, **settings)
    torch.testing.assert_close(loss, kept, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(gradient[~left_out], kept_gradient, rtol=1e-11, atol=1e-11)
    assert (gradient[left_out] == 0).all()
    counts = [contrastive(*given, temperature, **settings, left_out=out)["anchors_without_positive"]
              for given, out in (((z, targets), left_out), ((z[~left_out], targets[~left_out]), None))]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("temperature", [0.3, 0.01])
@pytest.mark.parametrize("left", [0, 1])
def test_leaving_out_all_or_all_but_one_leaves_no_loss(left, temperature):
    z, left_out = numbers(0, 4, 3), torch.arange(4) >= left
    for reading in READINGS:
        loss, gradient = value_and_gradient(contrastive, z, torch.zeros(4).long(), temperature, reading=reading,
                                            left_out=left_out)
        assert loss == 0 and (gradient == 0).all()


def test_gradient_equals_finite_differences():
    z, rows = numbers(0, 6, 3).requires_grad_(), soft_rows(0, 6, 3)
    for reading in READINGS:
        assert torch.autograd.gradcheck(lambda z, r=reading: contrastive(z, rows, 0.5, reading=r)["loss"], z)


@pytest.mark.parametrize("reading", READINGS)
def test_one_hot_rows_equal_ids(reading):
    ids, z = torch.tensor([0, 1, 2, 0, 1, 0, 3, 2]), numbers(0, 8, 5)
    got = value_and_gradient(contrastive, z, F.one_hot(ids, 4).double(), 0.1, reading=reading)
    torch.testing.assert_close(got, value_and_gradient(contrastive, z, ids, 0.1, reading=reading))


def test_supcon_is_l_out_without_the_temperature_factor():
    z, ids, temperature, base_temperature = numbers(0, 40, 8), torch.arange(40) % 6, 0.5, 0.07
    got = value_and_gradient(contrastive, z, ids, temperature)
    torch.testing.assert_close(got, value_and_gradient(dense_supcon, z, ids, temperature))
    as_released = temperature / base_temperature * dense_supcon(z, ids, temperature)
    assert as_released / got[0] == pytest.approx(7.142857, rel=1e-6)


def test_mixsupcon_by_anchor_with_one_hot_rows_is_l_out():
    z, ids = numbers(0, 40, 8), torch.arange(40) % 6
    got = value_and_gradient(contrastive, z, F.one_hot(ids).double(), 0.1, reading="anchor")
    torch.testing.assert_close(got, value_and_gradient(dense_supcon, z, ids, 0.1))


def nt_xent(z1, z2, temperature):
    """Chen et al. 2020, Eq 1: each of the 2B views against its partner, the denominator over all others."""
    u, b = F.normalize(torch.cat([z1, z2]), dim=1), len(z1)
    total = 0
    for i in range(2 * b):
        s = u @ u[i] / temperature
        total -= s[(i + b) % (2 * b)] - torch.cat([s[:i], s[i + 1:]]).logsumexp(0)
    return total / (2 * b)


def test_simclr_is_nt_xent():
    z1, z2 = numbers(0, 7, 5), numbers(1, 7, 5)
    got = contrastive(torch.cat([z1, z2]), torch.arange(7).repeat(2), 0.2)["loss"]
    torch.testing.assert_close(got, nt_xent(z1, z2, 0.2))


# The equations of the MixSupCon draft as printed


def printed_eq1_denominator(within, across, temperature):
    """Eq 1: sum over i != j of exp(z~_i . z~_j / t) + exp(z~_i . z^_j / t): one number for all anchors."""
    different = ~torch.eye(len(within), dtype=torch.bool)
    return ((within / temperature).exp() + (across / temperature).exp())[different].sum()


def printed_eq1(z1, z2, temperature):
    within, across = z1 @ z1.T, z1 @ z2.T
    return -(across.diag() / temperature - printed_eq1_denominator(within, across, temperature).log()).mean()


def printed_eq4(z, targets, temperature):
    """Eq 4-6, with their single index k in the numerator, in every term of the denominator and in Phi."""
    n, own = len(z), (z * z).sum(1) / temperature  # (N,) z_k . z_k / t
    psi = own - (n * (n - 1) * own.exp()).log()
    phi = (targets * targets).sum(1)
    return -(phi * psi).sum() / phi.sum()


def test_printed_eq1_has_no_same_image_pair_in_its_denominator_and_is_not_nt_xent():
    z1, z2 = F.normalize(numbers(0, 5, 4)), F.normalize(numbers(1, 5, 4))
    across = (z1 @ z2.T).requires_grad_()
    by_pair = torch.autograd.grad(printed_eq1_denominator(z1 @ z1.T, across, 0.5), across)[0]
    assert (by_pair.diag() == 0).all()  # image i in view 1 with image i in view 2
    assert (by_pair[~torch.eye(5, dtype=torch.bool)] > 0).all()
    assert abs(printed_eq1(z1, z2, 0.5) - nt_xent(z1, z2, 0.5)) > 0.5
    assert printed_eq1(z1, z2, 0.5) != pytest.approx(printed_eq1(z2, z1, 0.5))  # and the views are not alike to it


def test_printed_eq4_is_constant_with_zero_gradient():
    values = []
    for seed in range(3):
        value, gradient = value_and_gradient(printed_eq4, F.normalize(numbers(seed, 8, 4)), soft_rows(seed, 8, 3), 0.5)
        assert gradient.abs().max() < 1e-15
        values.append(value)
    torch.testing.assert_close(torch.stack(values), torch.full((3,), math.log(8 * 7), dtype=torch.float64))
    ours = value_and_gradient(contrastive, numbers(0, 8, 4), soft_rows(0, 8, 3), 0.5, reading="row")
    assert ours[1].norm() > 0.01


# Laws


def test_anchor_and_row_agree_only_for_equal_masses_and_pairs_with_neither():
    z = numbers(0, 12, 5)
    for ids, agree in ((torch.arange(12) % 3, True), (torch.tensor([0] * 6 + [1] * 4 + [2] * 2), False)):
        anchor, row, pairs = (contrastive(z, ids, 0.2, reading=reading)["loss"] for reading in READINGS)
        assert (abs(anchor - row) < 1e-12) == agree
        assert min(pairs - anchor, pairs - row) > 1


@given(st.lists(st.integers(0, 3), min_size=4, max_size=12), st.randoms(use_true_random=False), st.data())
@settings(max_examples=40, deadline=None)
def test_order_and_names_do_not_matter(ids, random, data):
    reading = data.draw(st.sampled_from(READINGS))
    names = data.draw(st.lists(st.integers(I64.min, I64.max), min_size=4, max_size=4, unique=True))
    ids, z = torch.tensor(ids), numbers(len(ids), len(ids), 4)
    value, gradient = value_and_gradient(contrastive, z, ids, 0.2, reading=reading)
    order = torch.tensor(random.sample(range(len(ids)), len(ids)))
    renamed = torch.tensor(names)[ids][order]
    moved = value_and_gradient(contrastive, z[order], renamed, 0.2, reading=reading)
    torch.testing.assert_close(moved, (value, gradient[order]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.bool])
def test_ids_of_any_integer_dtype(dtype):
    ids, z = torch.tensor([0, 1, 1, 0, 1]), numbers(0, 5, 4)
    assert contrastive(z, ids.to(dtype), 0.2)["loss"] == contrastive(z, ids, 0.2)["loss"]


def test_views_can_be_swapped():
    z1, z2, ids = numbers(0, 9, 4), numbers(1, 9, 4), torch.arange(9).repeat(2)
    value, gradient = value_and_gradient(contrastive, torch.cat([z1, z2]), ids, 0.2)
    swapped = value_and_gradient(contrastive, torch.cat([z2, z1]), ids, 0.2)
    torch.testing.assert_close(swapped, (value, gradient.roll(9, 0)))


def test_cosine_ignores_the_length_of_rows_and_dot_does_not():
    z, rows = numbers(0, 8, 4), soft_rows(0, 8, 3)
    longer = rows * torch.arange(1, 9)[:, None]
    for similarity, same in (("cosine", True), ("dot", False)):
        a, b = (contrastive(z, t, 0.2, reading="row", label_similarity=similarity)["loss"] for t in (rows, longer))
        assert (abs(a - b) < 1e-12) == same


def test_length_of_embeddings_does_not_matter():
    z, ids = numbers(0, 8, 4), torch.arange(8) % 3
    value, gradient = value_and_gradient(contrastive, z, ids, 0.2)
    torch.testing.assert_close(value_and_gradient(contrastive, 100 * z, ids, 0.2), (value, gradient / 100))
    assert (gradient * z).sum(1).abs().max() < 1e-14


@given(st.integers(0, 999), st.sampled_from([1e-4, 0.02, 0.1, 1.0]), st.sampled_from(["anchor", "row"]))
@settings(max_examples=40, deadline=None)
def test_never_negative(seed, temperature, reading):
    centres = numbers(seed, 3, 6, dtype=torch.float32)
    ids = torch.arange(20) % 3
    z = centres[ids] + 0.01 * numbers(seed + 1, 20, 6, dtype=torch.float32)
    assert contrastive(z, ids, temperature, reading=reading)["loss"] >= -1e-6 / temperature
    rows = soft_rows(seed, 20, 3)
    assert contrastive(z, rows, temperature, reading=reading)["loss"] >= -1e-6 / temperature


@pytest.mark.parametrize(("reading", "value"), [("anchor", 511), ("row", 511), ("pairs", 511 * 512)])
def test_collapsed_embeddings(reading, value):
    z = torch.ones(512, 16)
    for targets in (torch.arange(512) // 2, torch.arange(512) % 10, soft_rows(0, 512, 10)):
        loss, gradient = value_and_gradient(contrastive, z, targets, 0.1, reading=reading)
        assert loss == pytest.approx(math.log(value), abs=2e-5)
        assert gradient.abs().max() < 1e-6


def test_gradient_follows_the_upstream_scale():
    z, ids = numbers(0, 8, 4).requires_grad_(), torch.arange(8) % 3
    once = torch.autograd.grad(contrastive(z, ids, 0.2)["loss"], z)[0]
    loss = contrastive(z, ids, 0.2)["loss"]
    torch.testing.assert_close(torch.autograd.grad(3 * loss + loss**2, z)[0], (3 + 2 * loss.detach()) * once)


def test_second_derivative_is_refused():
    z = numbers(0, 6, 3).requires_grad_()
    with pytest.raises(RuntimeError, match="cannot be differentiated again"):
        torch.autograd.grad(contrastive(z, torch.arange(6) % 2, 0.2)["loss"], z, create_graph=True)


def test_inputs_are_untouched():
    z, rows = numbers(0, 6, 3, dtype=torch.float32).requires_grad_(), soft_rows(0, 6, 3).float()
    before = z.detach().clone(), rows.clone()
    contrastive(z, rows, 0.1, label_similarity="cosine")["loss"].backward()
    assert torch.equal(z.detach(), before[0]) and torch.equal(rows, before[1])


# Edges


@pytest.mark.parametrize("temperature", [0.5, 0.001])
@pytest.mark.parametrize("targets", [torch.tensor([5, -1, 9, 2]), torch.eye(4), torch.zeros(4, 3)])
@pytest.mark.parametrize("reading", READINGS)
def test_without_any_positive_loss_and_gradient_are_exactly_zero(reading, targets, temperature):
    z = numbers(0, 4, 3, dtype=torch.float32).requires_grad_()
    for similarity in LABEL_SIMILARITIES:
        out = contrastive(z, targets, temperature, reading=reading, label_similarity=similarity)
        assert out["loss"] == 0 and out["anchors_without_positive"] == 4
        assert (torch.autograd.grad(out["loss"], z)[0] == 0).all()


def test_anchors_without_positive_are_counted_and_stay_negatives():
    z, ids = numbers(0, 7, 4), torch.tensor([0, 0, 1, 1, 1, 2, 3])
    out = contrastive(z, ids, 0.2)
    assert out["anchors_without_positive"] == 2
    torch.testing.assert_close(out["loss"], dense_supcon(z, ids, 0.2))  # a mean over 5 anchors, not 7
    assert out["loss"] > contrastive(z[:5], ids[:5], 0.2)["loss"]


def test_a_mass_under_a_thousandth_is_no_positive():
    z, rows = numbers(0, 4, 3), torch.tensor([[1.0, 0, 0], [9e-4, 1, 0], [0, 0, 1], [0, 0, 1]], dtype=torch.float64)
    for mass, without in ((9e-4, 2), (1.1e-3, 0)):
        rows[1, 0] = mass
        for reading in READINGS:
            out = contrastive(z, rows, 0.2, reading=reading)
            assert out["anchors_without_positive"] == without
            torch.testing.assert_close(out["loss"], by_the_formula(z, rows, 0.2, reading), rtol=1e-12, atol=0)


def test_label_masses_are_summed_in_float64():
    rows = torch.full((40_001, 2), 3e-8)
    rows[0, 0] = 1  # its mass is a sum of numbers that vanish beside 1 in fp32
    assert losses._SoftRows(rows).mass()[0].item() == pytest.approx(40_000 * 3e-8 * (1 + 3e-8), rel=1e-6)


@pytest.mark.parametrize("reading", READINGS)
def test_a_single_class_is_finite(reading):
    z, ids = numbers(0, 8, 4), torch.zeros(8, dtype=torch.int64)
    out = contrastive(z, ids, 0.2, reading=reading)
    assert out["anchors_without_positive"] == 0
    torch.testing.assert_close(out["loss"], by_the_formula(z, ids, 0.2, reading))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("temperature", [1e-5, 1e-4, 1e-3, 0.0249, 0.025, 0.07, 0.5, 1, 10, 1e5])
def test_any_temperature_in_fp32(temperature, reading):
    z, rows = numbers(0, 48, 16), soft_rows(0, 48, 4)
    exact = value_and_gradient(contrastive, z, rows, temperature, reading=reading)
    value, gradient = value_and_gradient(contrastive, z.float(), rows, temperature, reading=reading)
    assert value.item() == pytest.approx(exact[0].item(), rel=1e-5)
    assert (gradient - exact[1]).norm() <= max(1e-5, 1e-6 / temperature) * exact[1].norm()


@pytest.mark.parametrize("temperature", [1e-4, 0.1])
@pytest.mark.parametrize("reading", READINGS)
def test_the_shifted_sum_continues_the_plain_one(reading, temperature, monkeypatch):
    z, rows = numbers(0, 30, 8), soft_rows(0, 30, 4)
    expected = value_and_gradient(by_dense_autograd, z, rows, temperature, reading)
    torch.testing.assert_close(value_and_gradient(contrastive, z, rows, temperature, reading=reading), expected)
    monkeypatch.setattr(losses, "PLAIN_EXP", 1e9)
    torch.testing.assert_close(value_and_gradient(contrastive, z, rows, temperature, reading=reading), expected)


def by_dense_autograd(z, rows, temperature, reading):
    """The formula with N x N matrices, every row having a positive."""
    u, n = F.normalize(z, dim=1), len(z)
    off = ~torch.eye(n, dtype=torch.bool)
    s, w = (u @ u.T / temperature)[off].view(n, n - 1), (rows @ rows.T)[off].view(n, n - 1)
    lse = s.logsumexp((0, 1)) if reading == "pairs" else s.logsumexp(1, keepdim=True)
    terms = w * (lse - s)
    return (terms.sum(1) / w.sum(1)).mean() if reading == "anchor" else terms.sum() / w.sum()


@pytest.mark.parametrize("reading", READINGS)
def test_zero_embeddings_give_a_finite_loss_and_no_gradient_of_their_own(reading):
    z = numbers(0, 12, 4, dtype=torch.float32)
    z[3], z[4] = 0, 1e-9
    value, gradient = value_and_gradient(contrastive, z, torch.arange(12) % 3, 0.1, reading=reading)
    assert value.isfinite() and gradient.isfinite().all()
    assert (gradient[3:5] == 0).all() and gradient[0].norm() > 1e-4
    z[4] = 0
    assert contrastive(z, torch.arange(12) % 3, 0.1, reading=reading)["loss"] == pytest.approx(value.item(), abs=0.01)
    value, gradient = value_and_gradient(contrastive, 0 * z, torch.arange(12) % 3, 0.1, reading=reading)
    assert value == pytest.approx(math.log(132 if reading == "pairs" else 11), abs=1e-5)
    assert (gradient == 0).all()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_visible(bad):
    z, rows = numbers(0, 6, 3), soft_rows(0, 6, 3)
    one = torch.eye(6, 3, dtype=torch.bool)
    for reading in READINGS:
        assert not contrastive(z.masked_fill(one, bad), rows, 0.2, reading=reading)["loss"].isfinite()
        assert not contrastive(z, rows.masked_fill(one, torch.nan), 0.2, reading=reading)["loss"].isfinite()


@pytest.mark.parametrize("temperature", [0.2, 0.01])
@pytest.mark.parametrize("n", [2, 3, 5, 8, 9, 17])
def test_tiles_of_any_shape_give_the_same(n, temperature, monkeypatch):
    z, rows = numbers(n, n, 4), 0.1 + soft_rows(n, n, 3)
    for reading in READINGS:
        whole = value_and_gradient(contrastive, z, rows, temperature, reading=reading)
        for tile in ((1, 1), (4, 3), (3, 7), (8, 8)):
            monkeypatch.setattr(losses, "CPU_TILE", tile)
            torch.testing.assert_close(value_and_gradient(contrastive, z, rows, temperature, reading=reading), whole)
        monkeypatch.undo()


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", ["ids", "rows"])
def test_many_tiles_of_the_real_size_equal_the_dense_loss_in_float64(kind, reading):
    n = 2 * losses.CPU_TILE[0] + losses.CPU_TILE[1] + 100  # several strips, more than one tile in the first
    z, ids = numbers(0, n, 8), torch.arange(n) % 7
    rows = F.one_hot(ids, 7).double() if kind == "ids" else 0.1 + soft_rows(0, n, 7)
    got = value_and_gradient(contrastive, z, ids if kind == "ids" else rows, 0.2, reading=reading)
    expected = value_and_gradient(by_dense_autograd, z, rows, 0.2, reading)
    torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-13)


# Precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gradient_has_the_dtype_of_z_and_the_loss_is_at_least_fp32(dtype):
    z = numbers(0, 30, 8).to(dtype).requires_grad_()
    loss = contrastive(z, torch.arange(30) % 4, 0.1)["loss"]
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    (gradient,) = torch.autograd.grad(loss, z)
    assert gradient.dtype == dtype
    expected = value_and_gradient(contrastive, z.detach().double(), torch.arange(30) % 4, 0.1)
    assert loss.item() == pytest.approx(expected[0].item(), rel=1e-6)
    assert (gradient - expected[1]).norm() <= torch.finfo(dtype).eps * 10 * expected[1].norm()


def test_a_loss_scaler_saves_fp16_gradients_from_underflow():
    z = (1000 * numbers(0, 64, 32)).half().requires_grad_()
    loss = contrastive(z, torch.arange(64) // 2, 10.0)["loss"]
    assert (torch.autograd.grad(2.0**20 * loss, z)[0] != 0).float().mean() > 0.99


def test_autocast_leaves_small_batches_in_fp32():
    z, rows = numbers(0, 300, 16, dtype=torch.float32), soft_rows(0, 300, 10)
    expected = value_and_gradient(contrastive, z, rows, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        got = value_and_gradient(contrastive, z, rows, 0.1)
    assert torch.equal(got[0], expected[0]) and torch.equal(got[1], expected[1])


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("spread", [100.0, 1.0])  # embeddings at random; gathering around their classes
def test_bf16_products_stay_within_stated_bounds(spread, reading, monkeypatch):
    monkeypatch.setattr(losses, "BF16_ROWS", 0)
    ids = torch.arange(600) % 10
    z = F.normalize(numbers(1, 10, 64))[ids] + spread * numbers(2, 600, 64) / 8
    expected = value_and_gradient(contrastive, z, ids, 0.1, reading=reading)
    with torch.autocast("cpu", torch.bfloat16):
        got = value_and_gradient(contrastive, z.float(), ids, 0.1, reading=reading)
    assert got[1].dtype == torch.float32
    assert 0 < abs(got[0] - expected[0]) < 1e-3
    assert (got[1] - expected[1]).norm() < 0.02 * expected[1].norm()
    half = value_and_gradient(contrastive, z.bfloat16(), ids, 0.1, reading=reading)
    assert half[1].dtype == torch.bfloat16 and abs(half[0] - expected[0]) < 2e-3


@pytest.mark.parametrize("kind", ["ids", "rows"])
@pytest.mark.parametrize("spread", [1.0, 0.1, 0.03])  # of classes, in lengths of their means: from far to converged
def test_bf16_errors_are_small_beside_the_attraction_alone(spread, kind):
    """The bounds of the docstring, at the size from which bf16 products are taken."""
    n, temperature, ids = losses.BF16_ROWS, 0.1, torch.arange(losses.BF16_ROWS) % 10
    z = F.normalize(F.normalize(numbers(1, 10, 128))[ids] + spread * numbers(2, n, 128) / 128**0.5)
    one_hot = F.one_hot(ids, 10).double()
    targets = ids if kind == "ids" else 0.7 * one_hot + 0.3 * one_hot.roll(1, 0)
    expected = value_and_gradient(contrastive, z, targets, temperature)
    with torch.autocast("cpu", torch.bfloat16):
        got = value_and_gradient(contrastive, z.float(), targets, temperature)
    assert 0 < abs(got[0] - expected[0]) < 0.002 / temperature
    assert 1e-4 < (got[1] - expected[1]).norm() * temperature * n**0.5 < 0.003


@pytest.mark.parametrize(("temperature", "width", "spread", "bound"), [
    (0.025, 16, 100.0, 0.025), (0.025, 128, 0.03, 0.025), (0.1, 16, 100.0, 0.006), (99.9, 128, 1.0, 0.006)])
def test_bf16_errors_of_the_gradient_at_the_ends_of_the_temperatures(temperature, width, spread, bound):
    """The bounds of the docstring where they are widest: lowest temperature, narrow embeddings at random."""
    n, ids = losses.BF16_ROWS, torch.arange(losses.BF16_ROWS) % 8
    z = F.normalize(F.normalize(numbers(1, 8, width))[ids] + spread * numbers(2, n, width) / width**0.5).float()
    for reading in READINGS:
        expected = value_and_gradient(contrastive, z, ids, temperature, reading=reading)
        with torch.autocast("cpu", torch.bfloat16):
            got = value_and_gradient(contrastive, z, ids, temperature, reading=reading)
        assert abs(got[0] - expected[0]) < 0.002 / temperature
        scale = temperature * n**0.5
        error, whole = scale * (got[1] - expected[1]).norm(), scale * expected[1].norm()
        assert error < bound + (0.1 * whole if reading == "pairs" and temperature < 0.1 else 0)
        assert (error > 0.006) == ((temperature, width) == (0.025, 16)), "what holds from 0.1 up does not there"


def test_low_temperatures_keep_fp32_products(monkeypatch):
    monkeypatch.setattr(losses, "BF16_ROWS", 0)
    z, ids = numbers(0, 60, 16, dtype=torch.float32), torch.arange(60) // 2
    for temperature, same in ((0.024, True), (0.025, False)):
        with torch.autocast("cpu", torch.bfloat16):
            got = contrastive(z, ids, temperature)["loss"]
        assert (got == contrastive(z, ids, temperature)["loss"]) == same


def test_large_batches_use_bf16_products_under_bf16_only():
    z, ids = numbers(0, losses.BF16_ROWS, 8, dtype=torch.float32), torch.arange(losses.BF16_ROWS) // 2
    fp32 = contrastive(z, ids, 0.1)["loss"]
    with torch.autocast("cpu", torch.bfloat16):
        bf16 = contrastive(z, ids, 0.1)["loss"]
        assert contrastive(z[:64].double(), ids[:64], 0.1)["loss"].dtype == torch.float64
    assert 0 < abs(bf16 - fp32) < 1e-3


# Cost


CUDA_IS_BUILT = pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch knows no CUDA")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA_IS_BUILT)])
def test_nothing_waits_for_the_device(device):
    """Fake tensors have no values, so anything that asks for one raises."""
    with FakeTensorMode():
        z = torch.randn(600, 8, device=device, requires_grad=True)
        for targets in (torch.arange(600, device=device) // 2, torch.rand(600, 5, device=device)):
            for reading in READINGS:
                for temperature in (0.1, 0.01):
                    for left_out in (None, torch.arange(600, device=device) % 3 == 0):
                        out = contrastive(z, targets, temperature, reading=reading, label_similarity="cosine",
                                          left_out=left_out)
                        assert {x.device.type for x in out.values()} == {device}
        with pytest.raises(Exception, match=r"unique|dynamic"):
            torch.unique(targets)  # what would have waited


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives_without_waiting():
    z, rows = numbers(0, 600, 16, dtype=torch.float32), soft_rows(0, 600, 5).float()
    for targets in (torch.arange(600) // 2, rows):
        expected = value_and_gradient(contrastive, z, targets, 0.1)
        inputs = z.cuda(), targets.cuda()
        torch.cuda.set_sync_debug_mode("error")
        try:
            got = value_and_gradient(contrastive, *inputs, 0.1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.testing.assert_close([x.cpu() for x in got], list(expected))


MEASURE = """
import sys, torch
from mixlab.losses import contrastive
torch.set_num_threads(1)
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024
def step(n):
    z = torch.randn(n, 128, requires_grad=True)
    contrastive(z, torch.randint(0, 10, (n,)), 0.1)["loss"].backward()
step(300)
before = status("VmRSS")
step(int(sys.argv[1]))
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("n", "mebibytes"), [(8192, 90), pytest.param(32768, 300, marks=pytest.mark.slow)])
def test_memory_grows_with_n_not_its_square(n, mebibytes):
    """One N x N matrix in fp32 would take 256 MiB at 8192 and 4 GiB at 32768."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(n)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < mebibytes


# Bad input


@pytest.mark.parametrize("temperature", [0, -0.1, math.nan, math.inf, 1e-6, 1e6, "0.1", None, True, torch.tensor(0.1)])
def test_temperature_outside_its_interval_is_refused(temperature):
    with pytest.raises(ParamError, match=r"temperature: a number with 1e-06 < temperature < 1e\+06; got"):
        contrastive(numbers(0, 4, 3), torch.tensor([0, 0, 1, 1]), temperature)


@pytest.mark.parametrize("z", [torch.zeros(1, 3), torch.zeros(4), torch.zeros(4, 0), torch.zeros(4, 3).long(), [[1.0]]])
def test_wrong_embeddings_are_refused(z):
    with pytest.raises(ParamError, match="z: a float tensor of shape"):
        contrastive(z, torch.tensor([0, 0, 1, 1]), 0.1)


@pytest.mark.parametrize(
    "targets", [torch.zeros(3).long(), torch.zeros(4), torch.zeros(4, 2).long(), torch.zeros(3, 2),
                torch.zeros(4, 2, 2), torch.zeros(4, device="meta").long(), [0, 0, 1, 1]])
def test_wrong_targets_are_refused(targets):
    with pytest.raises(ParamError, match=r"targets: integer ids \(4,\) or float rows \(4, K\) on cpu; got"):
        contrastive(numbers(0, 4, 3), targets, 0.1)


@pytest.mark.parametrize("left_out", [torch.zeros(4), torch.zeros(3).bool(), torch.zeros(4, device="meta").bool(), [0]])
def test_a_wrong_left_out_is_refused(left_out):
    with pytest.raises(ParamError, match=r"left_out: None, or bool \(4,\) on cpu; got"):
        contrastive(numbers(0, 4, 3), torch.arange(4), 0.1, left_out=left_out)


def test_all_wrong_arguments_are_named_at_once_with_the_nearest_name():
    with pytest.raises(ParamError) as error:
        contrastive(numbers(0, 4, 3), torch.zeros(4), 0, reading="anchors", label_similarity="cosin")
    lines = str(error.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["targets", "temperature", "reading", "label_similarity"]
    assert 'Did you mean "anchor"' in lines[2] and 'Did you mean "cosine"' in lines[3]


# Cross-entropy


def test_soft_cross_entropy_equals_its_formula():
    logits, rows = numbers(0, 6, 4), soft_rows(0, 6, 4)
    expected = 0
    for logit, row in zip(logits.tolist(), rows.tolist(), strict=True):
        lse = math.log(sum(math.exp(x) for x in logit))
        expected -= sum(t * (x - lse) for t, x in zip(row, logit, strict=True)) / 6
    assert soft_cross_entropy(logits, rows)["loss"].item() == pytest.approx(expected, rel=1e-12)


def test_soft_cross_entropy_of_a_mixture_is_the_mixture_of_two():
    logits, a, b = numbers(0, 6, 4), torch.tensor([0, 1, 2, 3, 0, 1]), torch.tensor([1, 1, 0, 2, 3, 3])
    rows = 0.3 * F.one_hot(a, 4) + 0.7 * F.one_hot(b, 4)
    mixed = 0.3 * soft_cross_entropy(logits, a)["loss"] + 0.7 * soft_cross_entropy(logits, b)["loss"]
    torch.testing.assert_close(soft_cross_entropy(logits, rows)["loss"], mixed, rtol=1e-6, atol=0)


@pytest.mark.parametrize("autocast", [False, True])
def test_soft_cross_entropy_is_computed_in_fp32(autocast):
    logits = (30 * numbers(0, 6, 4)).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = soft_cross_entropy(logits, soft_rows(0, 6, 4).bfloat16())["loss"]
    assert loss.dtype == torch.float32
    expected = soft_cross_entropy(logits.detach().double(), soft_rows(0, 6, 4).bfloat16())["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.autograd.grad(loss, logits)[0].dtype == torch.bfloat16


@pytest.mark.parametrize("targets", [torch.zeros(6), torch.zeros(6, 3), torch.zeros(5, 4), torch.zeros(6, 4).long()])
def test_soft_cross_entropy_refuses_targets_that_do_not_fit(targets):
    with pytest.raises(ParamError, match=r"targets: integer ids \(6,\) or float rows \(6, 4\)"):
        soft_cross_entropy(numbers(0, 6, 4), targets)


def test_soft_cross_entropy_refuses_logits_of_the_wrong_shape():
    with pytest.raises(ParamError, match="logits: a float tensor"):
        soft_cross_entropy(numbers(0, 6), torch.zeros(6).long())
