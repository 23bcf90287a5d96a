"""True neighbours of points, and how many of them a map keeps."""

import numpy as np
import torch
import torch.nn.functional as F

from mixlab.errors import ParamError, problem
from mixlab.rng import Key

CHUNK = 1024  # points compared with all others at a time


def nearest_neighbours(features, k):
    """The ``k`` most similar other points of every point by cosine, the nearest first.

    Args:
        features: float (N, D), N >= 2.
        k: >= 1; at most N - 1 are found.
    Returns:
        int64 (N, min(k, N - 1)).
    """
    unit = F.normalize(torch.as_tensor(np.asarray(features, dtype=np.float32)), dim=1)
    return _top(unit, lambda chunk: chunk @ unit.T, k)


def quality(features, coordinates, k=10, most=2000, seed=0):
    """How far the plane keeps who is near whom, on Euclidean distances.

    Args:
        features: float (N, D). coordinates: float (N, 2), the same points on a map.
        k: neighbours, >= 1; lowered where the points are fewer than 2 k + 1.
        most: >= 3; of more points than that, so many are drawn by ``seed`` and measured among themselves.
    Returns:
        dict with ``trustworthiness`` (1: no strangers among the k nearest on the map; about 0.5 by chance),
        ``neighbours_kept`` (mean share of the k nearest that are among the k nearest on the map; about k / N by
        chance), ``k`` and ``points``, the numbers really used. The first two are None where nobody is near anybody: of
        fewer than 3 points, and of features that are all the same.
    Raises:
        ParamError: k or most below its range.
    Source:
        Venna and Kaski 2001, Neighborhood preservation in nonlinear projection methods (ICANN).
    """
    for name, value, low in (("k", k, 1), ("most", most, 3)):
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ParamError(problem(name, f"a whole number >= {low}", value))
    features, coordinates = (np.asarray(a, dtype=np.float64) for a in (features, coordinates))
    if len(features) > most:
        chosen = np.sort(Key(seed, "quality").generator().permutation(len(features))[:most])
        features, coordinates = features[chosen], coordinates[chosen]
    k = min(k, (len(features) - 1) // 2)
    measured = _measured(features, coordinates, k) if k and np.ptp(features, axis=0).any() else (None, None)
    return dict(zip(("trustworthiness", "neighbours_kept"), measured, strict=True)) | {"k": k, "points": len(features)}


def _measured(features, coordinates, k):
    from sklearn.manifold import trustworthiness

    near, on_map = (_nearest_by_distance(points, k) for points in (features, coordinates))  # (N, k)
    kept = (near[:, :, None] == on_map[:, None, :]).any(2).mean()
    return float(trustworthiness(features, coordinates, n_neighbors=k)), float(kept)


def _nearest_by_distance(points, k):
    points = torch.from_numpy(points)
    return _top(points, lambda chunk: -torch.cdist(chunk, points), k)


def _top(points, similarity, k):
    """Places int64 (N, k) of the most similar others; a point is never its own neighbour."""
    k, found = min(k, len(points) - 1), []
    for start in range(0, len(points), CHUNK):
        near = similarity(points[start:start + CHUNK])  # (n, N)
        own = torch.arange(len(near))
        near[own, own + start] = -torch.inf
        found.append(near.topk(k, dim=1).indices)
    return torch.cat(found).numpy()
