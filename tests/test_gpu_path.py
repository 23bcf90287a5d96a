"""What a step must not do on a GPU: make the host wait for it. Watched on the CPU, with the steps a GPU would make."""

import pytest
import torch
from test_mixers import NoHostReads

from mixlab import parallel
from mixlab.benchmark.augmentation import pictures
from mixlab.data import Images, Splits
from mixlab.methods import METHODS
from mixlab.params import Pretrain, settle
from mixlab.train import Trainer

IMAGES, BATCH = 32, 16


def trainer(method, device):
    """A ``Trainer`` on noise that reads its failure flag at the end of an epoch, as on a GPU; it writes nothing."""
    values = Pretrain(method=method, batch_size=BATCH, epochs=1, warmup_epochs=0, device=device,
                      compile=False).resolved()
    noise = Images(pictures(IMAGES), torch.arange(IMAGES) % 10, tuple("abcdefghij"), checksum="0" * 64)
    made = Trainer(None, settle(values, IMAGES), {}, Splits(noise, noise, "test"), parallel.Ranks(), print)
    made.deferred = True
    for group in made.optimizer.param_groups:
        group["fused"] = True
    made.optimizer.defaults["fused"] = True
    made.method.train()
    made.step()  # the first one may set things up
    return made


@pytest.mark.parametrize("method", METHODS)
def test_a_step_reads_nothing_back(method, monkeypatch):
    made = trainer(method, "cpu")
    monkeypatch.setattr(made, "_count_one_class", lambda chosen: None)  # looks at labels that are on the host
    with NoHostReads():
        made.step()
    with pytest.raises(AssertionError), NoHostReads():
        made._raise_if_bad()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
def test_a_step_does_not_wait_for_the_gpu(method):
    made = trainer(method, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
