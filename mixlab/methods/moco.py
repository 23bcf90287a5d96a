"""MoCo: a query finds the key of its other view among a queue of earlier keys."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import info_nce
from mixlab.momentum import KeyBranch, Queue, with_batchnorm


class MoCo(nn.Module):
    """Momentum contrast.

    L = -log( exp(q.k+ / t) / (exp(q.k+ / t) + sum over the queue of exp(q.k / t)) ), with k+ from a slow copy of the
    encoder. The queue takes this step's keys after the step, so no key of the present batch is ever a negative; the
    symmetric form pushes the keys of both views, view 1 first.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: ``NoMix`` only; moco_mix and unmix mix.
        queue_size: keys in the queue, at least a batch; ``auto`` is 4096 or half the images, if that is less.
        ema_momentum: share of itself that the key encoder keeps each step, in [0, 1).
        symmetric: each view is query once and key once.
        batchnorm: ``plain``; ``split`` normalises each of ``bn_splits`` parts of the batch on its own; ``shuffle`` does
            and encodes keys in another order, so that statistics do not give the positive away.
        temperature: > 0.
        proj_dim, proj_hidden, proj_depth: width of z, of hidden layers, and linear layers (1: as in the CIFAR demo).
    Source:
        He et al. 2019, arXiv 1911.05722; the CIFAR values are those of the authors' CIFAR-10 demo. Differs from it in
        the two-layer projector (MoCo v2, Chen et al. 2020, arXiv 2003.04297) and SupCon's crops and colours.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer = "none"
    mixing_relatives = ("moco_mix", "unmix")

    def __init__(self, encoder, mixer, *, queue_size=4096, ema_momentum=0.99, symmetric=False, batchnorm="shuffle",
                 bn_splits=8, temperature=0.1, proj_dim=128, proj_hidden=512, proj_depth=2):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm, bn_splits), mixer
        self.ema_momentum, self.symmetric, self.temperature = ema_momentum, symmetric, temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth)
        self.key_branch = KeyBranch(self.encoder, self.projector, batchnorm == "shuffle")
        self.queue = Queue(queue_size, proj_dim)

    def forward(self, batch):
        x1, x2 = batch.views
        k2 = self.key_branch(x2, batch.key.child("keys/2"))  # (B, proj_dim)
        loss = self._loss(x1, k2)
        if not self.symmetric:
            return {"loss": loss, "keys": k2}
        k1 = self.key_branch(x1, batch.key.child("keys/1"))
        return {"loss": loss + self._loss(x2, k1), "keys": torch.cat([k1, k2])}

    def _loss(self, x, k):
        q = self.projector(self.encoder(x))  # (B, proj_dim)
        return info_nce(q, k, self.queue.keys, self.temperature).mean()

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, self.ema_momentum)
        self.queue.push(out["keys"])
