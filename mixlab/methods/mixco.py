"""MixCo: MoCo, and half as many mixtures that are half-way positives of two keys."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import info_nce, soft_info_nce
from mixlab.momentum import KeyBranch, Queue, with_batchnorm


class MixCo(nn.Module):
    """L = L_MoCo + mix_weight * L_mix: the first half of the batch is mixed with the second.

    L_mix = -lam log p(k_i | q) - (1 - lam) log p(k_j | q), p over the keys of this batch and of the queue, at a
    temperature of its own.

    Args:
        mixer: a mixer that mixes; the default draws lam uniformly from [0, 1].
        mix_weight: >= 0.
        mix_temperature: > 0.
        encoder, queue_size, ema_momentum, batchnorm, bn_splits, temperature, proj_*: as for ``MoCo``.
    Source:
        Kim et al. 2020, arXiv 2010.06300. Differs from the authors' code in a soft cross-entropy by
        log-softmax, which does not underflow, and in an odd batch, whose last image is in no mixture.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer = "mixup"
    unmixed_relative = "moco"
    halves_batch = True

    def __init__(self, encoder, mixer, *, mix_weight=1.0, mix_temperature=0.05, queue_size=4096, ema_momentum=0.99,
                 batchnorm="shuffle", bn_splits=8, temperature=0.1, proj_dim=128, proj_hidden=512, proj_depth=2):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm, bn_splits), mixer
        self.mix_weight, self.mix_temperature, self.temperature = mix_weight, mix_temperature, temperature
        self.ema_momentum = ema_momentum
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth)
        self.key_branch = KeyBranch(self.encoder, self.projector, batchnorm == "shuffle")
        self.queue = Queue(queue_size, proj_dim)

    def forward(self, batch):
        x1, x2 = batch.views
        count, half = len(x1), len(x1) // 2
        k = self.key_branch(x2, batch.key.child("keys"))  # (B, proj_dim)
        q = self.projector(self.encoder(x1))
        original = info_nce(q, k, self.queue.keys, self.temperature).mean()
        first, second = x1[:half], x1[half:2 * half]  # (B // 2, 3, H, W) each
        draw = self.mixer.draw(first, second, batch.key.child("mixer"), partner="same")
        qm = self.projector(self.encoder(first, others=second, draw=draw))  # (B // 2, proj_dim)
        ids = torch.arange(count, device=q.device)
        targets = draw.targets(ids[:half], count, ids[half:2 * half])  # (B // 2, B)
        mixed = soft_info_nce(qm, k, self.queue.keys, targets, self.mix_temperature).mean()
        loss = original + self.mix_weight * mixed
        return {"loss": loss, "original": original.detach(), "mixed": mixed.detach(), "keys": k}

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, self.ema_momentum)
        self.queue.push(out["keys"])
