"""Keys, and the draws made from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlab.rng import Key, draw_cycle, to_device


def test_equal_keys_draw_alike_and_others_do_not():
    base = Key(3, "views", 2, 5)
    others = [Key(4, "views", 2, 5), Key(3, "view", 2, 5), Key(3, "views", 5, 2), Key(3, "views", 2, 6),
              base.child("x")]
    draw = base.generator().random(8)
    assert (draw == Key(3, "views", 2, 5).generator().random(8)).all()
    assert all((draw != k.generator().random(8)).all() for k in others)


def test_the_first_draws_are_pinned():
    """A change here changes every published number: it needs a new version, not a new constant."""
    assert Key(0, "order", 1).generator().integers(1000, size=4).tolist() == [755, 242, 838, 975]


@given(st.integers(2, 50), st.integers(0, 2**32 - 1))
def test_a_cycle_visits_everybody_and_fixes_nobody(n, seed):
    partner = draw_cycle(Key(seed).generator(), n)
    at, seen = 0, set()
    for _ in range(n):
        seen.add(at)
        at = partner[at]
    assert seen == set(range(n)) and at == 0 and (partner != np.arange(n)).all()


@pytest.mark.parametrize(("given_type", "expected"), [(np.float64, "torch.float32"), (np.int64, "torch.int64")])
def test_arrays_arrive_on_the_device(given_type, expected):
    first, second = to_device("cpu", np.ones(3, given_type), np.zeros((2, 2), np.float32))
    assert str(first.dtype) == expected and second.shape == (2, 2)
