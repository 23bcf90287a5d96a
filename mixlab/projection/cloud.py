"""A run's images as a cloud of points: features, true neighbours, kNN predictions and one map for all epochs."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from mixlab.errors import CheckpointError, ParamError, nearest, problem
from mixlab.evaluate import LAYERS
from mixlab.projection.maps import FEWEST, check_kind, fit
from mixlab.projection.quality import nearest_neighbours, quality
from mixlab.projection.sources import check_layer, knn_predictions, source
from mixlab.runs import Run

EPOCHS = ("all", "last")

__all__ = ["EPOCHS", "LAYERS", "Cloud", "cloud", "remap"]


@dataclass(frozen=True, eq=False, repr=False)
class Cloud:
    """Points of one run on one map.

    Args:
        run: the ``Run``. dataset: what it was trained on.
        layer: ``encoder`` or ``projection``. kind: of the map, one of ``PROJECTIONS``.
        index: int64 (N,) rising positions in the query images, those of ``split``.
        pixels: uint8 (N, H, W, 3).
        labels: int64 (N,), or None without labels; so ``purity``.
        predictions: int64 (N,), of weighted kNN on the encoder's features whatever the layer shown: the answers behind
            the accuracy that is reported of a run; None where images or training images have no labels.
        classes: names of the classes.
        neighbours: int64 (N, k) positions within the cloud of the nearest by cosine of the last epoch's features, not
            on the map, the nearest first.
        purity: float32 (N,) share of the neighbours with the point's own label.
        epochs: tuple of E rising ints, the last one the run's last.
        maps: float32 (E, N, 2), all on the one map fitted to the last epoch.
        quality: of the last epoch's map, as ``projection.quality`` gives it.
        split: ``test``, or ``val`` where the run held images out and kept snapshots of them.
        checksum: of all images of the split, for ``val`` of the training set it was taken from: clouds of one
            checksum on ``test`` number their images alike.
        made_by: who made the map, in words.
        features: float32 (E, N, D) of length 1, that ``remap`` maps again.
    """

    run: Run
    dataset: str
    layer: str
    kind: str
    index: np.ndarray
    pixels: np.ndarray
    labels: np.ndarray | None
    predictions: np.ndarray | None
    classes: tuple
    neighbours: np.ndarray
    purity: np.ndarray | None
    epochs: tuple
    maps: np.ndarray
    quality: dict
    split: str = "test"
    checksum: str = ""
    made_by: str = ""
    features: np.ndarray | None = None

    def __len__(self):
        return len(self.index)

    def __repr__(self):
        return f"Cloud({self.run.name}, {self.layer}, {self.kind}, {len(self):,} points, epochs {self.epochs})"


def cloud(run, *, layer="encoder", kind="pca", points=10_000, seed=0, data_dir="auto", neighbours=10, epochs="all",
          device="auto", log=print):
    """The ``Cloud`` of a finished run.

    Where the run kept snapshots and the layer is the encoder, its points are those images at all their epochs;
    elsewhere up to ``points`` test images at the last epoch. Features come from the run's evaluation where it stored
    them, else they are encoded. They are brought to length 1 before anything else, so that the map, its quality, the
    neighbours and kNN all compare by cosine.

    Args:
        run: a ``Run``.
        layer: ``encoder``, or ``projection`` where the method has a projector.
        kind: one of ``PROJECTIONS``.
        points: >= 2; the drawn subset is the same for all runs on the same images. Of fewer images all are taken.
        seed: of the map and of the quality's draw.
        data_dir: as in the parameters; ``auto`` is what the run used.
        neighbours: >= 1 true neighbours of each point.
        epochs: ``all``, or ``last`` to leave the snapshots aside.
        device: where features are computed: ``auto``, ``cpu`` or ``cuda``.
        log: called with a line of text where training images are encoded for kNN, which takes its time.
    Raises:
        ParamError: a value outside its range, or a layer that the run has not.
        CheckpointError: an unfinished or damaged run, or features that are not finite.
        DataError: other images than the run's; too few of them.
    """
    _check(kind, points, neighbours, epochs)
    check_layer(run, layer)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    found = source(run, layer, max(points, FEWEST[kind]), data_dir, epochs, device)
    features = _unit(found, run, layer)
    labels = None if found.images.labels is None else found.images.labels.numpy()
    predictions = knn_predictions(run, found, device, log)
    near = nearest_neighbours(features[-1], neighbours)
    maps, measured, made_by = _mapped(features, kind, seed)
    purity = None if labels is None else (labels[near] == labels[:, None]).mean(1).astype(np.float32)
    return Cloud(run, run.params()["dataset"], layer, kind, found.index, found.images.pixels.numpy(), labels,
                 predictions, found.images.classes, near, purity, found.epochs, maps, measured, found.split,
                 found.images.checksum, made_by, features)


def remap(cloud, kind, *, seed=0):
    """The same points on a map of another kind; nothing is loaded or encoded again.

    Raises:
        ParamError: an unknown kind.
    """
    check_kind(kind)
    maps, measured, made_by = _mapped(cloud.features, kind, seed)
    return replace(cloud, kind=kind, maps=maps, quality=measured, made_by=made_by)


def _mapped(features, kind, seed):
    """``(maps (E, N, 2), quality, who made them)`` of features (E, N, D): one map, fitted to the last epoch."""
    fitted = fit(features[-1], kind, seed=seed)
    earlier = fitted.transform(features[:-1].reshape(-1, features.shape[2]))  # ((E - 1) N, 2)
    maps = np.concatenate([earlier, fitted.coordinates]).reshape(*features.shape[:2], 2)
    return maps, quality(features[-1], fitted.coordinates, seed=seed), fitted.made_by


def _unit(found, run, layer):
    """Features (E, N, D) brought to length 1; those of length 0 stay."""
    for epoch, features in zip(found.epochs, found.features, strict=True):
        wrong = (~np.isfinite(features).all(1)).sum()
        if wrong:
            raise CheckpointError(f"{layer}: finite features; got NaN or infinity for {wrong} images of {run.name} at "
                                  f"epoch {epoch}. Train the run again, with a lower lr.")
    length = np.linalg.norm(found.features, axis=2, keepdims=True)
    return found.features / np.maximum(length, 1e-12)


def _check(kind, points, neighbours, epochs):
    check_kind(kind)
    for name, value, low in (("points", points, 2), ("neighbours", neighbours, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ParamError(problem(name, f"a whole number >= {low}", value))
    if epochs not in EPOCHS:
        raise ParamError(problem("epochs", f"one of {', '.join(EPOCHS)}", epochs, nearest(epochs, EPOCHS)))
