"""Features of a fixed few images, kept while an encoder learns: what an epoch slider moves through.

    <run>/snapshots/epoch-00010.npz
"""

import io
import re
from dataclasses import dataclass

import numpy as np

from mixlab.errors import CheckpointError
from mixlab.evaluate import features
from mixlab.files import remove_leftovers, write
from mixlab.rng import Key

MOST = 2000  # images that are kept: 2 MB an epoch at 512 features
HALF_MAX = 65504  # the largest float16
SAME = ("index", "labels", "checksum", "split", "dataset")  # what all snapshots of a run must share


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Features of the same images at several epochs.

    Args:
        epochs: tuple of E rising ints; 0 is the untrained encoder.
        index: int64 (N,) rising positions in the query images.
        labels: int64 (N,), or None where the images have none.
        features: float32 (E, N, D), kept as float16.
        split: ``val`` or ``test``: which images of the data set they are.
        checksum: of all images of that split, as in ``data.Images``.
        dataset: the data set they are of; "" for the run's own.
    """

    epochs: tuple
    index: np.ndarray
    labels: np.ndarray | None
    features: np.ndarray
    split: str
    checksum: str
    dataset: str = ""


def record(run, encoder, splits, epoch, precision="fp32", dataset=""):
    """Writes the features of a fixed subset of the query images, whole or not at all; returns the file.

    The subset, at most 2,000 images, depends on the number of query images only: runs on the same images keep the
    same ones, whatever their seeds. An earlier snapshot of the epoch is replaced.

    Args:
        run: a ``Run`` that this process has locked.
        encoder: left in the mode it is in.
        splits: ``data.Splits`` of the run, or of ``dataset``; ``splits.queries`` are encoded, unaugmented.
        epoch: 0 for the untrained encoder.
        precision: ``fp32`` or ``bf16`` for the encoder.
        dataset: the data set that ``splits`` are of, where it is not the run's own.
    """
    queries, folder = splits.queries, run.path / "snapshots"
    index = subset(len(queries))
    chosen = queries.subset(index)
    h = features(encoder, chosen.pixels, precision).clamp(-HALF_MAX, HALF_MAX).half().cpu().numpy()  # (N, D)
    labels = {} if chosen.labels is None else {"labels": chosen.labels.numpy()}
    buffer = io.BytesIO()
    other = {"dataset": dataset} if dataset else {}
    np.savez(buffer, features=h, index=index, split=splits.knn_split, checksum=queries.checksum, **labels, **other)
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    file = folder / f"epoch-{epoch:05d}.npz"
    write(file, buffer.getvalue())
    return file


def subset(count, most=MOST):
    """Rising int64 positions of at most ``most`` of ``count`` images; smaller subsets lie in larger ones."""
    return np.sort(Key(0, "snapshots").generator().permutation(count)[:most])


def read(run):
    """All ``Snapshots`` of a run, or None where it kept none.

    Raises:
        CheckpointError: a damaged file, or one that belongs to other images, by name.
    """
    found = {_epoch(file): file for file in (run.path / "snapshots").glob("epoch-*.npz") if _epoch(file) is not None}
    if not found:
        return None
    epochs = tuple(sorted(found))
    arrays = [_load(found[epoch]) for epoch in epochs]
    for epoch, one in zip(epochs, arrays, strict=True):
        _check_same(found[epoch], one, arrays[-1])
    last = arrays[-1]
    return Snapshots(epochs, last["index"], last.get("labels"),
                     np.stack([one["features"] for one in arrays]).astype(np.float32),  # (E, N, D)
                     str(last["split"]), str(last["checksum"]), str(last.get("dataset", "")))


def _epoch(file):
    number = re.fullmatch(r"epoch-(\d+)\.npz", file.name)
    return int(number[1]) if number else None


def _load(file):
    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        if arrays["features"].shape[:1] != arrays["index"].shape:
            raise ValueError("as many rows as positions")
    except Exception as error:  # readers of archives and arrays meet damage with many types of error
        raise CheckpointError(f"{file}: is not a readable snapshot ({error}). Delete it.") from error
    return arrays


def _check_same(file, one, last):
    """Points are followed through the epochs, so every epoch must hold the same images and features as wide."""
    same = all(np.array_equal(one.get(name), last.get(name)) for name in SAME)
    if not same or one["features"].shape != last["features"].shape:
        raise CheckpointError(f"{file}: holds other images or features than the last snapshot of the run. Delete it.")
