"""i-Mix: the image ids are labels, and a mixture has the mixed label."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import soft_info_nce
from mixlab.mixers import draw_larger
from mixlab.momentum import KeyBranch, Queue, with_batchnorm


class IMix(nn.Module):
    """i-Mix on MoCo: a mixture of view 1 finds the keys of its two images, in proportion to their shares.

    L = -lam log p(k_i | q) - (1 - lam) log p(k_j | q), p over the clean keys of this batch and of the queue.
    The first image has the larger share: lam becomes max(lam, 1 - lam), where the mixer draws from a Beta law; one that
    has a law of its own keeps it, alone or in a ``Pick``.

    Args:
        mixer: a mixer that mixes.
        encoder, queue_size, ema_momentum, batchnorm, bn_splits, temperature, proj_*: as for ``MoCo``.
    Source:
        Lee et al. 2020, arXiv 2010.08887; temperature and momentum are its CIFAR values.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer = "mixup"
    unmixed_relative = "moco"

    def __init__(self, encoder, mixer, *, queue_size=4096, ema_momentum=0.999, batchnorm="shuffle", bn_splits=8,
                 temperature=0.2, proj_dim=128, proj_hidden=512, proj_depth=2):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm, bn_splits), mixer
        self.ema_momentum, self.temperature = ema_momentum, temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth)
        self.key_branch = KeyBranch(self.encoder, self.projector, batchnorm == "shuffle")
        self.queue = Queue(queue_size, proj_dim)

    def forward(self, batch):
        x1, x2 = batch.views
        count, draw = len(x1), draw_larger(self.mixer, x1, x1, batch.key.child("mixer"))
        q = self.projector(self.encoder(x1, others=x1, draw=draw))  # (B, proj_dim)
        k = self.key_branch(x2, batch.key.child("keys"))
        targets = draw.targets(torch.arange(count, device=q.device), count)  # (B, B)
        loss = soft_info_nce(q, k, self.queue.keys, targets, self.temperature).mean()
        return {"loss": loss, "keys": k}

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, self.ema_momentum)
        self.queue.push(out["keys"])
