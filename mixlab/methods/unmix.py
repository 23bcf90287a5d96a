"""Un-Mix: mixtures with the image from the other end of the batch, on MoCo, SimCLR, BYOL or SimSiam."""

import torch
from torch import nn

from mixlab.heads import predictor, projector
from mixlab.losses import cosine_distance, info_nce, pair_contrast
from mixlab.mixers import Mixup
from mixlab.momentum import KeyBranch, Queue, rising, with_batchnorm


class UnMix(nn.Module):
    """L = L(q_i, k_i) + lam L(qm_i, k_i) + (1 - lam) L(qm_{B-1-i}, k_i), only the query branch being mixed.

    Image i is mixed with image B-1-i, over the whole image or in a region, a coin toss per batch; the reverse term
    flips embeddings. L is that of ``base``: InfoNCE against a queue, NT-Xent of the batch, or a predictor's distance.

    Args:
        mixer: mixes the regions; Mixup with its alpha mixes globally.
        base: ``moco``, ``simclr``, ``byol``, or ``simsiam``, whose keys are its own projections without gradient.
        global_prob: chance that a batch is mixed globally, in [0, 1].
        symmetric: each view is mixed and query once, and key once, as in BYOL's own loss.
        encoder, queue_size, ema_momentum, batchnorm, bn_splits, temperature, proj_*: as for ``MoCo``;
            with ``byol`` the momentum rises to 1; it and ``simsiam`` use no temperature.
        predictor_hidden: width of the predictor of ``byol`` and ``simsiam``.
    Source:
        Shen et al. 2020, arXiv 2003.05438. Differs from the authors' code in the symmetric form: theirs mixes view 1
        alone and pairs it with the keys of both. Their share is one per batch: ``lam_per: batch``.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer, unmixed_relative = "cutmix", "moco"

    def __init__(self, encoder, mixer, *, base="moco", global_prob=0.5, symmetric=False, queue_size=4096,
                 ema_momentum=0.99, batchnorm="shuffle", bn_splits=8, temperature=0.1, proj_dim=128, proj_hidden=512,
                 proj_depth=2, predictor_hidden=512):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm if base == "moco" else "plain", bn_splits), mixer
        self.whole = Mixup(getattr(mixer, "alpha", 1.0), mixer.lam_per, mixer.mix_prob)
        self.base, self.global_prob, self.symmetric = base, global_prob, symmetric
        self.ema_momentum, self.temperature = ema_momentum, temperature
        predicts = base in ("byol", "simsiam")
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth, batchnorm=predicts)
        self.predictor = predictor(proj_dim, predictor_hidden) if predicts else nn.Identity()
        shuffle = base == "moco" and batchnorm == "shuffle"
        self.key_branch = KeyBranch(encoder, self.projector, shuffle) if base in ("moco", "byol") else None
        self.queue = Queue(queue_size, proj_dim) if base == "moco" else None

    def forward(self, batch):
        x1, x2 = batch.views
        out = self._direction(x1, x2, batch.key.child("1"))
        if self.symmetric:
            back = self._direction(x2, x1, batch.key.child("2"))
            out = {name: back[name] + out[name] for name in out} | {"keys": torch.cat([back["keys"], out["keys"]])}
        momentum = rising(self.ema_momentum, batch.progress if self.base == "byol" else 0, x1.device)
        return out | {"ema_momentum": momentum}

    def _direction(self, x, other_view, key):
        globally = self.mixer.mixes and key.child("global").generator().random() < self.global_prob
        mixer = self.whole if globally else self.mixer
        draw = mixer.draw(x, x, key.child("mixer"), partner="reverse")
        q, qm = self._query(x), self._query(x, others=x, draw=draw)  # (B, proj_dim) each
        k = self._key(other_view, key)  # (B, proj_dim)
        mixed = draw.lam * self._match(qm, k) + (1 - draw.lam).flip(0) * self._match(qm.flip(0), k)  # (B,)
        return {"loss": (self._match(q, k) + mixed).mean(), "mixed": mixed.detach().mean(), "keys": k.detach()}

    def _key(self, x, key):
        if self.key_branch:
            return self.key_branch(x, key)
        return self.projector(self.encoder(x)).detach() if self.base == "simsiam" else self._query(x)

    def _query(self, x, others=None, draw=None):
        return self.predictor(self.projector(self.encoder(x, others=others, draw=draw)))

    def _match(self, q, k):
        if self.base == "moco":
            return info_nce(q, k, self.queue.keys, self.temperature)
        if self.base == "simclr":
            return pair_contrast(q, k, torch.arange(len(q), device=q.device), self.temperature)
        return cosine_distance(q, k)

    def after_step(self, out):
        if self.key_branch:
            self.key_branch.follow(self.encoder, self.projector, out["ema_momentum"])
            if self.queue:
                self.queue.push(out["keys"])
