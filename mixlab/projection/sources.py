"""What a cloud is made of: a run's images, checked; their features, stored or encoded; and what kNN says of them."""

import io
from dataclasses import dataclass

import numpy as np
import torch

from mixlab import data, runs, snapshots
from mixlab.data import Images
from mixlab.errors import CheckpointError, ParamError, nearest, problem
from mixlab.evaluate import LAYERS, Features, features, knn_predict
from mixlab.evaluate.evaluation import CONTROL
from mixlab.evaluate.subjects import check_checksum, own_images, place_of
from mixlab.files import sha256

KNN_K, KNN_TEMPERATURE = 200, 0.1  # as an evaluation's first kNN


@dataclass(frozen=True, eq=False)
class Source:
    """Chosen query images of a run and their features.

    Args:
        split: ``val`` or ``test``: where the images are from. index: int64 (N,) their positions there.
        images: the N ``Images``. train: the ``Images`` that kNN asks.
        epochs: tuple of E ints. features: float32 (E, N, D) of the layer asked.
        encoded: float32 (N, D) of the finished encoder.
        answers: int64 (N,) kNN predictions that an evaluation stored, or None.
    """

    split: str
    index: np.ndarray
    images: Images
    train: Images
    epochs: tuple
    features: np.ndarray
    encoded: np.ndarray
    answers: np.ndarray | None


def check_layer(run, layer):
    """Refuses an unfinished run, an unknown layer, and a projection where there is no projector."""
    if layer not in LAYERS:
        raise ParamError(problem("layer", f"one of {', '.join(LAYERS)}", layer, nearest(layer, LAYERS)))
    if not run.finished():
        raise CheckpointError(f"{run.path}: is {run.state()}, not finished. Start it again to finish it.")
    if layer == "projection" and run.params()["method"] == CONTROL:
        raise ParamError(problem("layer", f"encoder, because {run.name} has no projector", layer, "Use layer encoder"))


def source(run, layer, points, data_dir, epochs, device):
    """The ``Source`` of a run: its snapshots where it kept any of this layer, else up to ``points`` test images.

    Raises:
        DataError: other images than the run's. CheckpointError: damaged snapshots.
    """
    kept = snapshots.read(run) if epochs == "all" and layer == "encoder" else None
    parts = _images_of(kept.dataset, run, data_dir) if kept and kept.dataset else own_images(run, data_dir)
    if kept is None:
        return _newest(run, layer, points, parts, device)
    images = parts[kept.split]
    _check_snapshots(run, kept, images)
    chosen = snapshots.subset(len(kept.index), points)
    index, followed = kept.index[chosen], kept.features[:, chosen]  # (N,), (E, N, D)
    stored = stored_evaluation(run, images) if kept.split == "test" and not kept.dataset else {}
    return Source(kept.split, index, images.subset(index), parts["train"], kept.epochs, followed, followed[-1],
                  _answers(stored, index))


def _images_of(name, run, data_dir):
    """``{"train", "test"}`` of the data set that the snapshots of a run are of, where that is not its own.

    ``data_dir`` is where CIFAR lies; of a run on a folder it is that folder, and CIFAR is where the run had it.
    """
    values = run.params()
    known = values["data_dir"] if values["dataset"].startswith("folder:") else place_of(values, data_dir)[1]
    place = None if known == "auto" else known
    return {split: data.load(name, place, split=split) for split in ("train", "test")}


def _newest(run, layer, points, parts, device):
    """The ``Source`` of test images at the last epoch: features an evaluation stored, else encoded now."""
    images = parts["test"]
    index, stored = snapshots.subset(len(images), points), stored_evaluation(run, images)
    chosen = images.subset(index)
    if "encoder" in stored and layer in stored:
        found = {name: stored[name][index].astype(np.float32) for name in {"encoder", layer}}
    else:
        head = runs.load_head(run, device) if layer == "projection" else None
        encoding = Features(runs.load_encoder(run, device), {"test": chosen}, head)
        found = {name: encoding.of("test", name).cpu().numpy() for name in {"encoder", layer}}  # (N, D) each
    return Source("test", index, chosen, parts["train"], (run.params()["epochs"],), found[layer][None],
                  found["encoder"], _answers(stored, index))


def _answers(stored, index):
    return stored["knn_predictions"][index] if "knn_predictions" in stored else None


def _check_snapshots(run, kept, images):
    check_checksum("snapshots", kept.checksum, f"the images that {run.name} took its snapshots of", images)
    last = run.params()["epochs"]
    if kept.epochs[-1] != last:
        raise CheckpointError(f"{run.path / 'snapshots'}: a snapshot of the last epoch, {last}; got up to epoch "
                              f"{kept.epochs[-1]}. Delete the folder, or ask for epochs last.")


def stored_evaluation(run, images):
    """Arrays of the run's own evaluation of these test images by this encoder; {} where there is none that fits.

    Its kNN predictions are among them where they were made from the encoder's features.
    """
    try:
        record = runs.read_sealed(run.path / "linear_eval.json")
        content = (run.path / "embeddings.npz").read_bytes()
    except (FileNotFoundError, CheckpointError):
        return {}
    fits = (record.get("status") == "ok" and record.get("encoder_sha256") == run.result()["encoder_sha256"]
            and record.get("data_checksum", {}).get("test") == images.checksum
            and record.get("embeddings_sha256") == sha256(content))
    if not fits:
        return {}
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = dict(stored)
    asked = [row["layer"] for row in record["knn"]]
    return arrays if asked[:1] == ["encoder"] else {k: v for k, v in arrays.items() if k != "knn_predictions"}


def knn_predictions(run, source, device, log):
    """What weighted kNN on the encoder's features says of the images, int64 (N,); None where labels are missing.

    Stored predictions are taken, else the training images are encoded now.
    """
    train = source.train
    if source.images.labels is None or train.labels is None:
        return None
    if source.answers is not None:
        return source.answers
    log(f"{run.name}: encoding {len(train):,} training images for the kNN predictions.")
    bank = features(runs.load_encoder(run, device), train.pixels)  # (M, D)
    queries = torch.from_numpy(source.encoded).to(bank.device)
    return knn_predict(bank, train.labels.to(bank.device), queries, len(train.classes), min(KNN_K, len(train)),
                       KNN_TEMPERATURE).cpu().numpy()
