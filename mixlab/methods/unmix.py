"""Un-Mix: mixtures with the image from the other end of the batch, on MoCo, SimCLR, BYOL or SimSiam."""

import torch
from torch import nn

from mixlab.methods.simsiam import spread
from mixlab.methods.unmix_bases import BASES, defaults, directions, match, own, param_groups
from mixlab.mixers import Mixup, NoMix
from mixlab.momentum import rising


class UnMix(nn.Module):
    """L = L(q_i, k_i) + lam L(qm_i, k_i) + (1 - lam) L(qm_{B-1-i}, k_i), only the query branch being mixed.

    Image i is mixed with image B-1-i, over the whole image or in a region, a coin toss per batch; the reverse term
    flips embeddings. L is that of ``base``, on its scale, with its views, networks, learning rates and defaults. Once
    nothing is mixed (``mix_prob`` 0, past ``mix_until``) L(q_i, k_i) alone is left, and the method is its base. Where
    only some images stay unmixed, theirs counts twice, as much as that of a mixture.

    Args:
        mixer: mixes the regions; Mixup with its alpha mixes globally.
        base: ``moco``, ``simclr``, ``byol``, or ``simsiam``, whose keys are its own projections without gradient.
        global_prob: chance that a batch is mixed globally, in [0, 1].
        symmetric: each view is mixed and query once, and key once. None: as the base, so for ``byol`` and ``simsiam``.
            Both directions are added, or, for ``simclr`` and ``simsiam``, averaged.
        encoder, queue_size, ema_momentum, batchnorm, bn_splits, temperature, proj_*, predictor_hidden: as for the base,
            whose own value None stands for; what it does not take changes nothing.
    Source:
        Shen et al. 2020, arXiv 2003.05438. Differs from the authors' code in the symmetric form: theirs mixes view 1
        alone and pairs it with the keys of both. Their share is one per batch: ``lam_per: batch``.
    """

    needs_labels, needs_region = False, False
    views = BASES["moco"].views
    default_mixer, unmixed_relative = "cutmix", "moco"

    def __init__(self, encoder, mixer, *, base="moco", global_prob=0.5, symmetric=None, queue_size=4096,
                 ema_momentum=0.99, batchnorm="shuffle", bn_splits=8, temperature=None, proj_dim=None, proj_hidden=None,
                 proj_depth=None, predictor_hidden=None):
        super().__init__()
        given = {"queue_size": queue_size, "ema_momentum": ema_momentum, "batchnorm": batchnorm, "bn_splits": bn_splits,
                 "temperature": temperature, "proj_dim": proj_dim, "proj_hidden": proj_hidden, "proj_depth": proj_depth,
                 "predictor_hidden": predictor_hidden}
        made = BASES[base](encoder, NoMix(), **{n: v for n, v in given.items() if n in own(base) and v is not None})
        self.base, self.views, self.mixer, self.global_prob = base, made.views, mixer, global_prob
        self.whole = Mixup(getattr(mixer, "alpha", 1.0), mixer.lam_per, mixer.mix_prob)
        self.symmetric = defaults(base)["symmetric"] if symmetric is None else symmetric
        self.encoder, self.projector = made.encoder, made.projector
        self.predictor = getattr(made, "predictor", nn.Identity())
        self.key_branch, self.queue = getattr(made, "key_branch", None), getattr(made, "queue", None)
        self.ema_momentum, self.temperature = ema_momentum, getattr(made, "temperature", None)

    defaults = staticmethod(defaults)
    param_groups = param_groups

    def forward(self, batch):
        found = directions(self, batch)
        count = len(found) if self.base in ("simclr", "simsiam") else 1
        loss, out = sum(match(self, q, k).mean() for _, q, k in found) / count, {}
        if self.mixer.mixes and self.mixer.mix_prob > 0:
            mixed = sum(self._mixed(x, k, batch.key.child(str(n))) for n, (x, _, k) in enumerate(found, 1)) / count
            loss, out = loss + mixed, {"mixed": mixed.detach()}
        if self.base == "simsiam":
            out["spread"] = spread(found[-1][2])
        if self.base == "byol":
            out["ema_momentum"] = rising(self.ema_momentum, batch.progress, loss.device)
        return {"loss": loss, "keys": torch.cat([k.detach() for _, _, k in reversed(found)]), **out}

    def _mixed(self, x, k, key):
        """The mean of the terms of a view's mixtures, which keys k (B, proj_dim) of the other view answer."""
        globally = key.child("global").generator().random() < self.global_prob
        draw = (self.whole if globally else self.mixer).draw(x, x, key.child("mixer"), partner="reverse")
        qm = self.query(x, others=x, draw=draw)  # (B, proj_dim)
        return (draw.lam * match(self, qm, k) + (1 - draw.lam).flip(0) * match(self, qm.flip(0), k)).mean()

    def query(self, x, others=None, draw=None):
        """Queries (B, proj_dim) of a view, or of its mixtures."""
        return self.predictor(self.projector(self.encoder(x, others=others, draw=draw)))

    def after_step(self, out):
        if self.key_branch:
            self.key_branch.follow(self.encoder, self.projector, out.get("ema_momentum", self.ema_momentum))
        if self.queue:
            self.queue.push(out["keys"])
