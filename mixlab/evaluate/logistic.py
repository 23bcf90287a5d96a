"""Multinomial logistic regression to convergence, by a preconditioned L-BFGS in the span of the features."""

from collections import deque
from dataclasses import dataclass

import torch

CPU_ROWS, GPU_ROWS = 2048, 8192  # rows of features that one product takes at a time: to stay in the cache; few launches
CURVATURE_ROWS = 10_000  # rows that the preconditioner is estimated from
MEMORY = 10  # pairs of steps and gradient changes that L-BFGS remembers
SUFFICIENT = 1e-4  # share of the promised decrease that a step must keep (Armijo)
SHARE = 1e-2  # how long the gradient may be when a fit has converged, beside that of the penalty
SHORTEST = 1e-3  # length of a step below which its decrease is lost in rounding
NO_SLOPE = 1e-12  # a gradient this long is none, where the weights have no length to compare it with


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights and, in the last column, bias (K, D + 1); whether the gradient fell below the tolerance; steps made."""

    theta: torch.Tensor
    converged: bool
    steps: int


def fit_logistic(features, labels, num_classes, l2, *, start=None, curvature=None, tolerance=1e-5, share=SHARE,
                 max_steps=500):
    """Minimises mean cross-entropy + l2/2 |W|^2 over weights W (K, D) and an unpenalised bias (K,).

    That is scikit-learn's ``LogisticRegression`` with C = 1 / (l2 N). The features of a trained encoder are strongly
    correlated, which costs L-BFGS hundreds of steps; preconditioned by the features' covariance it takes some dozens.
    The best W is a sum of features, so it is sought in their span alone: with fewer images than dimensions nothing
    else holds it there. Where float32 rounds the last steps away, they are made in float64.

    Args:
        features: float32 or float64 (N, D), centred, of similar scales.
        labels: int64 (N,) in 0 to num_classes - 1. A class without images would have a bias of minus infinity, so
            it is better left out.
        l2: > 0.
        start: (K, D + 1) to start from, such as the solution for another l2; zeros if None.
        curvature: ``feature_curvature(features)``, if it is there already.
        tolerance, share: a fit has converged when no entry of the gradient, by W and bias, is above ``tolerance``, and
            its length is at most ``share`` of that of l2 W. The loss being l2-strongly convex, W is then off by about
            that share of its length at most, however weak l2 is.
    Source:
        Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization"; the span: Kimeldorf and
        Wahba 1971, "Some results on Tchebycheffian spline functions"; a covariance times the spread of the classes as
        the Hessian's stand-in, after the bound of Bohning 1992, "Multinomial logistic regression algorithm".
    """
    start = features.new_zeros(num_classes, features.shape[1] + 1) if start is None else start
    values, vectors = curvature or feature_curvature(features)
    start = torch.cat([start[:, :-1] @ vectors @ vectors.T, start[:, -1:]], 1)
    objective = Objective(features, labels, l2, tolerance, share)
    fit = _minimise(objective, start, Scaling(values, vectors, l2), max_steps)
    if fit.converged or fit.steps == max_steps or features.dtype == torch.float64:
        return fit
    finer = Scaling(values.double(), vectors.double(), l2)
    more = _minimise(objective, fit.theta.double(), finer, max_steps - fit.steps)
    return Fit(more.theta.to(features), more.converged, fit.steps + more.steps)


def feature_curvature(features):
    """Eigenvalues (R,) and eigenvectors (D, R) of the covariance of centred features (N, D), without the null space.

    Some of the rows say it, unless those span less than all dimensions; then all rows do.
    """
    values, vectors = _spectrum(features[::max(1, len(features) // CURVATURE_ROWS)])
    if len(values) < features.shape[1] and len(features) >= 2 * CURVATURE_ROWS:
        values, vectors = _spectrum(features)
    return values.to(features), vectors.to(features)


def _spectrum(features):
    covariance = sum(x.T @ x for x in map(torch.Tensor.double, _blocks(features))) / len(features)
    values, vectors = torch.linalg.eigh(covariance)  # in float32 the null space would have values far above 0
    real = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return values[real], vectors[:, real]


def _blocks(rows):
    return rows.split(CPU_ROWS if rows.device.type == "cpu" else GPU_ROWS)


@dataclass(frozen=True, eq=False)
class Point:
    """The penalised loss, a float, at theta (K, D + 1); its gradient there; and how undecided the answers are.

    ``spread`` is the mean over images and classes of the eigenvalues of diag(p) - p p^T: 1/K for uniform answers, 0 for
    sure ones. The Hessian is about that times the features' covariance, plus l2.
    """

    theta: torch.Tensor
    loss: float
    gradient: torch.Tensor
    spread: torch.Tensor


@dataclass(frozen=True, eq=False)
class Objective:
    """The penalised loss at theta (K, D + 1), a ``Point``, in theta's precision; its sums are taken in float64."""

    features: torch.Tensor
    labels: torch.Tensor
    l2: float
    tolerance: float = 1e-5
    share: float = SHARE

    def __call__(self, theta):
        weight, bias, count = theta[:, :-1], theta[:, -1:], len(self.labels)
        loss, undecided = theta.new_zeros(2, dtype=torch.float64)
        gradient = torch.zeros_like(theta)
        for x, y in zip(_blocks(self.features), _blocks(self.labels), strict=True):
            x = x.to(theta.dtype)
            z = torch.addmm(bias, weight, x.T)  # (K, n): classes in rows are several times as fast as images in rows
            normaliser = z.logsumexp(0, keepdim=True)  # (1, n)
            loss += (normaliser - z.gather(0, y[None])).sum(dtype=torch.float64)
            p = z.sub_(normaliser).exp_()
            undecided += (p - p.square()).sum(dtype=torch.float64)
            p.scatter_add_(0, y[None], p.new_full((1, len(y)), -1.0))
            gradient[:, :-1].addmm_(p, x)
            gradient[:, -1] += p.sum(1)
        gradient /= count
        gradient[:, :-1] += self.l2 * weight
        loss = loss / count + self.l2 / 2 * weight.square().sum(dtype=torch.float64)
        return Point(theta, loss.item(), gradient, (undecided / count / max(len(theta) - 1, 1)).to(theta))

    def settled(self, point):
        """Whether the gradient is small, and short beside its part l2 W, which the loss of the images must cancel."""
        limit = self.share * self.l2 * point.theta[:, :-1].norm() + NO_SLOPE
        return bool((point.gradient.abs().max() <= self.tolerance) & (point.gradient.norm() <= limit))


@dataclass(frozen=True, eq=False)
class Scaling:
    """The preconditioner: the inverse of spread times covariance + l2, on the span of the features."""

    values: torch.Tensor  # (R,)
    vectors: torch.Tensor  # (D, R)
    l2: float

    def __call__(self, theta, spread):
        spread = spread.clamp(min=torch.finfo(theta.dtype).eps)
        weight = ((theta[:, :-1] @ self.vectors) / (spread * self.values + self.l2)) @ self.vectors.T
        return torch.cat([weight, theta[:, -1:] / spread], 1)


def _minimise(objective, theta, scaling, max_steps):
    point = objective(theta)
    pairs, losses, steps = deque(maxlen=MEMORY), deque([torch.inf] * MEMORY, maxlen=MEMORY), 0
    still = torch.finfo(theta.dtype).eps / 100  # a loss that falls by less in MEMORY steps only follows the rounding
    while not objective.settled(point) and steps < max_steps and losses[0] - point.loss > still * point.loss:
        new = _search(objective, point, _direction(point, pairs, scaling))
        if new is None:  # no decrease that the precision can show
            break
        losses.append(point.loss)
        step, change = new.theta - point.theta, new.gradient - point.gradient
        if _dot(step, change) > 0:
            pairs.append((step, change))
        point, steps = new, steps + 1
    return Fit(point.theta, objective.settled(point), steps)


def _direction(point, pairs, scaling):
    """The two-loop recursion: the gradient through the inverse Hessian that the pairs suggest, negated."""
    direction, weights = point.gradient.clone(), []
    for step, change in reversed(pairs):
        weights.append(_dot(step, direction) / _dot(step, change))
        direction -= weights[-1] * change
    direction = scaling(direction, point.spread)
    if pairs:
        step, change = pairs[-1]
        direction *= _dot(step, change) / _dot(change, scaling(change, point.spread))
    for (step, change), weight in zip(pairs, reversed(weights), strict=True):
        direction += (weight - _dot(change, direction) / _dot(step, change)) * step
    return -direction


def _search(objective, point, direction):
    """The first of the lengths 1, 1/2, 1/4, ... that lowers the loss enough; the loss is convex, so there is one."""
    slope, length = _dot(point.gradient, direction).item(), 1.0
    while length > SHORTEST:
        new = objective(point.theta + length * direction)
        if new.loss <= point.loss + SUFFICIENT * length * slope:
            return new
        length /= 2
    return None


def _dot(a, b):
    return (a * b).sum()
