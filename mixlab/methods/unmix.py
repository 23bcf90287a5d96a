"""Un-Mix: mixtures with the image from the other end of the batch, on MoCo, SimCLR, BYOL or SimSiam."""

import inspect

import torch
from torch import nn

from mixlab.losses import cosine_distance, info_nce, pair_contrast
from mixlab.methods.byol import BYOL
from mixlab.methods.moco import MoCo
from mixlab.methods.simclr import SimCLR
from mixlab.methods.simsiam import SimSiam, spread
from mixlab.mixers import Mixup, NoMix
from mixlab.momentum import rising

BASES = {"moco": MoCo, "simclr": SimCLR, "byol": BYOL, "simsiam": SimSiam}
UNTAKEN = {"temperature": 0.1, "proj_depth": 2, "predictor_hidden": 512, "symmetric": False}  # by some bases
FIXED = {"byol": {"symmetric": True}, "simsiam": {"symmetric": True, "proj_depth": 3}}  # as these bases are made


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
    views = MoCo.views
    default_mixer, unmixed_relative = "cutmix", "moco"

    def __init__(self, encoder, mixer, *, base="moco", global_prob=0.5, symmetric=None, queue_size=4096,
                 ema_momentum=0.99, batchnorm="shuffle", bn_splits=8, temperature=None, proj_dim=None, proj_hidden=None,
                 proj_depth=None, predictor_hidden=None):
        super().__init__()
        given = {"queue_size": queue_size, "ema_momentum": ema_momentum, "batchnorm": batchnorm, "bn_splits": bn_splits,
                 "temperature": temperature, "proj_dim": proj_dim, "proj_hidden": proj_hidden, "proj_depth": proj_depth,
                 "predictor_hidden": predictor_hidden}
        given = {name: value for name, value in given.items() if name in _own(base) and value is not None}
        made = BASES[base](encoder, NoMix(), **given)
        self.base, self.views, self.mixer, self.global_prob = base, made.views, mixer, global_prob
        self.whole = Mixup(getattr(mixer, "alpha", 1.0), mixer.lam_per, mixer.mix_prob)
        self.symmetric = self.defaults(base)["symmetric"] if symmetric is None else symmetric
        self.encoder, self.projector = made.encoder, made.projector
        self.predictor = getattr(made, "predictor", nn.Identity())
        self.key_branch, self.queue = getattr(made, "key_branch", None), getattr(made, "queue", None)
        self.ema_momentum, self.temperature = ema_momentum, getattr(made, "temperature", None)

    @staticmethod
    def defaults(base):
        """What None stands for with this base."""
        return UNTAKEN | FIXED.get(base, {}) | _own(base)

    def forward(self, batch):
        pairs = self._pairs(batch)
        count = len(pairs) if self.base in ("simclr", "simsiam") else 1
        loss, out = sum(self._match(q, k).mean() for _, q, k in pairs) / count, {}
        if self.mixer.mixes and self.mixer.mix_prob > 0:
            mixed = sum(self._mixed(x, k, batch.key.child(str(n))) for n, (x, _, k) in enumerate(pairs, 1)) / count
            loss, out = loss + mixed, {"mixed": mixed.detach()}
        if self.base == "simsiam":
            out["spread"] = spread(pairs[-1][2])
        if self.base == "byol":
            out["ema_momentum"] = rising(self.ema_momentum, batch.progress, loss.device)
        return {"loss": loss, "keys": torch.cat([k.detach() for _, _, k in reversed(pairs)]), **out}

    def _pairs(self, batch):
        """(view, queries, keys) of one direction or both, encoded as the base does: (B, proj_dim) each."""
        x1, x2 = batch.views
        if self.base == "simclr":
            z1, z2 = self.projector(self.encoder(torch.cat([x1, x2]))).chunk(2)
            pairs = [(x1, z1, z2), (x2, z2, z1)]
        elif self.base == "simsiam":
            z1, z2 = (self.projector(self.encoder(x)) for x in (x1, x2))
            pairs = [(x1, self.predictor(z1), z2.detach()), (x2, self.predictor(z2), z1.detach())]
        else:
            directions = [(x1, x2, "keys/2"), (x2, x1, "keys/1")][:1 + self.symmetric]
            pairs = [(x, self._query(x), self.key_branch(other, batch.key.child(name)))
                     for x, other, name in directions]
        return pairs[:1 + self.symmetric]

    def _mixed(self, x, k, key):
        """The mean of the terms of a view's mixtures, which keys k (B, proj_dim) of the other view answer."""
        globally = key.child("global").generator().random() < self.global_prob
        mixer = self.whole if globally else self.mixer
        draw = mixer.draw(x, x, key.child("mixer"), partner="reverse")
        qm = self._query(x, others=x, draw=draw)  # (B, proj_dim)
        return (draw.lam * self._match(qm, k) + (1 - draw.lam).flip(0) * self._match(qm.flip(0), k)).mean()

    def _query(self, x, others=None, draw=None):
        return self.predictor(self.projector(self.encoder(x, others=others, draw=draw)))

    def _match(self, q, k):
        """The base's loss of each query, (B,)."""
        if self.base == "moco":
            return info_nce(q, k, self.queue.keys, self.temperature)
        if self.base == "simclr":
            return pair_contrast(q, k, torch.arange(len(q), device=q.device), self.temperature)
        return cosine_distance(q, k) / (2 if self.base == "simsiam" else 1)

    def param_groups(self):
        if self.base == "simsiam":
            return SimSiam.param_groups(self)  # its predictor's learning rate stays constant
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def after_step(self, out):
        if self.key_branch:
            self.key_branch.follow(self.encoder, self.projector, out.get("ema_momentum", self.ema_momentum))
        if self.queue:
            self.queue.push(out["keys"])


def _own(base):
    """The hyper-parameters that a base takes, with its defaults."""
    parameters = inspect.signature(BASES[base]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
