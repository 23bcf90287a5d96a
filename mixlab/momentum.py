"""What methods with a momentum encoder are made of: the key branch, the queue of keys, and BatchNorm without leaks."""

import math
from copy import deepcopy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mixlab.errors import ParamError, problem
from mixlab.rng import Key, to_device


def frozen_copy(module):
    """A copy of the module as it is now, without gradients."""
    return deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(slow, fast, momentum):
    """slow <- momentum * slow + (1 - momentum) * fast, for every parameter; ``momentum``: a number or scalar tensor."""
    mine, theirs = list(slow.parameters()), list(fast.parameters())
    torch._foreach_mul_(mine, momentum)  # on a GPU a few kernels for all parameters
    torch._foreach_add_(mine, torch._foreach_mul(theirs, 1 - momentum))


class KeyBranch(nn.Module):
    """A slow copy of encoder and projector: no gradient, moved towards them by ``follow`` after each step.

    Only parameters are averaged; its BatchNorm keeps running statistics of its own.

    Args:
        encoder, projector: copied as they are now.
        shuffle: encode the batch in another order, so that a key and its query meet different images in SplitBN.
    Source:
        He et al. 2019, arXiv 1911.05722, section 3.
    """

    def __init__(self, encoder, projector, shuffle=False):
        super().__init__()
        self.encoder, self.projector, self.shuffle = frozen_copy(encoder), frozen_copy(projector), shuffle

    @torch.no_grad()
    def forward(self, images, key, *, others=None, draw=None):
        """Keys (B, D) of the images, or of their mixtures; ``key`` draws the order of a shuffled batch."""
        if not self.shuffle:
            return self.projector(self.encoder(images, others=others, draw=draw))
        mixed = images if draw is None else draw.apply(images, others)
        return self.shuffled(lambda x: self.projector(self.encoder(x)), mixed, key)

    @torch.no_grad()
    def maps(self, images, layers, key):
        """``encoder.feature_maps`` of the images, shuffled as in ``forward``: a list in the order of ``layers``."""
        if not self.shuffle:
            return list(self.encoder.feature_maps(images, layers).values())
        return self.shuffled(lambda x: tuple(self.encoder.feature_maps(x, layers).values()), images, key)

    def shuffled(self, encode, images, key):
        """What ``encode`` gives for the images in an order drawn from ``key``, put back in theirs."""
        order = key.child("shuffle").generator().permutation(len(images))
        order, back = to_device(images.device, order, np.argsort(order))
        out = encode(images[order])
        return [o[back] for o in out] if isinstance(out, tuple) else out[back]

    def follow(self, encoder, projector, momentum):
        """Moves both copies; see ``follow``."""
        follow(self.encoder, encoder, momentum)
        follow(self.projector, projector, momentum)


class Queue(nn.Module):
    """The last ``size`` keys, first in, first out: the negatives of the next step. Starts as random directions.

    A ring: ``cursor`` says where the next key goes, and wraps around, so that size need not be a multiple of the batch.

    Args:
        size: number of keys, >= 1; of a push of more keys the last ones stay.
        dim: width of a key.
        name: of the queue, so that two queues of a method start differently.
    """

    def __init__(self, size, dim, name="keys"):
        super().__init__()
        start = Key(0, f"queue/{name}").generator().standard_normal((size, dim))
        self.register_buffer("keys", F.normalize(to_device("cpu", start), dim=1))  # (K, D), unit length
        self.register_buffer("cursor", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def push(self, keys):
        """Puts keys (B, D) in the place of the oldest."""
        size, keys = len(self.keys), F.normalize(keys.to(self.keys), dim=1)
        place = (self.cursor + torch.arange(len(keys), device=keys.device)) % size  # (B,)
        self.keys[place[-size:]] = keys[-size:]
        self.cursor.copy_((self.cursor + len(keys)) % size)


class SplitBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm as on several devices: each part of the batch is normalised by its own statistics while training.

    Running statistics are the mean over the parts, and evaluation is BatchNorm's. The ``splits`` parts are contiguous
    and of one size, as slices that devices would get, so that memory stays in its order; a batch that cannot be divided
    so is refused.
    """

    def __init__(self, like, splits):
        super().__init__(like.num_features, like.eps, like.momentum)
        self.load_state_dict(like.state_dict())
        self.splits = splits

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        if len(x) % self.splits:
            raise ParamError(problem("bn_splits", f"a divisor of the batch of {len(x)} images", self.splits,
                                     "Change batch_size or bn_splits, or use batchnorm plain"))
        self.num_batches_tracked += 1
        means, variances = (v.repeat(self.splits, 1) for v in (self.running_mean, self.running_var))  # (splits, C) each
        out = [F.batch_norm(part, mean, var, self.weight, self.bias, True, self.momentum, self.eps)
               for part, mean, var in zip(x.chunk(self.splits), means, variances, strict=True)]
        self.running_mean.copy_(means.mean(0))
        self.running_var.copy_(variances.mean(0))
        return torch.cat(out)


def with_batchnorm(encoder, batchnorm, splits):
    """The encoder, its BatchNorm layers replaced in place by split ones unless ``batchnorm`` is plain."""
    for parent in list(encoder.modules()) if batchnorm != "plain" else ():
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SplitBatchNorm2d(child, splits))
    return encoder


def rising(start, progress, device):
    """BYOL's momentum at ``progress`` in [0, 1], a scalar tensor: from ``start`` to 1 along a cosine.

    Source:
        Grill et al. 2020, arXiv 2006.07733, section 3.3.
    """
    return torch.full((), 1 - (1 - start) * (1 + math.cos(math.pi * progress)) / 2, device=device)
