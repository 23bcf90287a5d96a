"""Floors, counted from the work of a step and measured ceilings of the machine.

FLOPs are those that torch's counter finds in the forward and backward pass of encoder and projector (a multiplication
and its addition are 2): no implementation of these layers can beat that. Bytes are those that move when every
convolution is one kernel and BatchNorm with its ReLU takes one pass for the statistics and one to apply them, as the
libraries of today do (``PASSES`` over each convolution's output); kernels that fuse more would move fewer.
"""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixlab.benchmark.contrast import DIM
from mixlab.benchmark.neighbours import DIM as FEATURES
from mixlab.benchmark.rows import OURS, Row, is_ours, rows_of
from mixlab.benchmark.timing import Arm, interleave
from mixlab.encoders import Encoder
from mixlab.heads import projector

# Per convolution output y with its BatchNorm and ReLU. Forward, 5: y is written, read for the statistics, read and
# written again normalised, read by the next convolution. Backward, 9: the gradient by the normalised y is written,
# read with y for the sums of BatchNorm (2), read with y and written as the gradient by y (3), which the two products of
# the convolution read (2), one of them with the convolution's input (1).
PASSES = 14
BYTES = {"bf16": 2, "fp32": 4}
# Vendors' figures, not measured here: dense bf16 FLOP/s, bytes/s of memory.
VENDORS = {"H200": (989e12, 4.8e12), "RTX 4080": (97e12, 0.717e12)}


@dataclass(frozen=True)
class Counted:
    """Work of one training step per view: FLOPs, and numbers that convolutions put out."""

    flops: float
    outputs: float

    def seconds(self, flops_per_second, bytes_per_second, precision="bf16"):
        """(seconds of arithmetic, seconds of memory traffic) per view; the larger of the two is a floor."""
        return self.flops / flops_per_second, PASSES * self.outputs * BYTES[precision] / bytes_per_second


def count(network, views, side=32):
    """The ``Counted`` work of ``network``, images (B,3,S,S) to anything, on so many views. Nothing is computed."""
    network, outputs = network.to("meta").train(), []
    hooks = [m.register_forward_hook(lambda m, i, out: outputs.append(out.numel())) for m in network.modules()
             if isinstance(m, nn.Conv2d)]
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(views, 3, side, side, device="meta")).sum().backward()
    for hook in hooks:
        hook.remove()
    return Counted(counter.get_total_flops() / views, sum(outputs) / views)


def count_encoder(name):
    """The ``Counted`` work of an encoder with SimCLR's projector."""
    with torch.device("meta"):
        encoder = Encoder(name)
        return count(nn.Sequential(encoder, projector(encoder.dim, 512, 128)), 2)


def measure(values, pace):
    """Rows of the machine's ceilings, of each encoder's counted work, and of the views per second they allow."""
    ceilings = {}
    for row in _ceilings(values["matmul_size"], pace):
        ceilings[row.unit, row.precision] = max(row.value, ceilings.get((row.unit, row.precision), 0))
        yield row
    for encoder in values["encoders"]:
        counted = count_encoder(encoder)
        for value, unit in ((counted.flops / 1e9, "GFLOP"), (counted.outputs / 1e6, "million outputs")):
            yield Row("floors", f"{encoder}, a view", 1, "counted", value, unit, precision="any", clock="counted")
        for precision in BYTES:
            flops, bandwidth = 1e12 * ceilings["TFLOP/s", precision], 1e9 * ceilings["GB/s", "any"]
            both = counted.seconds(flops, bandwidth, precision)
            for kind, seconds in zip(("arithmetic", "memory"), both, strict=True):
                yield Row("floors", encoder, 1, f"{kind} floor", 1 / seconds, "views/s", precision=precision,
                          threads=pace.threads, clock="derived")
    yield from _beside_steps(values, ceilings, pace)


def _beside_steps(values, ceilings, pace):
    """Rows of what views, losses and neighbours could reach at the ceilings.

    A view: uint8 pixels read once, float32 ones written once. The loss of N embeddings of D numbers: products of every
    pair once, and two products with them for the gradient, N^2 D FLOPs each. Neighbours: 2 M D FLOPs a query.
    """
    about = {"precision": "fp32", "threads": pace.threads, "clock": "derived"}
    yield Row("floors", "a view of 32 x 32", 1, "memory floor",
              1e9 * ceilings["GB/s", "any"] / (3 * 32**2 * 5), "views/s", **about)
    for size in values["loss_sizes"]:
        yield Row("floors", "loss, forward and backward", size, "arithmetic floor",
                  1e3 * 3 * size**2 * DIM / (1e12 * ceilings["TFLOP/s", "fp32"]), "ms", **about)
    yield Row("floors", f"neighbours of {values['bank_size']:,}", values["queries"], "arithmetic floor",
              1e12 * ceilings["TFLOP/s", "fp32"] / (2 * values["bank_size"] * FEATURES), "queries/s", **about)


def _ceilings(side, pace):
    """Products of matrices and convolutions in TFLOP/s, the faster of which is the ceiling, and copies in GB/s."""
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.ones(side, side, dtype=dtype, device=pace.device)
        arms = [Arm("matmul", lambda a=a: a @ a, 2e-12 * side**3, precision),
                _convolution(side, dtype, precision, pace)]
        yield from rows_of("floors", "ceiling", side, interleave(arms, pace), pace, "TFLOP/s")
    x = torch.ones(32 * side**2, dtype=torch.uint8, device=pace.device)
    y = torch.empty_like(x)
    arm = Arm("copy, read and written", lambda: y.copy_(x), 2e-9 * len(x), "any")
    yield from rows_of("floors", "ceiling", len(x), interleave([arm], pace), pace, "GB/s")


def _convolution(side, dtype, precision, pace, channels=256, cells=16):
    """A 3 x 3 convolution like those of the third layer of a ResNet: the library for it can be faster than products."""
    images = max(1, side // 64)
    x, weight = (torch.ones(shape, dtype=dtype, device=pace.device).to(memory_format=torch.channels_last)
                 for shape in ((images, channels, cells, cells), (channels, channels, 3, 3)))
    work = 2e-12 * images * cells**2 * channels**2 * 9
    return Arm("convolution", lambda: torch.conv2d(x, weight, padding=1), work, precision)


def shares(rows):
    """Rows that say which share of each floor our fastest measured steps reach; ``rows`` hold the floors and them."""
    for floor in [row for row in rows if row.part == "floors" and row.unit == "views/s"]:
        own = [row for row in rows if (row.case, row.precision) == (floor.case, floor.precision)
               and row.part in ("step", "epoch") and is_ours(row.arm) and row.unit == "views/s"]
        if own:
            best = max(row.value for row in own)
            yield replace(floor, arm=OURS, against=floor.arm, value=best / floor.value, unit="times the rate of",
                          low=None, high=None, wall=None)
