"""Maps from features to the plane: PCA, t-SNE, UMAP. Each is fitted once and then places other points, too."""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch

from mixlab.errors import DataError, ParamError, nearest, problem

PROJECTIONS = ("pca", "tsne", "umap")
REDUCED = 50  # principal components that t-SNE and UMAP see
FEWEST = {"pca": 2, "tsne": 5, "umap": 5}
PERPLEXITY = 30
UMAP_NEIGHBOURS = 15
EXACT = 10_000  # points up to which UMAP is given all distances (0.4 GB)
INTERPOLATED = 10  # fitted points that place a new one, where t-SNE has no transform of its own


@dataclass(frozen=True, eq=False)
class Map:
    """A fitted map: where its points lie, and where others would.

    Args:
        kind: one of ``PROJECTIONS``.
        coordinates: float32 (N, 2) of the features it was fitted to.
        made_by: who made it, in words, e.g. ``umap-learn after PCA to 50``.
        reduce: function from features (M, D) to their principal components.
        place: function from principal components to the plane (M, 2).
        known: digest of each fitted row of features and its number.
        width: D.
    """

    kind: str
    coordinates: np.ndarray
    made_by: str
    reduce: Callable
    place: Callable
    known: dict
    width: int

    def transform(self, features):
        """Coordinates float32 (M, 2) of ``features`` (M, D) on this map; the fitted points stay where they are.

        A row that equals a fitted one gets its coordinates. PCA places others by projection, UMAP and openTSNE by
        their own transforms. scikit-learn's t-SNE has none: there a new point becomes the mean of its 10 nearest
        fitted points, weighted by distance to the power of -4 (Shepard 1968). That is interpolation, not t-SNE: such
        points never leave the fitted cloud, and show no cluster of their own.
        Raises:
            ParamError: features of another width. DataError: features that are not finite.
        """
        features = _checked(features)
        if features.shape[1] != self.width:
            raise ParamError(problem("features", f"(M, {self.width}), as the map was fitted to", features.shape))
        rows = dict(zip(_digests(features), range(len(features)), strict=True))  # equal rows are placed once
        new = [row for digest, row in rows.items() if digest not in self.known]
        placed = self.coordinates
        if new:
            placed = np.concatenate([placed, self.place(self.reduce(features[new]))]).astype(np.float32)
        fresh = {digest: len(self.coordinates) + i for i, digest in enumerate(_digests(features[new]))}
        return placed[_places(features, self.known | fresh)]


def fit(features, kind, *, seed=0):
    """The ``Map`` of ``features`` (N, D): two principal components, or t-SNE or UMAP of the first 50.

    Equal features and seed give equal maps on one machine. t-SNE is openTSNE's where that is installed, else
    scikit-learn's; its perplexity is 30, or (N - 1) / 3 where that is less. Features that do not differ at all
    (a collapsed encoder) lie at one point.

    Args:
        features: float (N, D), N >= 2 for pca, >= 5 for the others.
        kind: one of ``PROJECTIONS``.
        seed: of t-SNE and UMAP, in [0, 2**32).
    Raises:
        ParamError: an unknown kind. DataError: too few rows, or values that are not finite.
    Source:
        van der Maaten and Hinton 2008, Visualizing data using t-SNE (JMLR 9); McInnes et al. 2018, arXiv 1802.03426.
    """
    check_kind(kind)
    features = _checked(features)
    if len(features) < FEWEST[kind]:
        raise DataError(problem("features", f"at least {FEWEST[kind]} rows for {kind}", len(features),
                                "Use more images" + (", or kind pca" if kind != "pca" else "")))
    reduce = _principal(features)
    components = reduce(features)  # (N, <= 50)
    spread = components[:, 0].std()
    collapsed = spread <= 1e-7 * np.abs(features).max()
    maker = _linear if kind == "pca" or collapsed else {"tsne": _tsne, "umap": _umap}[kind]
    coordinates, place, made_by = maker(components, spread, seed)
    known = {digest: row for row, digest in enumerate(_digests(features))}
    coordinates = np.asarray(coordinates, np.float32)[_places(features, known)]  # equal rows lie at one place
    return Map(kind, coordinates, made_by, reduce, place, known, features.shape[1])


def check_kind(kind):
    """Refuses what is not in ``PROJECTIONS``, with the nearest name that is."""
    if kind not in PROJECTIONS:
        raise ParamError(problem("kind", f"one of {', '.join(PROJECTIONS)}", kind, nearest(kind, PROJECTIONS)))


def _checked(features):
    features = np.asarray(features, np.float32)
    if features.ndim != 2 or not features.shape[1]:
        raise DataError(problem("features", "rows of numbers, (N, D)", features.shape))
    wrong = ~np.isfinite(features).all(1)
    if wrong.any():
        raise DataError(f"features[{np.flatnonzero(wrong)[0]}]: finite numbers; got NaN or infinity, in {wrong.sum()} "
                        "rows altogether. Train the run again, with a lower lr.")
    return features


def _principal(features):
    """The function from features to their principal components: 50, or as many as there can be."""
    from sklearn.decomposition import PCA

    count = min(REDUCED, *features.shape)
    missing = ((0, 0), (0, max(0, 2 - count)))  # features of one number lie on a line
    with np.errstate(invalid="ignore"):  # the shares of a variance of 0
        fitted = PCA(count, svd_solver="covariance_eigh").fit(features.astype(np.float64))
    return lambda rows: np.pad(fitted.transform(rows.astype(np.float64)), missing)


def _linear(components, spread, seed):
    return components[:, :2], lambda rows: rows[:, :2], "PCA"


def _tsne(components, spread, seed):
    perplexity = min(PERPLEXITY, (len(components) - 1) / 3)
    maker = _open_tsne if find_spec("openTSNE") else _sklearn_tsne
    return maker(components / spread, spread, perplexity, seed)


def _open_tsne(points, spread, perplexity, seed):
    from openTSNE import TSNE

    fitted = TSNE(perplexity=perplexity, random_state=seed, n_jobs=1).fit(points)

    coordinates = np.array(fitted)

    def place(rows):
        placed = fitted.transform(rows / spread, k=min(25, len(points)), perplexity=min(5, perplexity))
        shift = (np.asarray(fitted) - coordinates).mean(0)  # openTSNE moves the fitted points aside, all by the same
        return np.asarray(placed) - shift

    return coordinates, place, _after("openTSNE", points)


def _sklearn_tsne(points, spread, perplexity, seed):
    from sklearn.manifold import TSNE

    coordinates = TSNE(perplexity=perplexity, random_state=seed, n_jobs=1).fit_transform(points)
    return (coordinates, lambda rows: _interpolated(rows / spread, points, coordinates),
            _after("scikit-learn's t-SNE", points))


def _interpolated(rows, points, coordinates):
    """The mean (M, 2) of the nearest fitted points by inverse distance; on a fitted point it is that point's place."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=min(INTERPOLATED, len(points)), algorithm="brute").fit(points)
    distance, near = found.kneighbors(rows)  # (M, k)
    distance += 1e-12
    weights = (distance[:, :1] / distance) ** 4  # the nearest weighs 1
    return (weights[:, :, None] * coordinates[near]).sum(1) / weights.sum(1, keepdims=True)


def _umap(components, spread, seed):
    """Up to 10,000 points umap-learn is given exact distances: it then compiles less, and places later ones sooner."""
    umap = _umap_learn()
    points = (components / spread).astype(np.float32)
    exact = len(points) <= EXACT
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says at each call what exact distances mean
        fitted = umap.UMAP(n_neighbors=min(UMAP_NEIGHBOURS, len(points) - 1), random_state=seed, transform_seed=seed,
                           n_jobs=1, metric="precomputed" if exact else "euclidean")
        fitted.fit(_distances(points, points) if exact else points)

    def place(rows):
        rows = (rows / spread).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return fitted.transform(_distances(rows, points) if exact else rows)

    return fitted.embedding_, place, _after("umap-learn", points)


def _umap_learn():
    """The module; numba refuses to load what it keeps compiled where it finds no folder that can be written."""
    try:
        import umap
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        import numba

        os.environ["NUMBA_CACHE_DIR"] = numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="mixlab-numba-")
        import umap
    return umap


def _distances(rows, points):
    """Euclidean distances float32 (M, N); of points to themselves exactly 0."""
    distances = torch.cdist(torch.from_numpy(rows), torch.from_numpy(points))
    return (distances.fill_diagonal_(0) if rows is points else distances).numpy()


def _after(who, points):
    return f"{who} after PCA to {points.shape[1]}"


def _digests(features):
    return [hashlib.blake2b(row, digest_size=16).digest() for row in np.ascontiguousarray(features)]


def _places(features, known):
    """The number of the known row that equals each row, int64 (M,)."""
    return np.array([known[digest] for digest in _digests(features)], dtype=np.int64)
