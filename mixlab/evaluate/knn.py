"""Weighted k-nearest-neighbour classification."""

import torch
import torch.nn.functional as F

from mixlab.errors import ParamError, problem
from mixlab.evaluate.encoding import features

CHUNK = 512  # queries compared with the bank at a time


@torch.inference_mode()
def knn_predict(bank, bank_labels, queries, num_classes, k=200, temperature=0.1):
    """Classes of ``queries`` by a vote of their k nearest in ``bank``, each weighing exp(cosine / temperature).

    Args:
        bank: (N, D) features with ``bank_labels`` int64 (N,).
        queries: (M, D) features.
        num_classes: classes are 0 to num_classes - 1.
        k: neighbours, 1 to N.
        temperature: > 0; smaller lets the nearest decide.
    Returns:
        int64 (M,) predicted classes.
    Raises:
        ParamError: k outside 1 to N.
    Source:
        Wu et al. 2018, arXiv 1805.01978, section 3.4 (k 200, temperature 0.07; 0.1 in MoCo's CIFAR demo and mix-ssl).
    """
    if not 1 <= k <= len(bank):
        raise ParamError(problem("k", f"a whole number from 1 to the bank's {len(bank)} images", k, "Lower it"))
    bank, predicted = F.normalize(bank, dim=1), []
    for chunk in F.normalize(queries, dim=1).split(CHUNK):
        similarity, index = (chunk @ bank.T).topk(k, sorted=False)  # (m, k)
        weights = ((similarity - similarity.amax(1, keepdim=True)) / temperature).exp()  # the nearest weighs 1
        votes = weights.new_zeros(len(chunk), num_classes)
        votes.scatter_add_(1, bank_labels[index], weights)
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


def knn_top1(encoder, bank, queries, *, k=200, temperature=0.1, precision="fp32"):
    """Top-1 accuracy in [0, 1] of weighted kNN on backbone features; k is at most the bank's size.

    Args:
        bank, queries: labelled ``Images``.
    Returns:
        ``{"knn_top1": accuracy, "knn_k": the k used}``.
    """
    k = min(k, len(bank))
    device = encoder.mean.device
    found = knn_predict(features(encoder, bank.pixels, precision), bank.labels.to(device),
                        features(encoder, queries.pixels, precision), len(bank.classes), k, temperature)
    return {"knn_top1": (found == queries.labels.to(device)).float().mean().item(), "knn_k": k}
