"""Grad-CAM: which places of an image a score of its features depends on."""

import torch
import torch.nn.functional as F

from mixlab.attention.maps import check_layers, joined, prepared, resting
from mixlab.errors import ParamError, problem
from mixlab.evaluate import features


def grad_cam(encoder, pixels, score, layers=(4,)):
    """Maps ``{layer: (N, h, w)}`` float32, at least 0: ReLU of the sum over channels k of a_k A_k.

    a_k is the mean over places of the gradient of the image's score with respect to the layer's feature map A_k. The
    encoder is left as it was: gradients are taken of feature maps only, never of weights.

    Args:
        encoder: an ``Encoder``. pixels: uint8 (N, H, W, 3). layers: of 1 to 4.
        score: ``score(h, rows)`` gives the scores (n,) of features h (n, dim) of the images ``rows`` (n,) int64; an
            image's score may depend on its own features only.
    Raises:
        ParamError: an unknown layer. DataError: other pixels.
    Source:
        Selvaraju et al. 2017, arXiv 1610.02391, Eq 1 and 2. With layer 4 and a linear score of the mean feature it is
        CAM (Zhou et al. 2016, arXiv 1512.04150) with its negative part cut off.
    """
    return grad_cams(encoder, pixels, [score], layers)[0]


def grad_cams(encoder, pixels, scores, layers=(4,)):
    """As ``grad_cam`` for each of several scores, as a list; the images are encoded once."""
    check_layers(layers)
    parts, first = [], 0
    with resting(encoder):
        for images in prepared(encoder, pixels):
            rows = torch.arange(first, first + len(images), device=images.device)
            parts.append(_chunk(encoder, images, rows, scores, layers))
            first += len(images)
    return [joined(layers, chunks) for chunks in zip(*parts, strict=True)]


def _chunk(encoder, images, rows, scores, layers):
    """For each score a list of maps (n, h, w), one a layer."""
    with torch.enable_grad():
        maps, h = _tracked(encoder, images, min(layers))
        asked = [maps[layer] for layer in layers]
        gradients = [torch.autograd.grad(score(h, rows).sum(), asked, retain_graph=True) for score in scores]
    return [[_weighted(found.detach(), gradient) for found, gradient in zip(asked, one, strict=True)]
            for one in gradients]


def _tracked(encoder, images, lowest):
    """Feature maps ``{layer: (n, C, h, w)}`` from ``lowest`` on, with the graph from there to the features h."""
    with torch.no_grad():
        h, maps = encoder.stem(images), {}
        for layer in encoder.layers[:lowest]:
            h = layer(h)
    maps[lowest] = h.detach().requires_grad_(True)
    for number, layer in enumerate(encoder.layers[lowest:], start=lowest + 1):
        maps[number] = layer(maps[number - 1])
    return maps, maps[max(maps)].mean((2, 3))


def _weighted(features_, gradient):
    return (gradient.mean((2, 3), keepdim=True) * features_).sum(1).clamp(min=0)


def class_maps(encoder, pixels, classifier, asked, layers=(4,)):
    """Grad-CAM of a class logit: where each image speaks for the class that it is asked for.

    Args:
        classifier: turns features (n, dim) into logits (n, K); a fitted probe, or the control's own head.
        asked: int64 (N,), the class that each image is asked for.
    Raises:
        ParamError: another number of classes than of images; as ``grad_cam``.
    """
    if asked.shape != (len(pixels),):
        raise ParamError(problem("asked", f"int64 ({len(pixels)},), a class for each image", tuple(asked.shape)))
    return grad_cam(encoder, pixels, class_score(encoder, classifier, asked), layers)


def class_score(encoder, classifier, asked):
    """The score of ``class_maps``, for ``grad_cam``."""
    asked = asked.to(encoder.mean.device)
    return lambda h, rows: classifier(h).gather(1, asked[rows, None])[:, 0]


def similarity_maps(encoder, pixels, others, layers=(4,)):
    """Grad-CAM of the cosine between features: where each image resembles another one.

    Args:
        others: uint8 (N, H, W, 3), the image that each is compared with, or (1, H, W, 3) for the same one; of any size.
    Returns:
        ``{layer: (N, h, w)}``, maps over ``pixels``, not over ``others``.
    Raises:
        ParamError: another number of images; as ``grad_cam``.
    """
    if len(others) not in (1, len(pixels)):
        raise ParamError(problem("others", f"1 or {len(pixels)} images, one to compare each with", len(others)))
    return grad_cam(encoder, pixels, similarity_score(encoder, others, len(pixels)), layers)


def similarity_score(encoder, others, count):
    """The score of ``similarity_maps`` of ``count`` images, for ``grad_cam``."""
    wanted = features(encoder, others).expand(count, -1)  # (N, dim)
    return lambda h, rows: F.cosine_similarity(h, wanted[rows])
