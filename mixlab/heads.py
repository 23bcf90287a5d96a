"""The small networks on top of an encoder: projector, predictor, classifier."""

from itertools import pairwise

from torch import nn


def projector(dim, hidden, out, *, depth=2, batchnorm=False, last_batchnorm=False):
    """An MLP from features h (B, dim) to projections z (B, out), not normalised.

    Args:
        dim, hidden, out: widths, > 0; SupContrast takes hidden = dim and out = 128.
        depth: linear layers, >= 1; 1 ignores ``hidden``.
        batchnorm: BatchNorm after each hidden layer (SimCLR's paper has it, SupContrast has not).
        last_batchnorm: BatchNorm without scale and shift at the end, as in SimSiam.
    Source:
        Chen et al. 2020, arXiv 2002.05709, section 2.1; Khosla et al. 2020, arXiv 2004.11362, section 3.1.
    """
    widths = [dim] + [hidden] * (depth - 1) + [out]
    modules = []
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        last = i == depth - 1
        modules.append(nn.Linear(width_in, width_out, bias=not last_batchnorm if last else not batchnorm))
        if not last:
            modules += [nn.BatchNorm1d(width_out)] * batchnorm + [nn.ReLU(inplace=True)]
    modules += [nn.BatchNorm1d(out, affine=False)] * last_batchnorm
    return nn.Sequential(*modules)


def predictor(dim, hidden):
    """The MLP by which one branch predicts the other: (B, dim) to (B, dim), BatchNorm in its hidden layer.

    Source:
        Grill et al. 2020, arXiv 2006.07733, section 3.3; Chen and He 2020, arXiv 2011.10566, section 4.3.
    """
    return projector(dim, hidden, dim, batchnorm=True)


def classifier(dim, num_classes):
    """The linear layer of the cross-entropy control: features h (B, dim) to logits (B, num_classes)."""
    return nn.Linear(dim, num_classes)


def layout(head):
    """What a head of linear, BatchNorm and ReLU layers is made of, as plain values that ``rebuild`` understands."""
    kinds = {nn.Linear: lambda m: ["linear", m.in_features, m.out_features, m.bias is not None],
             nn.BatchNorm1d: lambda m: ["batchnorm", m.num_features] + [False] * (not m.affine),
             nn.ReLU: lambda m: ["relu"]}
    return [kinds[type(m)](m) for m in (head if isinstance(head, nn.Sequential) else [head])]


def rebuild(plan):
    """An untrained head from its ``layout``; a single linear layer comes back as such."""
    kinds = {"linear": lambda i, o, bias: nn.Linear(i, o, bias), "relu": nn.ReLU,
             "batchnorm": lambda width, affine=True: nn.BatchNorm1d(width, affine=affine)}
    modules = [kinds[kind](*sizes) for kind, *sizes in plan]
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)
