"""Cross-entropy with soft targets, and the check of soft targets."""

import torch.nn.functional as F

from mixlab.errors import DataError, ParamError, problem
from mixlab.losses.arguments import matrix_problem, targets_problem, widened


def soft_cross_entropy(logits, targets):
    """Cross-entropy of logits (N, K) with soft targets (N, K) or class ids (N,), mean over the batch, in fp32.

    For targets lam * onehot(a) + (1 - lam) * onehot(b) it is mixup's lam * CE(a) + (1 - lam) * CE(b)
    (Zhang et al. 2018, arXiv 1710.09412). Returns {"loss": scalar}. Raises ParamError for shapes that do not fit.
    """
    wrong = matrix_problem("logits", logits, 1) or targets_problem(targets, logits, logits.shape[1])
    if wrong:
        raise ParamError(wrong)
    targets = targets.to(widened(logits).dtype) if targets.is_floating_point() else targets.long()
    return {"loss": F.cross_entropy(widened(logits), targets)}


def check_targets(targets, tolerance=1e-3):
    """Raises DataError naming the first row of targets (N, K) that is no distribution: NaN, negative, not summing to 1.

    Ids (N,) always pass. Waits for the device: for the start of a run, not for every step.
    """
    rows = targets.detach().double()
    if rows.ndim == 1:
        return
    good = (rows >= 0).all(1) & ((rows.sum(1) - 1).abs() <= tolerance)  # (N,); NaN fails every comparison
    if not good.all():
        first = int((~good).nonzero()[0, 0])
        todo = f"Mend or leave out the {int((~good).sum())} of {len(rows)} rows that are wrong"
        raise DataError(problem(f"targets row {first}", "numbers >= 0 that sum to 1", rows[first].tolist(), todo))
