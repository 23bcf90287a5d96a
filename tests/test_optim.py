"""Schedules and the optimizer."""

import math

import pytest
import torch
from torch import nn

from mixlab.optim import build_optimizer, learning_rate, restore_optimizer

BASE = {"lr": 0.5, "epochs": 100, "warmup_epochs": 0, "schedule": "cosine", "lr_decay_epochs": [], "lr_decay_rate": 0.1}


def at(epochs_done, **changes):
    return learning_rate(BASE | changes, epochs_done)


def test_cosine_falls_from_the_peak_to_zero():
    assert at(0) == 0.5 and at(50) == pytest.approx(0.25) and at(100) == 0.0
    assert at(10, warmup_epochs=10) == 0.5 and at(55, warmup_epochs=10) == pytest.approx(0.25)
    torch_says = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(torch_says, T_max=100)
    for epoch in range(100):
        assert at(epoch) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        torch_says.step()
        schedule.step()


def test_warm_up_is_linear_from_a_tenth():
    assert [at(e, warmup_epochs=10) for e in (0, 5)] == [pytest.approx(0.05), pytest.approx(0.275)]


def test_the_drafts_steps():
    """Table 1: 0.05, times 0.1 after 700, 800 and 900 epochs; the epoch numbered 700 still has the full rate."""
    table = {"lr": 0.05, "epochs": 1000, "schedule": "step", "lr_decay_epochs": [700, 800, 900]}
    rates = [at(e, **table) for e in (0, 699.99, 700, 800, 900, 1000)]
    assert rates == [pytest.approx(r) for r in (0.05, 0.05, 0.005, 0.0005, 0.00005, 0.00005)]


def test_constant_and_no_epochs():
    assert at(77, schedule="constant") == 0.5
    assert math.isfinite(at(0, epochs=0))


def test_sgd_takes_what_the_method_lists():
    method = nn.Linear(2, 2)
    values = {"lr": 0.1, "sgd_momentum": 0.9, "weight_decay": 1e-4}
    optimizer = build_optimizer(method, values, torch.device("cpu"))
    assert len(optimizer.param_groups[0]["params"]) == 2
    method.weight.requires_grad_(False)
    assert len(build_optimizer(method, values, torch.device("cpu")).param_groups[0]["params"]) == 1


@pytest.mark.parametrize("stored", [False, True, None])
@pytest.mark.parametrize("own", [False, True])
def test_a_stored_optimizer_computes_as_the_one_it_is_loaded_into(stored, own):
    """A fused one is told of bad steps by ``found_inf``, which an ordinary one refuses with an AssertionError."""
    def optimizer(fused):
        weight = nn.Parameter(torch.ones(3))
        made = torch.optim.SGD([weight], lr=0.1, momentum=0.9, fused=fused)
        weight.grad = torch.full((3,), 2.0)
        made.step()
        return made, weight

    (before, _), (after, weight) = optimizer(stored), optimizer(own)
    restore_optimizer(after, before.state_dict())
    assert after.param_groups[0]["fused"] is own
    torch.testing.assert_close(after.state[weight]["momentum_buffer"], torch.full((3,), 2.0))
    if own:
        after.found_inf, kept = torch.ones(()), weight.detach().clone()
        after.step()
        assert torch.equal(weight, kept)
        after.found_inf = torch.zeros(())
    after.step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 0.2 - 0.1 * (0.9 * 2 + 2)))
