"""Multinomial logistic regression to convergence, by a preconditioned L-BFGS."""

from collections import deque
from dataclasses import dataclass

import torch

BLOCK_ROWS = 8192  # rows of features that one product takes at a time
CURVATURE_ROWS = 10_000  # rows that the preconditioner is estimated from
MEMORY = 10  # pairs of steps and gradient changes that L-BFGS remembers
SUFFICIENT = 1e-4  # share of the promised decrease that a step must keep (Armijo)
FLOOR = 1e-9  # a loss that falls by less than this share in MEMORY steps only follows the rounding


@dataclass(frozen=True, eq=False)
class Fit:
    """Weights and, in the last column, bias (K, D + 1); whether the gradient fell below the tolerance; steps made."""

    theta: torch.Tensor
    converged: bool
    steps: int


def fit_logistic(features, labels, num_classes, l2, *, start=None, curvature=None, tolerance=1e-5, max_steps=500):
    """Minimises mean cross-entropy + l2/2 |W|^2 over weights W (K, D) and an unpenalised bias (K,).

    That is scikit-learn's ``LogisticRegression`` with C = 1 / (l2 N). The features of a trained encoder are strongly
    correlated, which costs L-BFGS hundreds of steps; preconditioned by the features' covariance it takes some dozens.

    Args:
        features: float32 (N, D), centred, of similar scales; in float64 a tolerance below 1e-5 is within reach.
        labels: int64 (N,) in 0 to num_classes - 1. A class without images would have a bias of minus infinity, so
            it is better left out.
        l2: > 0.
        start: (K, D + 1) to start from, such as the solution for another l2; zeros if None.
        curvature: ``feature_curvature(features)``, if it is there already.
        tolerance: the largest entry of the gradient at which the fit counts as converged.
    Source:
        Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization"; the bound on the
        Hessian that the preconditioner is made of: Bohning 1992, "Multinomial logistic regression algorithm".
    """
    start = features.new_zeros(num_classes, features.shape[1] + 1) if start is None else start
    objective = Objective(features, labels, l2)
    scaling = Scaling(*(curvature or feature_curvature(features)), l2)
    return _minimise(objective, start, scaling, tolerance, max_steps)


def feature_curvature(features):
    """Eigenvalues (D,) and eigenvectors (D, D) of the covariance of centred features, from some of the rows."""
    some = features[::max(1, len(features) // CURVATURE_ROWS)]
    values, vectors = torch.linalg.eigh(some.T @ some / len(some))
    return values.clamp(min=0), vectors


@dataclass(frozen=True, eq=False)
class Objective:
    """The value (a float) and the gradient (K, D + 1) of the penalised loss. Sums are taken in double precision."""

    features: torch.Tensor
    labels: torch.Tensor
    l2: float

    def __call__(self, theta):
        weight, bias = theta[:, :-1], theta[:, -1:]
        loss, gradient = theta.new_zeros((), dtype=torch.float64), torch.zeros_like(theta)
        for x, y in zip(self.features.split(BLOCK_ROWS), self.labels.split(BLOCK_ROWS), strict=True):
            z = torch.addmm(bias, weight, x.T)  # (K, n): classes in rows are several times as fast as images in rows
            normaliser = z.logsumexp(0, keepdim=True)  # (1, n)
            loss += (normaliser - z.gather(0, y[None])).sum(dtype=torch.float64)
            p = z.sub_(normaliser).exp_()
            p.scatter_add_(0, y[None], p.new_full((1, len(y)), -1.0))
            gradient[:, :-1].addmm_(p, x)
            gradient[:, -1] += p.sum(1)
        gradient /= len(self.labels)
        gradient[:, :-1] += self.l2 * weight
        penalty = self.l2 / 2 * weight.square().sum(dtype=torch.float64)
        return (loss / len(self.labels) + penalty).item(), gradient


@dataclass(frozen=True, eq=False)
class Scaling:
    """The preconditioner: the inverse of half the covariance + l2, which bounds the Hessian from above."""

    values: torch.Tensor  # (D,)
    vectors: torch.Tensor  # (D, D)
    l2: float

    def __call__(self, theta):
        weight = ((theta[:, :-1] @ self.vectors) / (self.values / 2 + self.l2)) @ self.vectors.T
        return torch.cat([weight, 2 * theta[:, -1:]], 1)


def _minimise(objective, theta, scaling, tolerance, max_steps):
    loss, gradient = objective(theta)
    pairs, losses, steps = deque(maxlen=MEMORY), deque([torch.inf] * MEMORY, maxlen=MEMORY), 0
    while gradient.abs().max() > tolerance and steps < max_steps and losses[0] - loss > FLOOR * loss:
        found = _search(objective, theta, loss, gradient, _direction(gradient, pairs, scaling))
        if found is None:  # no decrease that the precision can show
            break
        losses.append(loss)
        new, loss, new_gradient = found
        step, change = new - theta, new_gradient - gradient
        if _dot(step, change) > 0:
            pairs.append((step, change))
        theta, gradient, steps = new, new_gradient, steps + 1
    return Fit(theta, bool(gradient.abs().max() <= tolerance), steps)


def _direction(gradient, pairs, scaling):
    """The two-loop recursion: the gradient through the inverse Hessian that the pairs suggest, negated."""
    direction, weights = gradient.clone(), []
    for step, change in reversed(pairs):
        weights.append(_dot(step, direction) / _dot(step, change))
        direction -= weights[-1] * change
    direction = scaling(direction)
    if pairs:
        step, change = pairs[-1]
        direction *= _dot(step, change) / _dot(change, scaling(change))
    for (step, change), weight in zip(pairs, reversed(weights), strict=True):
        direction += (weight - _dot(change, direction) / _dot(step, change)) * step
    return -direction


def _search(objective, theta, loss, gradient, direction):
    """The first of the lengths 1, 1/2, 1/4, ... that lowers the loss enough; the loss is convex, so there is one."""
    slope, length = _dot(gradient, direction).item(), 1.0
    while length > 1e-6:
        new = theta + length * direction
        new_loss, new_gradient = objective(new)
        if new_loss <= loss + SUFFICIENT * length * slope:
            return new, new_loss, new_gradient
        length /= 2
    return None


def _dot(a, b):
    return (a * b).sum()
