"""What Un-Mix takes from the method it builds on: defaults, encodings, loss, and learning rates."""

import inspect

import torch

from mixlab.losses import cosine_distance, info_nce, pair_contrast
from mixlab.methods.byol import BYOL
from mixlab.methods.moco import MoCo
from mixlab.methods.simclr import SimCLR
from mixlab.methods.simsiam import SimSiam

BASES = {"moco": MoCo, "simclr": SimCLR, "byol": BYOL, "simsiam": SimSiam}
UNTAKEN = {"temperature": 0.1, "proj_depth": 2, "predictor_hidden": 512, "symmetric": False}  # by some bases
FIXED = {"byol": {"symmetric": True}, "simsiam": {"symmetric": True, "proj_depth": 3}}  # as these bases are made


def own(base):
    """The hyper-parameters that a base takes, with its defaults."""
    parameters = inspect.signature(BASES[base]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def defaults(base):
    """What Un-Mix does with this base where nothing else is said: what the base itself does."""
    return UNTAKEN | FIXED.get(base, {}) | own(base)


def directions(method, batch):
    """(view, queries, keys) of one direction or both, encoded as the base does: (B, proj_dim) each."""
    x1, x2 = batch.views
    if method.base == "simclr":
        z1, z2 = method.projector(method.encoder(torch.cat([x1, x2]))).chunk(2)
        both = [(x1, z1, z2), (x2, z2, z1)]
    elif method.base == "simsiam":
        z1, z2 = (method.projector(method.encoder(x)) for x in (x1, x2))
        both = [(x1, method.predictor(z1), z2.detach()), (x2, method.predictor(z2), z1.detach())]
    else:
        views = [(x1, x2, "keys/2"), (x2, x1, "keys/1")][:1 + method.symmetric]
        both = [(x, method.query(x), method.key_branch(other, batch.key.child(name))) for x, other, name in views]
    return both[:1 + method.symmetric]


def match(method, q, k):
    """The base's loss of each query, (B,)."""
    if method.base == "moco":
        return info_nce(q, k, method.queue.keys, method.temperature)
    if method.base == "simclr":
        return pair_contrast(q, k, torch.arange(len(q), device=q.device), method.temperature)
    return cosine_distance(q, k) / (2 if method.base == "simsiam" else 1)


def param_groups(method):
    """Groups of parameters for the optimizer; those of SimSiam's predictor keep their learning rate."""
    if method.base == "simsiam":
        return SimSiam.param_groups(method)
    return [{"params": [p for p in method.parameters() if p.requires_grad]}]
