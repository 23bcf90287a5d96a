"""Features and weighted kNN."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixlab.encoders import Encoder
from mixlab.errors import ParamError
from mixlab.evaluate import features, knn_predict


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


def test_more_queries_than_a_chunk():
    bank = torch.eye(5)
    queries = bank.repeat(300, 1)
    assert (knn_predict(bank, torch.arange(5), queries, 5, k=1) == torch.arange(5).repeat(300)).all()


@pytest.mark.parametrize("k", [0, 31, -1])
def test_k_outside_the_bank_is_refused(k):
    with pytest.raises(ParamError, match="k: a whole number from 1 to the bank's 30 images"):
        knn_predict(torch.randn(30, 4), torch.zeros(30, dtype=torch.int64), torch.randn(2, 4), 2, k)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_leave_the_encoder_as_it_was(precision):
    encoder = Encoder("resnet10").train()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    pixels = torch.randint(256, (6, 32, 32, 3), dtype=torch.uint8)
    found = features(encoder, pixels, precision)
    assert found.shape == (6, 512) and found.dtype == torch.float32 and encoder.training
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    again = torch.cat([features(encoder, pixels[i:i + 1], precision) for i in range(6)])
    torch.testing.assert_close(found, again, rtol=1e-2, atol=2e-2 if precision == "bf16" else 1e-4)
