"""The shape of a representation: alignment, uniformity, tolerance, rank and scatter."""

import torch
import torch.nn.functional as F

CHUNK = 1024


def alignment(one, other):
    """Mean squared distance of the normalised features (N, D) of two views of the same images: 0 (best) to 4.

    Source:
        Wang and Isola 2020, arXiv 2005.10242, with alpha = 2.
    """
    one, other = F.normalize(one, dim=1), F.normalize(other, dim=1)
    return (one - other).square().sum(1, dtype=torch.float64).mean().item()


def uniformity(features):
    """log of the mean of exp(-2 distance^2) over all pairs of different images: 0 (one point) down to about -4.

    Args:
        features: (N, D), N >= 2; they are normalised here.
    Source:
        Wang and Isola 2020, arXiv 2005.10242, with t = 2.
    """
    z, total = F.normalize(features, dim=1), 0.0
    for chunk in z.split(CHUNK):
        total += (4 * (chunk @ z.T) - 4).exp_().sum(dtype=torch.float64)  # distance^2 = 2 - 2 cosine
    pairs = len(z) * (len(z) - 1)
    return ((total - len(z)) / pairs).log().item()  # an image with itself counts exp(0) = 1


def tolerance(features, labels):
    """Mean cosine over all pairs of different images of one class, -1 to 1: how close a class lies together.

    Source:
        Wang and Liu 2021, arXiv 2012.09740; an image's cosine with itself, always 1, is left out here.
    """
    z = F.normalize(features, dim=1).double()
    sums, counts = _class_sums(z, labels)
    pairs = (counts * (counts - 1)).sum()
    return ((sums.square().sum() - len(z)) / pairs).item()  # |sum z|^2 holds each z.z = 1 once


def spectrum(features):
    """Singular values of the centred features divided by sqrt(N): the spread along each principal axis, falling."""
    x = (features - features.mean(0)).double()
    return torch.linalg.eigvalsh(x.T @ x / len(x)).clamp(min=0).sqrt().flip(0)  # (D,)


def effective_rank(values):
    """exp of the entropy of the normalised singular values (D,): 1 (collapsed to a line) to D (all axes alike).

    Source:
        Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality".
    """
    values = values.double()
    share = values / values.sum().clamp(min=1e-300)
    return torch.special.entr(share).sum().exp().item()


def scatter(features, labels):
    """How far images lie from their class mean, against how far the class means lie apart.

    Returns:
        ``within_between``: trace of the within-class over trace of the between-class covariance;
        ``collapse``: trace(within pinv(between)) / classes, the neural-collapse measure NC1: 0 when every class is a
        point.
    Source:
        Papyan, Han and Donoho 2020, arXiv 2008.08186. A class weighs here as much as it has images.
    """
    x = (features - features.mean(0)).double()
    sums, counts = _class_sums(x, labels)
    means, share = sums / counts[:, None], counts / len(x)
    between = (means * share[:, None]).T @ means  # (D, D)
    within = x.T @ x / len(x) - between
    classes = len(counts)
    # The between-class covariance has rank classes - 1 at most; what lies below is rounding.
    values, vectors = torch.linalg.eigh(between)
    kept = values > values.max() * 1e-9
    axes = vectors[:, kept]
    collapse = ((axes.T @ within @ axes).diagonal() / values[kept]).sum() / classes
    return {"within_between": (within.trace() / between.trace()).item(), "collapse": collapse.item()}


def _class_sums(x, labels):
    """Sums (K, D) and counts (K,) of the classes that occur."""
    present, place = labels.unique(return_inverse=True)
    sums = torch.zeros(len(present), x.shape[1], dtype=x.dtype, device=x.device)
    counts = torch.bincount(place, minlength=len(present)).to(x.dtype)
    return sums.index_add_(0, place, x), counts


def geometry(found, layer):
    """All measures of one layer on the test images, as plain numbers; alignment is of two contrastive views."""
    features, labels = found.of("test", layer), found.labels("test")
    views = [found.augmented("test", number, layer, recipe="contrast", role="geometry") for number in (0, 1)]
    values = spectrum(features)
    return {"alignment": alignment(*views), "uniformity": uniformity(features),
            "tolerance": tolerance(features, labels), "effective_rank": effective_rank(values),
            "dim": features.shape[1], **scatter(features, labels), "spectrum": values.tolist()}
