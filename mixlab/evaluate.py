"""What an encoder is worth: features of a frozen encoder, and weighted k-nearest-neighbour classification."""

import torch
import torch.nn.functional as F

from mixlab.errors import ParamError, problem

CHUNK = 512


@torch.inference_mode()
def features(encoder, pixels, precision="fp32"):
    """Features h (N, encoder.dim) float32 of unaugmented images, in eval mode; the encoder is left as it was.

    Args:
        encoder: its buffers ``mean`` and ``std`` normalise the images.
        pixels: uint8 (N, H, W, 3) on any device; they are moved to the encoder's in chunks.
        precision: ``fp32`` or ``bf16``.
    """
    device, was_training = encoder.mean.device, encoder.training
    encoder.eval()
    found = []
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for chunk in pixels.split(CHUNK):
            images = chunk.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255  # (n, 3, H, W)
            images = (images - encoder.mean.view(3, 1, 1)) / encoder.std.view(3, 1, 1)
            found.append(encoder(images).float())
    encoder.train(was_training)
    return torch.cat(found)


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
