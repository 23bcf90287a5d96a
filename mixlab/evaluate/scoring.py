"""What a classifier's answers are worth."""

import torch
import torch.nn.functional as F

BINS = 15  # of the expected calibration error


def scores(logits, labels):
    """Accuracies and calibration of ``logits`` (N, K) against ``labels`` int64 (N,), as plain numbers.

    Returns:
        ``top1`` and ``top5`` in [0, 1] (top5 is None for five classes or fewer, where it would always be 1);
        ``calibration_error`` in [0, 1], see ``calibration_error``;
        ``per_class``: K shares of a class's images that were recognised, None for a class without images;
        ``confusion``: K rows of K counts, row = true class, column = answer.
    """
    classes = logits.shape[1]
    answers = logits.argmax(1)
    counts = torch.bincount(labels * classes + answers, minlength=classes**2).view(classes, classes)  # (K, K)
    per_class = counts.diagonal().double() / counts.sum(1)  # NaN, and so None in a file, for a class without images
    return {"top1": (answers == labels).double().mean().item(), "top5": _top5(logits, labels),
            "calibration_error": calibration_error(logits, labels),
            "per_class": [None if share != share else share for share in per_class.tolist()],
            "confusion": counts.tolist()}


def _top5(logits, labels):
    if logits.shape[1] <= 5:
        return None
    return (logits.topk(5).indices == labels[:, None]).any(1).double().mean().item()


def calibration_error(logits, labels):
    """Expected calibration error: how far confidence and accuracy lie apart, on average over answers.

    Answers are sorted by confidence (the largest softmax probability) into 15 bins of equal width, each open at its
    lower and closed at its upper end; the gaps |accuracy - mean confidence| are averaged, weighted by the bins' sizes.

    Source:
        Guo et al. 2017, arXiv 1706.04599, Eq 3.
    """
    confidence, answers = F.softmax(logits.double(), dim=1).max(1)
    number = (confidence * BINS).ceil().long().clamp(1, BINS) - 1  # (N,)
    gaps = torch.zeros(BINS, dtype=torch.float64, device=logits.device)
    gaps.index_add_(0, number, (answers == labels).double() - confidence)
    return (gaps.abs().sum() / len(labels)).item()
