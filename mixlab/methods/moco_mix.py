"""MoCo with mixed queries: mix-ssl's MoCo + CutMix."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import info_nce
from mixlab.momentum import KeyBranch, Queue, with_batchnorm


class MoCoMix(nn.Module):
    """L = L_original + lam L_mixed, and with ``reverse`` + (1 - lam) L_mixed^R, on MoCo.

    Image i is mixed with image B-1-i; lam is the measured share of i. L_mixed pairs the mixture's query with the key
    of image i, L^R the queries in reverse order, in which image i has the share 1 - lam. Mixing one branch (Figure 1b)
    leaves keys clean; mixing both (Figure 1c) pairs the mixture of view 1 with the same mixture of view 2.

    Args:
        mixer: a mixer that mixes.
        mix_branches: ``one`` or ``both``.
        reverse: False is the loss as written in the paper's section 4, True as its baseline really ran.
        encoder, queue_size, ema_momentum, symmetric, batchnorm, bn_splits, temperature, proj_*: as for ``MoCo``; the
            symmetric form is the sum of both directions, each with its own mixture of its query view.
    Source:
        "Leveraging Image Mixtures for Unsupervised Detection Pre-training" (mix-ssl), Figure 1 and section 4. Its code
        draws one share per batch (``lam_per: batch`` here) and adds the reverse term, which its text leaves out.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer = "cutmix"
    unmixed_relative = "moco"

    def __init__(self, encoder, mixer, *, mix_branches="one", reverse=False, queue_size=4096, ema_momentum=0.99,
                 symmetric=False, batchnorm="shuffle", bn_splits=8, temperature=0.1, proj_dim=128, proj_hidden=512,
                 proj_depth=2):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm, bn_splits), mixer
        self.mix_branches, self.reverse, self.symmetric = mix_branches, reverse, symmetric
        self.ema_momentum, self.temperature = ema_momentum, temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth)
        self.key_branch = KeyBranch(self.encoder, self.projector, batchnorm == "shuffle")
        self.queue = Queue(queue_size, proj_dim)

    def forward(self, batch):
        x1, x2 = batch.views
        out = self._direction(x1, x2, batch.key.child("1"))
        if self.symmetric:
            back = self._direction(x2, x1, batch.key.child("2"))
            keys = torch.cat([back["keys"], out["keys"]])  # (2B, proj_dim), view 1 first
            return {name: back[name] + out[name] for name in out} | {"keys": keys}
        return out

    def _direction(self, x, other_view, key):
        k = self.key_branch(other_view, key.child("keys"))  # (B, proj_dim)
        original = self._nce(self.projector(self.encoder(x)), k).mean()
        draw = self.mixer.draw(x, x, key.child("mixer"), partner="reverse")
        q = self.projector(self.encoder(x, others=x, draw=draw))  # (B, proj_dim), of mixtures
        k_mix = k
        if self.mix_branches == "both":
            k_mix = self.key_branch(other_view, key.child("mixed keys"), others=other_view, draw=draw)
        mixed = (draw.lam * self._nce(q, k_mix)).mean()
        if self.reverse:
            mixed = mixed + ((1 - draw.lam).flip(0) * self._nce(q.flip(0), k_mix)).mean()
        return {"loss": original + mixed, "original": original.detach(), "mixed": mixed.detach(), "keys": k}

    def _nce(self, q, k):
        return info_nce(q, k, self.queue.keys, self.temperature)

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, self.ema_momentum)
        self.queue.push(out["keys"])
