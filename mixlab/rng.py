"""Randomness without state: every draw comes from a key (seed, role, epoch, step).

A key makes a fresh NumPy Philox generator, so a resumed run, a second rank and another device all see
the draws of the run that never stopped, and no random state is ever stored.
(NumPy, not torch, because ``torch.distributions.Beta`` is wrong for small alpha: PyTorch issue 15738.)
"""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class Key:
    """Names one place in a run. Equal keys give equal draws, different keys independent ones.

    Args:
        seed: integer in [0, 2**32).
        role: what the draw is for, e.g. ``"views/0"`` or ``"mixer"``.
        epoch, step: where in training; 0 elsewhere.
    """

    seed: int
    role: str = ""
    epoch: int = 0
    step: int = 0

    def child(self, role):
        """The key of a part of this draw: role is appended after a slash."""
        return replace(self, role=f"{self.role}/{role}")

    def generator(self):
        """A fresh ``numpy.random.Generator`` (Philox) for this key."""
        name = f"{self.seed}|{self.role}|{self.epoch}|{self.step}"
        digest = hashlib.sha256(name.encode()).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def draw_cycle(generator, n):
    """One random cycle over n >= 2 items, int64 (n,): a permutation that sends no item to itself."""
    order = generator.permutation(n)
    partner = np.empty(n, dtype=np.int64)
    partner[order] = np.roll(order, -1)
    return partner


def to_device(device, *arrays):
    """Copies NumPy arrays to ``device`` without blocking; float64 becomes float32."""
    tensors = [torch.from_numpy(np.ascontiguousarray(a, np.float32 if a.dtype == np.float64 else None))
               for a in arrays]
    if torch.device(device).type == "cuda":
        tensors = [t.pin_memory().to(device, non_blocking=True) for t in tensors]
    return tensors if len(tensors) > 1 else tensors[0]
