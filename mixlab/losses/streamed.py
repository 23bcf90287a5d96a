"""One streamed contrastive loss for hard and soft targets.

``contrastive`` is the whole family, one argument apart:

- SimCLR's NT-Xent (Chen et al. 2020, arXiv 2002.05709, Eq 1): targets are image ids, each id twice.
- SupCon's L_out (Khosla et al. 2020, arXiv 2004.11362, Eq 2): targets are class ids, reading "anchor". Differs from the
  authors' code in two ways: that multiplies by temperature / base_temperature (0.5 / 0.07 makes the printed loss 7.1
  times larger), and it counts an anchor without a positive as a zero in the mean where this leaves it out.
- MixSupCon ("Mixed Images Enhance Supervised Contrastive Learning", anonymous draft, Eq 4-6): targets are mixed label
  rows; the draft's Eq 2-3 are reading "pairs" on class ids.
- GenSCL's loss (Kim et al. 2022, arXiv 2206.00384): mixed rows, reading "anchor", label_similarity "cosine".

How it streams. With v = normalise(z) / sqrt(temperature) the logits are s = v v^T. The label similarities W enter only
through W v, and Y (Y^T v) gives that without the N x N matrix, so only the log-sum-exp has to look at every pair. It
does so twice (for its value, then for its gradient), in strips of rows and, s being symmetric, right of the diagonal
only. The upstream gradient of a mean is one scalar: the forward forms the gradient, the backward scales it.
"""

import math
from dataclasses import dataclass
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor

from mixlab.errors import ParamError, nearest, problem
from mixlab.losses.arguments import left_out_problem, matrix_problem, targets_problem, widened

READINGS = ("anchor", "row", "pairs")
LABEL_SIMILARITIES = ("dot", "cosine")
MIN_MASS = 1e-3  # a row with less label similarity than this to all others together has no positive
MIN_NORM = 1e-6  # an embedding shorter than this has no direction
PLAIN_EXP = 0.025  # from this temperature up exp(s) needs no shift in fp32: exp(40) * 65536**2 is far from its limit
TEMPERATURES = (1e-6, 1e6)  # open interval
BF16_ROWS = 4096  # bf16 products from this N up
CPU_TILE = (256, 2048)  # rows and columns of logits at a time, to stay in the cache
GPU_TILE = (2048, 4096)  # few launches, 32 MiB a matrix


def contrastive(z, targets, temperature, *, reading="anchor", label_similarity="dot", left_out=None):
    """Contrastive loss of N embeddings whose targets say how alike each pair should be.

    With u = z / |z|, s_ij = u_i . u_j / temperature, W_ij = targets_i . targets_j for i != j (ids: 1 if equal, else 0):

    - "anchor": mean over i of  sum_j W_ij (lse_i - s_ij) / sum_j W_ij,  with lse_i = log sum_{a != i} exp s_ia
    - "row":    sum_ij W_ij (lse_i - s_ij) / sum_ij W_ij
    - "pairs":  sum_ij W_ij (lse - s_ij) / sum_ij W_ij,  with lse over all ordered pairs (the draft's double sum)

    "anchor" weighs every embedding alike, "row" by its label mass; they agree when all masses are equal. An embedding
    whose mass sum_j W_ij is under 1e-3 has no positive: it is no anchor (it stays a negative of the others) and is
    counted. Without any anchor the loss is exactly 0, and so is its gradient.

    Args:
        z: (N, D) embeddings, N >= 2, any float dtype; normalised here. A row shorter than 1e-6 is divided by 1e-6 and
            gets no gradient.
        targets: (N,) integer ids of any values, or (N, K) float rows >= 0, usually label distributions. Their values
            are not checked, which would wait for the device; see ``check_targets``. No gradient flows to them.
        temperature: a number, 1e-6 < temperature < 1e6.
        reading: "anchor", "row" or "pairs".
        label_similarity: "dot", or "cosine" to divide rows by their length first (ids: the same).
        left_out: (N,) bool, embeddings that count as if they were not there, or None; their number needs no wait for
            the device.

    Returns {"loss": scalar, "anchors_without_positive": scalar int64} on the device of z, without a host
    synchronisation. Differentiable once (create_graph is refused). Raises ParamError naming every wrong argument.

    Precision: fp32 (float64 for float64 z), label masses in float64, whatever autocast says, but for one thing: from
    N = 4096 and temperature 0.025 up, bf16 z or bf16 autocast gives bf16 products with fp32 sums (over twice as fast;
    smaller batches take milliseconds either way). With unit embeddings the loss is then off by at most 0.2 % of
    1 / temperature. The gradient is off by at most 0.6 % of 1 / (temperature sqrt(N)), as much as the attraction alone
    can pull, from temperature 0.1 up, and by 1 % of it at 0.05, 2.5 % at 0.025, where rounded logits move the softmax
    more; "pairs", whose one softmax gathers on the closest pairs of all, by 10 % of the gradient more below 0.1 (all
    this as measured at N = 4096, on embeddings at random and around classes, 8 to 512 wide). Of the whole gradient that
    is little, but for class ids near convergence: attraction and repulsion then cancel, and what is left of them is
    smaller than this error. Memory grows with N, not N^2.
    """
    wrong = list(filter(None, _problems(z, targets, temperature, reading, label_similarity, left_out)))
    if wrong:
        raise ParamError("\n".join(wrong))
    product_dtype = _product_dtype(z, temperature)  # asks autocast, so before it is switched off
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        positives = _positives(targets, z.dtype, label_similarity, left_out)
        mass = positives.mass()  # (N,) float64
        share, per_positive = _weights(mass, reading)
        norm = torch.linalg.vector_norm(widened(z), dim=1, keepdim=True)  # (N, 1)
        u = widened(z) / norm.clamp(min=MIN_NORM)  # (N, D)
        v = (u / math.sqrt(temperature)).to(product_dtype)
        loss, gradient = _loss_and_gradient(v, positives, share.to(u), per_positive.to(u), reading, temperature,
                                            left_out)
        gradient = _through_norm(gradient / math.sqrt(temperature), u, norm)
    loss = _WithGradient.apply(z, loss, gradient)
    lonely = mass < MIN_MASS if left_out is None else (mass < MIN_MASS) & ~left_out
    return {"loss": loss, "anchors_without_positive": lonely.sum()}


@dataclass(frozen=True)
class _SameId:
    """W for ids: 1 where two are equal. ``index`` (N,) holds the ids renamed to 0, 1, ... (fewer than N)."""

    index: Tensor

    def mass(self):
        """sum_{j != i} W_ij, (N,) float64."""
        ones = torch.ones_like(self.index, dtype=torch.float64)
        return torch.zeros_like(ones).index_add_(0, self.index, ones)[self.index] - 1

    def times(self, x):
        """sum_{j != i} W_ij x_j for x (N, D)."""
        return torch.zeros_like(x).index_add_(0, self.index, x)[self.index] - x


@dataclass(frozen=True)
class _SoftRows:
    """W for soft targets: the dot products of ``rows`` (N, K)."""

    rows: Tensor

    def mass(self):
        """sum_{j != i} W_ij, (N,) float64, in strips so that the float64 copies stay small."""
        strips = self.rows.split(math.prod(_tile(self.rows.device)) // self.rows.shape[1] + 1)
        total = sum(strip.double().sum(0) for strip in strips)  # (K,)
        return torch.cat([(strip.double() * (total - strip)).sum(1) for strip in strips])

    def times(self, x):
        """sum_{j != i} W_ij x_j for x (N, D)."""
        return self.rows @ (self.rows.T @ x) - self.rows.square().sum(1, keepdim=True) * x


class _WithGradient(torch.autograd.Function):
    """A loss whose gradient by z is already known."""

    @staticmethod
    def forward(ctx, z, loss, gradient):
        ctx.save_for_backward(gradient)
        ctx.dtype = z.dtype
        return loss.clone()

    @staticmethod
    def backward(ctx, upstream):
        if torch.is_grad_enabled():  # create_graph: what follows would look like a constant, and silently
            raise RuntimeError("contrastive: its gradient cannot be differentiated again; leave out create_graph=True.")
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream).to(ctx.dtype), None, None  # scaled first: a loss scaler prevents underflow


def _product_dtype(z, temperature):
    """The dtype of the N x N x D products; see "Precision" in ``contrastive``."""
    if z.dtype == torch.float64:
        return torch.float64
    autocast = torch.is_autocast_enabled(z.device.type) and torch.get_autocast_dtype(z.device.type)
    bf16 = torch.bfloat16 in (z.dtype, autocast) and len(z) >= BF16_ROWS and temperature >= PLAIN_EXP
    return torch.bfloat16 if bf16 else torch.float32


def _positives(targets, dtype, label_similarity, left_out):
    if targets.ndim == 1:
        ids = _rename(targets.long())
        if left_out is not None:  # each of them an id of its own
            ids = _rename(torch.where(left_out, len(ids) + torch.arange(len(ids), device=ids.device), ids))
        return _SameId(ids)
    rows = targets.to(torch.promote_types(dtype, torch.float32))
    rows = rows if left_out is None else rows.masked_fill(left_out[:, None], 0)
    return _SoftRows(rows if label_similarity == "dot" else F.normalize(rows, dim=1))


def _rename(ids):
    """Ids (N,) of any values as 0, 1, ... in sorted order; ``torch.unique`` would wait for the device."""
    ordered, order = ids.sort()
    rank = (ordered[1:] != ordered[:-1]).cumsum(0)  # (N - 1,); the smallest id keeps 0
    return torch.zeros_like(ids).scatter_(0, order[1:], rank)


def _weights(mass, reading):
    """(share, per_positive), (N,) each, so that loss = sum_i share_i lse_i - sum_ij per_positive_i W_ij s_ij.

    The shares sum to 1, or to 0 when no row has a positive. A NaN mass stays NaN and does not pass for none.
    """
    lonely = mass < MIN_MASS
    if reading == "anchor":
        share = ~lonely / (~lonely).sum().clamp(min=1).double()
        return share, share / mass.masked_fill(lonely, 1)
    mass = mass.masked_fill(lonely, 0)
    total = mass.sum().clamp(min=MIN_MASS)
    return mass / total, ~lonely / total


def _through_norm(gradient, u, norm):
    """The gradient by z from the one by u: what lies across u, since the length of z does not count."""
    across = gradient - (gradient * u).sum(1, keepdim=True) * u
    return (across / norm).masked_fill_(norm < MIN_NORM, 0)


def _loss_and_gradient(v, positives, share, per_positive, reading, temperature, left_out):
    """The loss and its gradient by v (N, D)."""
    plain = temperature >= PLAIN_EXP
    lse = _log_sum_exp(v, plain, left_out)  # (N,)
    if reading == "pairs":
        lse = lse.logsumexp(0)
    if left_out is not None:
        lse = lse.masked_fill(lse == -torch.inf, 0)  # no pair at all: its share is 0
    log_weight = ((share.sum() if reading == "pairs" else share).log() - lse).expand(len(v))
    exact = widened(v)  # rounded as in the softmax, so that a positive's logit meets itself there
    pulled = positives.times(exact)
    loss = (share * lse - per_positive * (exact * pulled).sum(1)).sum()
    per_positive = per_positive[:, None]
    gradient = _softmax_gradient(v, log_weight, plain, left_out)
    gradient -= per_positive * pulled + positives.times(per_positive * exact)
    return loss, gradient


def _tile(device):
    return CPU_TILE if device.type == "cpu" else GPU_TILE


def _tiles(v, left_out):
    """Yields (rows, columns, s): tiles of logits in fp32 or float64 that hold every pair once.

    The logit of what is no pair, an embedding with itself or with one left out, is minus infinity.
    """
    height, width = _tile(v.device)
    gone = None if left_out is None else widened(v.new_zeros(len(v))).masked_fill_(left_out, -torch.inf)  # (N,)
    for top in range(0, len(v), height):
        rows = slice(top, top + height)
        yield rows, rows, _without(gone, rows, rows, widened(v[rows] @ v[rows].T).fill_diagonal_(-torch.inf))
        for left in range(top + height, len(v), width):
            columns = slice(left, left + width)
            yield rows, columns, _without(gone, rows, columns, widened(v[rows] @ v[columns].T))


def _without(gone, rows, columns, s):
    return s if gone is None else s.add_(gone[rows, None]).add_(gone[columns])


def _log_sum_exp(v, plain, left_out):
    """log sum_{a != i} exp(v_i . v_a), (N,); ``plain``: without a shift."""
    total = widened(v.new_zeros(len(v)))
    lse = total - torch.inf
    for rows, columns, s in _tiles(v, left_out):
        s = s.exp_() if plain else s
        for part, dim in [(rows, 1)] if rows == columns else [(rows, 1), (columns, 0)]:
            if plain:
                total[part] += s.sum(dim)
            else:
                lse[part] = torch.logaddexp(lse[part], s.logsumexp(dim))
    return total.log() if plain else lse


def _softmax_gradient(v, log_weight, plain, left_out):
    """sum_a (p_ia + p_ai) v_a, (N, D), with p_ia = exp(v_i . v_a + log_weight_i)."""
    gradient = torch.zeros_like(v, dtype=log_weight.dtype)
    for rows, columns, s in _tiles(v, left_out):
        own, other = log_weight[rows, None], log_weight[columns]
        p = s.exp_().mul_(own.exp() + other.exp()) if plain else (s + own).exp_() + (s + other).exp_()
        p = p.to(v.dtype)
        gradient[rows] += p @ v[columns]
        if rows != columns:
            gradient[columns] += p.T @ v[rows]
    return gradient


def _problems(z, targets, temperature, reading, label_similarity, left_out):
    yield matrix_problem("z", z, 2) or targets_problem(targets, z) or left_out_problem(left_out, z)
    low, high = TEMPERATURES
    if not isinstance(temperature, Real) or isinstance(temperature, bool) or not low < temperature < high:
        yield problem("temperature", f"a number with {low:g} < temperature < {high:g}", temperature)
    for name, got, known in ("reading", reading, READINGS), ("label_similarity", label_similarity, LABEL_SIMILARITIES):
        if got not in known:
            yield problem(name, f"one of {', '.join(known)}", got, nearest(got, known))
