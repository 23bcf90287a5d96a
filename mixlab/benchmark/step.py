"""Training steps: views per second of encoder, projector, NT-Xent, backward and SGD, for each encoder.

Views are ready in memory: neither side's augmentation counts. Both encoders have the same convolutions (a CIFAR stem);
lightly's step is float32, as its examples run on a CPU, and encodes the two views one after the other.
"""

import torch

from mixlab.benchmark import peers
from mixlab.benchmark.rows import MISSING, Row, rows_of
from mixlab.benchmark.timing import Arm, interleave
from mixlab.optim import build_optimizer
from mixlab.params import Pretrain, build_method
from mixlab.rng import Key
from mixlab.views import Batch


def measure(values, pace):
    """Rows of views per second for each of the encoders, ours in each of the precisions, beside lightly's step.

    ResNet-18 is measured in float32 too, so that one ratio is of equal arithmetic.
    """
    size = values["batch_size"]
    for encoder in values["encoders"]:
        batch = two_views(size, pace.device)
        precisions = dict.fromkeys([*values["precisions"], *["fp32"] * (encoder == "resnet18")])
        arms = [Arm("mixlab", own_step(encoder, batch, precision, values["compile_step"], pace.device), 2 * size,
                    precision) for precision in precisions]
        if peers.has("lightly"):
            arms.append(_lightly(encoder, batch, pace.device))
        else:
            yield Row("step", encoder, size, "lightly", None, MISSING)
        yield from rows_of("step", encoder, size, interleave(arms, pace), pace, "views/s")


def two_views(size, device, side=32):
    """A ``Batch`` of two views of noise."""
    bits = torch.Generator().manual_seed(0)
    views = tuple(torch.randn(size, 3, side, side, generator=bits).to(device) for _ in range(2))
    index = torch.arange(size, device=device)
    return Batch(views, index % 10, index, Key(0, "benchmark"), 1, 0.0)


def simclr(encoder, precision, device):
    """SimCLR and the resolved parameters that made it, as ``mixlab.train`` would."""
    values = Pretrain(method="simclr", encoder=encoder, precision=precision, device=device).resolved()
    method = build_method(values, 10).to(device, memory_format=torch.channels_last).train()
    return method, values


def own_step(encoder, batch, precision, compiled, device):
    """A function that makes one step of SimCLR as ``mixlab.train`` does."""
    method, values = simclr(encoder, precision, device)
    optimizer = build_optimizer(method, values, torch.device(device))
    if compiled:
        method.encoder.compile()

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            out = method(batch)
        optimizer.zero_grad(set_to_none=True)
        out["loss"].backward()
        optimizer.step()

    return step


def _lightly(encoder, batch, device):
    step = peers.lightly_step(encoder, device)
    return Arm("lightly", lambda: step(*batch.views), 2 * len(batch.index))
