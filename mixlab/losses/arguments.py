"""What the losses ask of their arguments: shapes, devices, and the precision that sums are made in."""

import torch
from torch import Tensor

from mixlab.errors import problem


def widened(x):
    """``x`` in float32, or float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def matrix_problem(name, x, least):
    """The refusal of an ``x`` that is no float matrix of at least ``least`` rows, or ""."""
    if isinstance(x, Tensor) and x.is_floating_point() and x.ndim == 2 and len(x) >= least and x.shape[1] >= 1:
        return ""
    return _tensor_problem(name, f"a float tensor of shape (N, D) with N at least {least}", x)


def targets_problem(targets, x, width="K"):
    """The refusal of targets that are neither ids (N,) nor float rows (N, ``width``) of the rows of ``x``, or ""."""
    if isinstance(targets, Tensor) and targets.device == x.device and targets.shape[:1] == x.shape[:1]:
        real = targets.is_floating_point()
        if (targets.ndim == 2 and real and width in ("K", targets.shape[1])) or (targets.ndim == 1 and not real):
            return ""
    allowed = f"integer ids ({len(x)},) or float rows ({len(x)}, {width}) on {x.device}"
    return _tensor_problem("targets", allowed, targets)


def left_out_problem(left_out, x):
    """The refusal of a ``left_out`` that is neither None nor bool (N,) of the rows of ``x``, or ""."""
    if left_out is None:
        return ""
    fits = isinstance(left_out, Tensor) and left_out.dtype == torch.bool and left_out.shape == x.shape[:1]
    allowed = f"None, or bool ({len(x)},) on {x.device}"
    return "" if fits and left_out.device == x.device else _tensor_problem("left_out", allowed, left_out)


def _tensor_problem(name, allowed, got):
    """``problem`` with a tensor's shape, device and dtype in the place of its values."""
    if not isinstance(got, Tensor):
        return problem(name, allowed, got)
    return f"{name}: {allowed}; got {tuple(got.shape)} on {got.device} ({got.dtype})."
