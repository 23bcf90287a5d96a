"""The small networks on top of an encoder: projector (and, for later methods, predictor and prototypes)."""

from itertools import pairwise

from torch import nn


def projector(dim, hidden, out, *, depth=2, batchnorm=False):
    """An MLP from features h (B, dim) to projections z (B, out), not normalised.

    Args:
        dim, hidden, out: widths, > 0; SupContrast takes hidden = dim and out = 128.
        depth: linear layers, >= 1; 1 ignores ``hidden``.
        batchnorm: BatchNorm after each hidden layer (SimCLR's paper has it, SupContrast has not).
    Source:
        Chen et al. 2020, arXiv 2002.05709, section 2.1; Khosla et al. 2020, arXiv 2004.11362, section 3.1.
    """
    widths = [dim] + [hidden] * (depth - 1) + [out]
    modules = []
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        last = i == depth - 1
        modules.append(nn.Linear(width_in, width_out, bias=last or not batchnorm))
        if not last:
            modules += [nn.BatchNorm1d(width_out)] * batchnorm + [nn.ReLU(inplace=True)]
    return nn.Sequential(*modules)


def classifier(dim, num_classes):
    """The linear layer of the cross-entropy control: features h (B, dim) to logits (B, num_classes)."""
    return nn.Linear(dim, num_classes)


def layout(head):
    """What a head of linear, BatchNorm and ReLU layers is made of, as plain values that ``rebuild`` understands."""
    kinds = {nn.Linear: lambda m: ["linear", m.in_features, m.out_features, m.bias is not None],
             nn.BatchNorm1d: lambda m: ["batchnorm", m.num_features], nn.ReLU: lambda m: ["relu"]}
    return [kinds[type(m)](m) for m in (head if isinstance(head, nn.Sequential) else [head])]


def rebuild(plan):
    """An untrained head from its ``layout``; a single linear layer comes back as such."""
    kinds = {"linear": lambda i, o, bias: nn.Linear(i, o, bias), "batchnorm": nn.BatchNorm1d, "relu": nn.ReLU}
    modules = [kinds[kind](*sizes) for kind, *sizes in plan]
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)
