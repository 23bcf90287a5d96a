"""Features, weighted kNN, scores and linear probes, each against a slow or an independent computation."""

import math
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixlab import data
from mixlab.data import Images
from mixlab.encoders import Encoder
from mixlab.errors import DataError, NonFiniteLossError, ParamError
from mixlab.evaluate import (
    Features,
    Linear,
    Protocol,
    calibration_error,
    features,
    fit_logistic,
    knn,
    knn_predict,
    labelled_rows,
    lbfgs_probe,
    probes,
    scores,
    sgd_probe,
)
from mixlab.evaluate import features as encode
from mixlab.evaluate.evaluation import _said
from mixlab.evaluate.logistic import CURVATURE_ROWS, Objective, feature_curvature
from mixlab.evaluate.probes import few_labels, held_out_rows
from mixlab.evaluate.sgd import epoch_order, initial_weights
from mixlab.heads import projector
from mixlab.rng import Key


def slow_knn(bank, labels, query, num_classes, k, temperature):
    """Wu et al. 2018, section 3.4, one query and one neighbour at a time."""
    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    near = sorted(((cosine(query, b), c) for b, c in zip(bank, labels, strict=True)), reverse=True)[:k]
    votes = [0.0] * num_classes
    for similarity, label in near:
        votes[label] += math.exp(similarity / temperature)
    return max(range(num_classes), key=lambda c: votes[c])


@given(st.integers(1, 30), st.sampled_from([0.05, 0.1, 1.0]), st.integers(0, 99))
def test_knn_equals_a_brute_force_loop(k, temperature, seed):
    generator = torch.Generator().manual_seed(seed)
    bank, queries = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (30, 9))
    labels = torch.randint(4, (30,), generator=generator)
    found = knn_predict(bank, labels, queries, 4, k, temperature)
    assert found.tolist() == [slow_knn(bank.tolist(), labels.tolist(), q, 4, k, temperature) for q in queries.tolist()]


def banks():
    """Features as they come: spread, all in one direction, in tight clusters, collapsed, with many copies."""
    noise = torch.randn(9_003, 32, generator=torch.Generator().manual_seed(0))
    centres = torch.arange(len(noise)) % 7
    return {"spread": noise, "one direction": noise.abs() + 9, "clusters": noise[centres] + 0.05 * noise,
            "collapsed": torch.ones(32) + 1e-3 * noise, "copies": noise[centres]}


@pytest.mark.parametrize("name", banks())
@pytest.mark.parametrize("k", [1, 5, 200])
def test_screening_in_bfloat16_changes_no_answer(name, k):
    """Cosines of the k nearest equal those in float64 to float32's rounding, wherever bfloat16 would lose the order."""
    bank = torch.nn.functional.normalize(banks()[name], dim=1)
    queries = torch.nn.functional.normalize(banks()[name][::90] + 0.01, dim=1)
    found, index = knn._screened(bank, k)(queries)
    exact = queries.double() @ bank.double().T
    best = exact.topk(k).values
    assert torch.allclose(found.double().sort(descending=True).values, best, atol=5e-7)
    assert torch.allclose(exact.gather(1, index).sort(descending=True).values, best, atol=5e-7)
    assert all(len(set(row)) == k for row in index.tolist())


@given(st.integers(1, 90), st.integers(1, 60), st.booleans(), st.integers(0, 99))
def test_the_largest_are_in_the_columns_with_the_largest_maxima(columns, count, few, seed):
    values = torch.rand(5, knn.ROWS * columns, generator=torch.Generator().manual_seed(seed))
    values = (4 * values).floor() if few else values  # many alike
    count = min(count, values.shape[1])
    largest, place = knn._largest(values, count)
    assert torch.equal(largest.sort(descending=True).values, values.topk(count).values)
    assert torch.equal(values.gather(1, place), largest) and all(len(set(row)) == count for row in place.tolist())


def test_what_centring_takes_from_the_products_is_hardly_rounded():
    rest, mean = torch.randn(40, 8), torch.full((8,), 3.0)
    rough, longest, lost = knn._rounded(rest, mean)
    assert torch.allclose(rough[:, 8:].double().sum(1), (rest @ mean).double(), rtol=2**-15)
    assert torch.isclose(longest, rest.norm(dim=1).max()) and 0 < lost <= longest * knn.ROUNDING


@pytest.mark.parametrize("name", ["spread", "one direction"])
def test_screening_asks_again_for_a_few_only(name, monkeypatch):
    bank, asked = torch.nn.functional.normalize(banks()[name], dim=1), []
    monkeypatch.setattr(knn, "_nearest", lambda bank, chunk, k: asked.extend(chunk) or (chunk @ bank.T).topk(k))
    knn._screened(bank, 200)(bank[:500])
    assert len(asked) < 25


def test_screening_is_used_for_large_banks_only(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    screened, large, asked = knn._screened, torch.randn(knn.LARGE, 4), []
    monkeypatch.setattr(knn, "_screened", lambda bank, k: asked.append(k) or screened(bank, k))
    for bank, k in ((large, 3), (large[1:], 3), (large.double(), 3), (large, knn.LARGE)):
        knn_predict(bank, torch.zeros(len(bank), dtype=torch.int64), bank[:4], 1, k)
    assert asked == [3]


def test_more_queries_than_a_chunk():
    bank = torch.eye(5)
    queries = bank.repeat(300, 1)
    assert (knn_predict(bank, torch.arange(5), queries, 5, k=1) == torch.arange(5).repeat(300)).all()


@pytest.mark.parametrize("k", [0, 31, -1])
def test_k_outside_the_bank_is_refused(k):
    with pytest.raises(ParamError, match="k: a whole number from 1 to the bank's 30 images"):
        knn_predict(torch.randn(30, 4), torch.zeros(30, dtype=torch.int64), torch.randn(2, 4), 2, k)


def test_the_default_k_is_lowered_to_a_small_bank_and_one_that_was_asked_is_not():
    assert Protocol().k_for(50_000) == (200, 5) and Protocol().k_for(64) == (64, 5) and Protocol().k_for(3) == (3,)
    assert Protocol(knn_k=(7,)).k_for(64) == (7,)
    with pytest.raises(ParamError, match="knn_k: each a whole number from 1 to the bank's 64 images; got 200"):
        Protocol(knn_k=(5, 200)).k_for(64)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_leave_the_encoder_as_it_was(precision):
    encoder = Encoder("resnet10").train()
    encoder.layers[0].eval()  # a part in another mode keeps it
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    pixels = torch.randint(256, (6, 32, 32, 3), dtype=torch.uint8)
    found = features(encoder, pixels, precision)
    assert found.shape == (6, 512) and found.dtype == torch.float32
    assert encoder.training and not encoder.layers[0].training and encoder.layers[1].training
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    again = torch.cat([features(encoder, pixels[i:i + 1], precision) for i in range(6)])
    torch.testing.assert_close(found, again, rtol=1e-2, atol=2e-2 if precision == "bf16" else 1e-4)


@pytest.fixture(scope="module")
def few_images():
    pixels = torch.randint(256, (12, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Images(pixels, torch.arange(12) % 3, ("a", "b", "c"))


def test_features_are_computed_once_and_whole_passes_do_not_depend_on_the_chunks(few_images, monkeypatch):
    encoder, head = Encoder("resnet10"), projector(512, 16, 8, batchnorm=True)
    before = {k: v.clone() for k, v in [*encoder.state_dict().items(), *head.state_dict().items()]}
    seen = []
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda images: seen.append(len(images)) or forward(images))
    found = Features(encoder, {"train": few_images}, head, seed=3)
    for _ in range(2):
        h, z = found.of("train"), found.of("train", "projection")
        views = [found.augmented("train", n, layer) for n in (0, 1) for layer in found.layers]
    assert sum(seen) == found.encodings == 36 and found.layers == ("encoder", "projection")
    assert z.shape == (12, 8) and torch.equal(z, head.eval()(h))
    assert all(torch.equal(v, before[k]) for k, v in [*encoder.state_dict().items(), *head.state_dict().items()])
    assert not any(torch.equal(h, v) for v in views[::2]) and not torch.equal(views[0], views[2])
    monkeypatch.setattr("mixlab.evaluate.encoding.CHUNK_PIXELS", 5 * 32 * 32)
    again = Features(encoder, {"train": few_images}, head, seed=3)
    torch.testing.assert_close(again.augmented("train", 1), views[2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(Features(encoder, {"train": few_images}, seed=4).augmented("train", 1), views[2])


def test_features_can_be_learnt_from(few_images):
    layer = torch.nn.Linear(512, 3)
    layer(encode(Encoder("resnet10"), few_images.pixels)).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def answers(seed=0, count=200, classes=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, classes, generator=generator), torch.randint(classes, (count,), generator=generator)


def test_scores_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score
    logits, labels = answers()
    found, guess = scores(logits, labels), logits.argmax(1)
    assert found["top1"] == accuracy_score(labels, guess)
    assert found["top5"] == top_k_accuracy_score(labels, logits, k=5)
    assert found["confusion"] == confusion_matrix(labels, guess).tolist()
    assert found["per_class"] == pytest.approx(recall_score(labels, guess, average=None).tolist())


def test_scores_say_none_where_a_number_would_mean_nothing():
    logits, labels = answers(classes=4)
    found = scores(logits, labels.clamp(max=2))
    assert found["top5"] is None and found["per_class"][3] is None and None not in found["per_class"][:3]


@given(st.integers(0, 50))
def test_the_calibration_error_equals_a_loop_over_bins(seed):
    logits, labels = answers(seed, classes=30)  # so many that some answers are hardly surer than a guess
    confidence, guess = logits.double().softmax(1).max(1)
    gap = 0.0
    for i in range(15):
        inside = [j for j in range(200) if i / 15 < confidence[j] <= (i + 1) / 15]
        if inside:
            accuracy = sum(int(guess[j] == labels[j]) for j in inside) / len(inside)
            gap += len(inside) / 200 * abs(accuracy - sum(confidence[j].item() for j in inside) / len(inside))
    assert calibration_error(logits, labels) == pytest.approx(gap, abs=1e-9)


def test_sure_and_right_has_no_calibration_error():
    logits = 100 * torch.eye(6)
    assert calibration_error(logits, torch.arange(6)) == pytest.approx(0, abs=1e-9)
    assert calibration_error(logits, (torch.arange(6) + 1) % 6) == pytest.approx(1, abs=1e-9)


def clusters(count=90, dim=7, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, dim, generator=generator)
    return centres[labels] + 1.5 * torch.randn(count, dim, generator=generator) + 2, labels


def slow_table2(passes, labels, classes, seed):
    """The draft's Table 2 written with PyTorch's own layer, optimizer and schedule."""
    layer = torch.nn.Linear(passes[0].shape[1], classes)
    start = torch.from_numpy(initial_weights(classes, passes[0].shape[1], seed))
    layer.weight.data.copy_(start[:, :-1])
    layer.bias.data.copy_(start[:, -1])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [60, 75, 90], gamma=0.2)
    for epoch in range(1, 101):
        order = epoch_order(len(labels), seed, epoch).tolist()
        for first in range(0, len(order), 256):
            batch = order[first:first + 256]
            loss = torch.nn.functional.cross_entropy(layer(passes[(epoch - 1) % len(passes)][batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return layer


@pytest.mark.parametrize("number", [1, 3])
def test_the_table_2_probe_is_its_slow_reference(number):
    labels = clusters(600)[1]
    passes = [clusters(600, seed=s)[0] for s in range(number)]
    fast, slow = sgd_probe(passes, labels, 3, Protocol(seed=5)), slow_table2(passes, labels, 3, 5)
    torch.testing.assert_close(fast.weight, slow.weight.detach(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fast.bias, slow.bias.detach(), rtol=1e-3, atol=1e-4)
    assert scores(fast(passes[0]), labels)["top1"] == scores(slow(passes[0]), labels)["top1"] > 0.5


def test_the_sgd_probe_depends_on_its_seed_alone():
    x, labels = clusters()
    torch.manual_seed(7)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    one, same, other = (sgd_probe([x], labels, 3, Protocol(seed=s, probe_epochs=3)) for s in (1, 1, 2))
    assert torch.equal(one.weight, same.weight) and not torch.equal(one.weight, other.weight)
    assert torch.equal(before, torch.random.get_rng_state()) and torch.get_num_threads() == threads


def test_weight_decay_is_that_of_sgd():
    x, labels = clusters(40)
    protocol = Protocol(probe_epochs=1, probe_weight_decay=0.3, probe_batch_size=40)
    start = torch.from_numpy(initial_weights(3, 7, 0)).requires_grad_()
    torch.nn.functional.cross_entropy(x @ start[:, :-1].T + start[:, -1], labels).backward()
    expected = start.detach() - 0.1 * (start.grad + 0.3 * start.detach())
    found = sgd_probe([x], labels, 3, protocol)
    torch.testing.assert_close(torch.cat([found.weight, found.bias[:, None]], 1), expected)


def test_a_probe_that_diverges_says_so():
    x, labels = clusters()
    with pytest.raises(NonFiniteLossError, match="Lower probe_lr"):
        sgd_probe([x * 1e30], labels, 3, Protocol(probe_lr=1e6, probe_epochs=3))


def correlated(count, dim=24, classes=5, seed=0):
    """Standardised features with a spectrum that falls over three decades, as a trained encoder's does."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=generator))[0]
    x = torch.randn(count, dim, generator=generator) * torch.logspace(0, -3, dim) @ turn
    x = (x - x.mean(0)) / x.std(0, correction=0)
    score = x @ torch.randn(dim, classes, generator=generator) * 0.7 + 2 * torch.randn(count, classes,
                                                                                        generator=generator)
    return x, score.argmax(1)


@pytest.mark.parametrize("l2", [1e-1, 1e-3, 1e-5])
def test_logistic_regression_is_that_of_scikit_learn(l2):
    from sklearn.linear_model import LogisticRegression
    x, labels = correlated(3000)
    train, test = slice(0, 2000), slice(2000, 3000)
    theirs = LogisticRegression(C=1 / (l2 * 2000), tol=1e-8, max_iter=10_000)
    theirs.fit(x[train].double().numpy(), labels[train].numpy())
    fit = fit_logistic(x[train], labels[train], 5, l2)
    accuracy = (linear(fit)(x[test]).argmax(1) == labels[test]).double().mean().item()
    assert fit.converged and accuracy == pytest.approx(theirs.score(x[test].double(), labels[test]), abs=5e-4)
    exact = linear(fit_logistic(x[train].double(), labels[train], 5, l2, tolerance=1e-8))
    np.testing.assert_allclose(exact.weight, theirs.coef_, atol=1e-3 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(exact.bias, theirs.intercept_, atol=1e-3)


def few(count, dim, classes=10):
    """Standardised features of a few images, and 2,000 others to be asked about: both with labels."""
    bits = torch.Generator().manual_seed(0)
    labels = torch.arange(count + 2000) % classes
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=bits))[0]
    x = torch.randn(classes, dim, generator=bits)[labels] / 2 + torch.randn(len(labels), dim, generator=bits)
    x = (x * torch.logspace(0, -2, dim)) @ turn
    x = (x - x[:count].mean(0)) / x[:count].std(0, correction=0)
    return x[:count], labels[:count], x[count:], labels[count:]


def exact(theta, x, labels, l2):
    """The penalised loss in float64, its gradient's length, and that of the penalty's part of it."""
    theta = theta.double().clone().requires_grad_()
    weight, bias = theta[:, :-1], theta[:, -1]
    loss = torch.nn.functional.cross_entropy(x.double() @ weight.T + bias, labels) + l2 / 2 * weight.square().sum()
    (gradient,) = torch.autograd.grad(loss, theta)
    return loss.item(), gradient.norm().item(), l2 * weight.norm().item()


@pytest.mark.parametrize("l2", [1, 1e-2, 1e-4, 1e-6, 1e-8])
@pytest.mark.parametrize(("count", "dim"), [(20, 64), (64, 64), (100, 64), (1000, 64), (500, 512)])
def test_fewer_images_than_dimensions_as_many_or_more_are_fitted_as_by_scikit_learn(count, dim, l2):
    from sklearn.linear_model import LogisticRegression
    x, labels, others, answers = few(count, dim)
    theirs = LogisticRegression(C=1 / (l2 * count), tol=1e-9 * min(1, 1e3 * l2), max_iter=100_000)
    theirs.fit(x.double().numpy(), labels.numpy())
    fit = fit_logistic(x, labels, 10, l2)
    loss, gradient, penalty = exact(fit.theta, x, labels, l2)
    best, _, _ = exact(torch.from_numpy(np.c_[theirs.coef_, theirs.intercept_]), x, labels, l2)
    assert fit.converged and gradient < 0.015 * penalty  # 0.01, and what float32 rounds of theta
    assert loss == pytest.approx(best, rel=1e-3)
    accuracy = (linear(fit)(others).argmax(1) == answers).double().mean().item()
    assert accuracy == pytest.approx(theirs.score(others.double().numpy(), answers.numpy()), abs=5e-3)


def test_a_fit_starts_in_the_span_of_the_images_wherever_it_is_told_to():
    x, labels, _, _ = few(20, 64)
    across = torch.randn(10, 65, generator=torch.Generator().manual_seed(1))
    zeros, other = (fit_logistic(x, labels, 10, 1e-6, start=start, share=1e-3).theta[:, :-1].double()
                    for start in (None, across))
    assert (zeros - other).norm() < 2e-3 * zeros.norm()
    span = torch.linalg.qr(x.T.double())[0]  # (64, 20)
    assert (other - other @ span @ span.T).norm() < 1e-3 * other.norm()


def test_a_direction_of_rows_that_the_curvature_leaves_out_stays_in_the_span():
    x = torch.randn(2 * CURVATURE_ROWS, 4, generator=torch.Generator().manual_seed(0))
    x[::2, 3] = 0  # every second row is asked
    assert [len(feature_curvature(rows)[0]) for rows in (x, x[::2])] == [4, 3]


def test_features_without_content_leave_the_shares_of_the_classes():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])
    fit = fit_logistic(torch.zeros(10, 5), labels, 3, 1e-4)
    assert fit.converged and (fit.theta[:, :-1] == 0).all()
    torch.testing.assert_close(fit.theta[:, -1].softmax(0), torch.tensor([0.6, 0.3, 0.1]))


def linear(fit):
    return Linear(fit.theta[:, :-1], fit.theta[:, -1])


def test_a_fit_ends_where_rounding_begins():
    x, labels = correlated(500)
    fit = fit_logistic(x, labels, 5, 1e-3, tolerance=1e-12)
    assert not fit.converged and fit.steps < 100


@given(st.integers(0, 20), st.sampled_from([1e-4, 1e-1]))
def test_the_gradient_is_that_of_the_objective(seed, l2):
    x, labels = clusters(30, seed=seed)
    theta = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    loss = torch.nn.functional.cross_entropy(x.double() @ theta[:, :-1].T + theta[:, -1], labels)
    loss = loss + l2 / 2 * theta[:, :-1].square().sum()
    loss.backward()
    point = Objective(x.double(), labels, l2)(theta.detach())
    assert point.loss == pytest.approx(loss.item(), rel=1e-9)
    torch.testing.assert_close(point.gradient, theta.grad)
    p = (x.double() @ theta[:, :-1].T + theta[:, -1]).softmax(1)
    spectra = [torch.linalg.eigvalsh(torch.diag(row) - torch.outer(row, row)) for row in p.detach()]
    assert point.spread.item() == pytest.approx(sum(s.sum().item() for s in spectra) / 30 / 2)  # one of three is 0


def test_the_preconditioner_and_the_warm_start_save_steps():
    x, labels = correlated(2000)
    cold = fit_logistic(x, labels, 5, 1e-4)
    warm = fit_logistic(x, labels, 5, 1e-4, start=fit_logistic(x, labels, 5, 2e-4).theta)
    plain = fit_logistic(x, labels, 5, 1e-4, curvature=(torch.ones(24), torch.eye(24)))
    assert cold.converged and warm.steps < cold.steps < plain.steps / 2


def test_a_fit_cut_short_does_not_count_as_converged():
    x, labels = correlated(500)
    fit = fit_logistic(x, labels, 5, 1e-4, max_steps=2)
    assert fit.steps == 2 and not fit.converged


def test_a_probe_with_a_fit_cut_short_says_so(monkeypatch):
    x, labels = clusters(90)
    whole, allowed = probes.fit_logistic, {"max_steps": 500}
    monkeypatch.setattr(probes, "fit_logistic", lambda *given, **named: whole(*given, **named | allowed))
    found, said = SimpleNamespace(of=lambda part: x, labels=lambda part: labels,
                                  images={"train": SimpleNamespace(classes=("a", "b", "c"))}), []
    for steps, converged in ((500, True), (1, False)):
        allowed["max_steps"] = steps
        assert lbfgs_probe(x, labels, 3, seed=0)[1]["converged"] == converged
        assert _said(few_labels(found, 0.5, Protocol(few_label_draws=2)), said.append)["converged"] == converged
    assert [line for line in said if "stopped before it converged" in line] == said[-1:]


def test_the_lbfgs_probe_undoes_its_standardisation():
    x, labels = clusters(600)
    x = torch.cat([x * torch.logspace(-3, 3, 7), torch.full((600, 1), 4.0)], 1)  # the last feature never varies
    classifier, about = lbfgs_probe(x, labels, 3, seed=0)
    standard = (x[:, :7] - x[:, :7].mean(0)) / x[:, :7].std(0, correction=0)
    again, _ = lbfgs_probe(standard, labels, 3, seed=0)
    torch.testing.assert_close(classifier(x), again(standard), rtol=1e-3, atol=1e-3)
    assert about["converged"] and about["held_out"] == 120 and (classifier.weight[:, 7] == 0).all()


def test_l2_is_chosen_by_held_out_images():
    """Noise of 200 dimensions on 60 images: weak L2 learns it by heart."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    x = torch.cat([labels[:, None] + 0.8 * torch.randn(60, 1, generator=generator),
                   torch.randn(60, 200, generator=generator)], 1)
    assert lbfgs_probe(x, labels, 2, seed=0)[1]["l2"] >= 0.1


def test_classes_without_images_are_never_answered():
    x, labels = clusters(60)
    classifier, _ = lbfgs_probe(x, labels * 2, 6, seed=0)  # classes 0, 2 and 4 occur
    logits = classifier(x)
    assert torch.isneginf(logits[:, 1::2]).all() and torch.isfinite(logits[:, ::2]).all()
    assert 0 <= scores(logits, labels * 2)["calibration_error"] <= 1


def test_one_image_a_class_leaves_nothing_to_hold_out():
    x, _ = clusters(3)
    _, about = lbfgs_probe(x, torch.arange(3), 3, seed=0)
    assert about["l2"] == pytest.approx(1 / 3) and about["held_out"] == 0


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 9))
def test_held_out_rows_leave_every_class_an_image(labels, seed):
    labels = torch.tensor(labels)
    rows = held_out_rows(labels, 0.2, Key(seed, "test"))
    assert rows.tolist() == sorted(set(rows.tolist()))
    for k in labels.unique():
        size, held = int((labels == k).sum()), int((labels[rows] == k).sum())
        assert held == (0 if size == 1 else max(1, int(size * 0.2 + 0.5)))


@pytest.mark.parametrize(("fraction", "seed"), [(0.25, 0), (0.5, 3), (1.0, 1)])
def test_labelled_rows_are_those_of_fine_tuning(few_images, fraction, seed):
    rows = labelled_rows(few_images.labels, few_images.classes, fraction, seed)
    assert torch.equal(few_images.pixels[rows], data.label_subset(few_images, fraction, seed).pixels)


@pytest.mark.parametrize("draw", [0, 1, 4])
def test_fine_tuning_from_a_run_sees_the_labels_of_a_draw(draw):
    """With the run's ``val_fraction``, whose split it takes over, and the seed of the draw, not of the run."""
    whole = dict(data_dir="auto", image_size=32, skip_broken=False, dataset="cifar10-mini", train_size="auto")
    run = whole | {"val_fraction": 0.1, "seed": 7, "label_fraction": 1.0}
    bank = data.load_splits(run).train
    rows = labelled_rows(bank.labels, bank.classes, 0.1, 3 + draw)
    child = run | {"seed": 3 + draw, "val_seed": 7, "label_fraction": 0.1}
    assert len(rows) == 180 and torch.equal(data.load_splits(child).train.pixels, bank.pixels[rows])


def test_classes_too_small_for_a_fraction_are_named(few_images):
    with pytest.raises(DataError, match=r"few_label_fractions 0.1: .* a \(4\), b \(4\), c \(4\). Choose a larger"):
        labelled_rows(few_images.labels, few_images.classes, 0.1, 0)


def test_of_many_classes_too_small_the_first_are_named_and_the_others_counted():
    names, labels = tuple(f"a long name of class {k}" for k in range(1000)), torch.arange(1000).repeat(4)
    images = data.Images(torch.zeros(4000, 1, 1, 3, dtype=torch.uint8), labels, names)
    for refused in (lambda: labelled_rows(labels, names, 0.1, 0), lambda: data.label_subset(images, 0.1, 0),
                    lambda: data.split_validation(images, 0.1, 0)):
        with pytest.raises(DataError, match=r"class 9 \(4\) and 990 more. Choose a") as error:
            refused()
        assert len(str(error.value)) < 500


def test_few_labels_are_several_draws_of_one_probe():
    x, labels = clusters(180)
    rest = {"train": slice(0, 90), "test": slice(90, 180)}
    found = SimpleNamespace(of=lambda part: x[rest[part]], labels=lambda part: labels[rest[part]],
                            images={"train": SimpleNamespace(classes=("a", "b", "c"))})
    row = few_labels(found, 0.1, Protocol(few_label_draws=4, seed=7))
    expected = []
    for seed in (7, 8, 9, 10):
        rows = labelled_rows(labels[:90], ("a", "b", "c"), 0.1, seed)
        classifier, _ = lbfgs_probe(x[rows], labels[rows], 3, seed)
        expected.append(scores(classifier(x[90:]), labels[90:])["top1"])
    assert row["values"] == expected and len(set(expected)) > 1 and row["images"] == 9
    assert row["mean"] == pytest.approx(statistics.mean(expected))
    assert row["std"] == pytest.approx(statistics.stdev(expected))
    assert few_labels(found, 0.1, Protocol(few_label_draws=1))["std"] is None
