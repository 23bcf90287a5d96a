"""What a step must not do on a GPU: make the host wait for it. Watched on the CPU, with the steps a GPU would make."""

import pytest
import torch
from test_mixers import NoHostReads
from test_train import read_late

from mixlab.benchmark import Pace
from mixlab.benchmark.epoch import trainer
from mixlab.methods import METHODS


def started(method, device):
    """A trainer that reads late, after its first step, which may set things up."""
    made = trainer("resnet10", 32, 16, Pace(device=device), method=method)
    read_late(made)
    made.step()
    return made


@pytest.mark.parametrize("method", METHODS)
def test_a_step_reads_nothing_back(method, monkeypatch):
    made = started(method, "cpu")
    monkeypatch.setattr(made, "_count_one_class", lambda chosen: None)  # looks at labels that are on the host
    with NoHostReads():
        made.step()
    with pytest.raises(AssertionError), NoHostReads():
        made._raise_if_bad()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_wait_for_the_gpu(method):
    made = started(method, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
