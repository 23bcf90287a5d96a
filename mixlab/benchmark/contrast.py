"""The contrastive loss alone, forward and backward: milliseconds, and memory beyond the embeddings.

Arms, all with D = 128 and temperature 0.1: ours with class ids (hard) and with mixed label rows (soft), float32 and
bf16; lightly's ``NTXentLoss`` with image ids; pytorch-metric-learning's ``SupConLoss`` with class ids. Much of the
peers' time at thousands of embeddings goes to pages for their N x N matrices, which the system gives and takes back
each time; in a process that keeps freed memory (``mixlab.allocator``) they are about 2.5 times as fast, ours no faster:
``measure_in_training`` measures that too.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F

from mixlab.benchmark import peers
from mixlab.benchmark.memory import available, peak_mebibytes
from mixlab.benchmark.rows import MISSING, Row, rows_of
from mixlab.benchmark.timing import Arm, interleave
from mixlab.losses import contrastive

DIM, CLASSES, TEMPERATURE = 128, 10, 0.1
OURS = {"mixlab hard": "hard", "mixlab soft": "soft"}
PEERS = {"lightly NTXent": "lightly", "metric-learning SupCon": "pytorch-metric-learning"}
IN_TRAINING = 8192  # embeddings
BF16_FROM = 4096  # smaller batches are computed in float32, whatever is asked for


def measure(values, pace):
    """Rows of ms and peak MiB for every size; an arm that would not fit memory or patience is named and left out."""
    for name, peer in PEERS.items():
        if not peers.has(peer):
            yield Row("loss", "NT-Xent or SupCon", values["loss_sizes"][0], name, None, MISSING)
    last = {}  # (arm, precision): (size, seconds, bytes) of the last size measured
    for size in sorted(values["loss_sizes"]):
        wanted = [key for key in arm_names(size) if key[0] in OURS or peers.has(PEERS[key[0]])]
        patience = {key: math.inf if key[0] in OURS and key[1] == "bf16" else values["most_seconds"] for key in wanted}
        reasons = {key: reason for key in wanted if (reason := too_much(last.get(key), size, patience[key]))}
        yield from (Row("loss", "forward and backward", size, name, None, reason, precision=precision)
                    for (name, precision), reason in reasons.items())
        wanted = [key for key in wanted if key not in reasons]
        arms = [Arm(name, step(name, precision, size, pace.device), 1, precision) for name, precision in wanted]
        timings = interleave(arms, _patient(pace, last, wanted, size))
        yield from rows_of("loss", "forward and backward", size, timings, pace)
        peaks = peak_mebibytes(wanted, size, pace, lean=("mixlab soft",))
        yield from _memory_rows(size, peaks, pace)
        last |= {key: (size, t.median, 2**20 * peaks[key]) for key, t in zip(wanted, timings, strict=True)}


def measure_in_training(values, pace):
    """Rows of ms at the size nearest to 8,192, for a process that keeps freed memory, as one that trains does."""
    size = min(values["loss_sizes"], key=lambda size: abs(size - IN_TRAINING))
    wanted = [key for key in arm_names(size) if key[0] in OURS or peers.has(PEERS[key[0]])]
    arms = [Arm(name, step(name, precision, size, pace.device), 1, precision) for name, precision in wanted]
    yield from rows_of("loss_in_training", "forward and backward", size, interleave(arms, pace), pace)


def arm_names(size):
    """(name, precision) of the arms that differ at this size."""
    precisions = ("fp32", "bf16") if size >= BF16_FROM else ("fp32",)
    return [(name, precision) for precision in precisions for name in OURS] + [(name, "fp32") for name in PEERS]


def too_much(last, size, most_seconds):
    """Why an arm that took ``last`` (size, seconds, bytes) is not tried at ``size``, or "". All N x N arms grow so."""
    if last is None:
        return ""
    growth = (size / last[0]) ** 2
    if last[1] * growth > most_seconds:
        return f"not run: about {last[1] * growth:,.0f} s"
    needed = last[2] * growth
    return f"not run: about {needed / 1e9:,.0f} GB" if needed > 0.8 * available() and needed > 2e9 else ""


def _patient(pace, last, wanted, size):
    """One round without a warm-up where three rounds would take too long; seconds of one call need neither."""
    expected = sum(last[key][1] * (size / last[key][0]) ** 2 for key in wanted if key in last)
    return replace(pace, warm=False, rounds=1) if expected > pace.budget else pace


def step(name, precision, size, device):
    """A function that makes the loss of ``size`` embeddings and its gradient once."""
    bits = torch.Generator().manual_seed(0)
    z = torch.randn(size, DIM, generator=bits).to(device).requires_grad_()
    loss = _loss(name, size, bits, device)

    def call():
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            value = loss(z)
        value.backward()
        z.grad = None

    return call


def _loss(name, size, bits, device):
    """The loss as a function of embeddings alone."""
    ids = torch.randint(0, CLASSES, (size,), generator=bits).to(device)
    if name == "lightly NTXent":
        loss = peers.lightly_loss(TEMPERATURE)
        return lambda z: loss(z[:size // 2], z[size // 2:])
    if name == "metric-learning SupCon":
        loss = peers.metric_learning_loss(TEMPERATURE)
        return lambda z: loss(z, ids)
    one_hot = F.one_hot(ids, CLASSES).float()
    targets = ids if OURS[name] == "hard" else 0.7 * one_hot + 0.3 * one_hot.roll(1, 0)  # (N,) or (N, CLASSES)
    return lambda z: contrastive(z, targets, TEMPERATURE)["loss"]


def _memory_rows(size, peaks, pace):
    """Peak memory of each arm, and of each of ours as a share of each peer's."""
    about = {"part": "loss", "case": "peak memory", "size": size, "threads": pace.threads}
    for (name, precision), peak in peaks.items():
        yield Row(**about, arm=name, precision=precision, value=peak, unit="MiB")
        if name in OURS:
            yield from (Row(**about, arm=name, precision=precision, value=peak / other, unit="times the memory of",
                            against=peer) for (peer, _), other in peaks.items() if peer in PEERS)
