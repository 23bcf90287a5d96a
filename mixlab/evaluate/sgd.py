"""The linear probe of the draft's Table 2: SGD on cached features. And the record of any linear probe."""

import math
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from mixlab.errors import NonFiniteLossError
from mixlab.rng import Key, to_device


@dataclass(frozen=True, eq=False)
class Linear:
    """A fitted linear classifier: weight (K, D) and bias (K,); a call turns features (N, D) into logits (N, K)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, features):
        return torch.addmm(self.bias, features, self.weight.T)


def sgd_probe(passes, labels, num_classes, protocol):
    """A linear classifier trained by SGD on the cross-entropy, after the last epoch.

    The draft's Table 2 with the protocol's defaults: momentum 0.9, batch 256 (the last one smaller), 100 epochs, lr 0.1
    times 0.2 after epochs 60, 75 and 90, no weight decay; features are taken as they are, not normalised.

    Args:
        passes: list of features (N, D); epoch e learns from pass (e - 1) mod K. One pass is the plain probe.
        labels: int64 (N,) on the same device.
        num_classes: K.
        protocol: its ``probe_*`` fields and ``seed`` (initial weights and the order of every epoch).
    Raises:
        NonFiniteLossError: the weights did not stay finite.
    Source:
        The MixSupCon draft, Table 2; its values are those of the code of Khosla et al. 2020, arXiv 2004.11362. Differs
        from that code in encoding every image once (or K times) instead of once an epoch, and in reporting the last
        epoch, not the one that is best on the test set.
    """
    with _one_thread():
        theta = _descend(passes, labels, num_classes, protocol)
    if not torch.isfinite(theta).all():
        raise NonFiniteLossError("probe: finite weights; SGD left it. Lower probe_lr, or use the probe lbfgs.")
    return Linear(theta[:, :-1].clone(), theta[:, -1].clone())


@contextmanager
def _one_thread():
    """One CPU thread for a while: a step is too small to share, and waiting for other threads costs more than it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _descend(passes, labels, num_classes, protocol):
    device = labels.device
    theta = to_device(device, initial_weights(num_classes, passes[0].shape[1], protocol.seed))  # (K, D + 1)
    momentum = torch.zeros_like(theta)
    for epoch in range(1, protocol.probe_epochs + 1):
        order = to_device(device, epoch_order(len(labels), protocol.seed, epoch))  # (N,)
        lr = protocol.probe_lr * protocol.probe_lr_decay_rate ** sum(epoch > e for e in protocol.probe_lr_decay_epochs)
        features = passes[(epoch - 1) % len(passes)]
        for index in order.split(protocol.probe_batch_size):
            gradient = _gradient(theta, features[index], labels[index])
            gradient.add_(theta, alpha=protocol.probe_weight_decay)
            momentum.mul_(protocol.probe_momentum).add_(gradient)
            theta.sub_(momentum, alpha=lr)
    return theta


def initial_weights(num_classes, dim, seed):
    """Weights and, in the last column, bias (K, D + 1), uniform within 1/sqrt(D): ``torch.nn.Linear``'s own law."""
    bound = 1 / math.sqrt(dim)
    return Key(seed, "probe/weights").generator().uniform(-bound, bound, (num_classes, dim + 1)).astype(np.float32)


def epoch_order(count, seed, epoch):
    """The order (N,) in which epoch ``epoch`` (from 1) sees the images."""
    return Key(seed, "probe/order", epoch).generator().permutation(count)


def _gradient(theta, features, labels):
    """Gradient (K, D + 1) of the mean cross-entropy, classes in rows: several times as fast as images in rows."""
    p = torch.addmm(theta[:, -1:], theta[:, :-1], features.T).softmax(0)  # (K, B)
    p[labels, torch.arange(len(labels), device=labels.device)] -= 1
    p.div_(len(labels))
    return torch.cat([p @ features, p.sum(1, keepdim=True)], 1)
