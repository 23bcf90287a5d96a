"""The classifier whose logits Grad-CAM explains: the control's own head, or a linear probe."""

import io
import json

import numpy as np
import torch

from mixlab import data, runs
from mixlab.errors import CheckpointError
from mixlab.evaluate import Linear, Protocol, features, lbfgs_probe
from mixlab.evaluate.evaluation import CONTROL
from mixlab.evaluate.logistic import SHARE
from mixlab.evaluate.subjects import load_images
from mixlab.files import sha256, write

FILE = "attention_probe.npz"
IMAGES = 5000  # of the training images, at most: a probe for pictures need not wait for all of 50,000
AGAIN = "Delete it; it is fitted again when it is needed."


def classifier_of(run, encoder, *, data_dir="auto", seed=0, log=print):
    """A linear classifier on the encoder's features, and what it is.

    Cross-entropy runs have their own. For others the probe ``lbfgs`` of ``mixlab.evaluate`` is fitted on the run's
    training images (a stratified 5,000 of them, if there are more), and kept in the run's directory.

    Args:
        run: a finished ``Run``. encoder: ``runs.load_encoder(run)``.
        data_dir: as in ``evaluate.Protocol``; ``auto`` is where the run had its images.
        seed: of the choice of images and of L2.
    Returns:
        ``(Linear, about)``; ``about`` holds ``kind`` (``own head`` or ``lbfgs``) and, of a probe, ``train_images``,
        ``l2``, ``seed`` and what says that a stored one is this one.
    Raises:
        DataError: no labels, or other images than the run's. CheckpointError: a damaged run.
    """
    device = encoder.mean.device
    if run.params()["method"] == CONTROL:
        head = runs.load_head(run, device)
        return Linear(head.weight, head.bias), {"kind": "own head"}
    identity = {"kind": "lbfgs", "share": SHARE, "seed": seed, "most": IMAGES,
                "encoder_sha256": run.result()["encoder_sha256"], "data_checksum": run.result()["data_checksum"]}
    stored = _stored(run, identity)
    if stored is None:
        stored = _fit(run, encoder, identity, data_dir, log)
    weight, bias, about = stored
    return Linear(weight.to(device), bias.to(device)), about


def _fit(run, encoder, identity, data_dir, log):
    images = load_images(run, Protocol(data_dir=data_dir))["train"]
    if len(images) > IMAGES:
        images = data.take(images, IMAGES, identity["seed"], "attention_probe")
    kept = runs.writable(run)
    end = "it is kept for the next time" if kept else f"{run.path} can't be written, so it is not kept"
    log(f"{run.name}: fits a probe on {len(images):,} training images; {end}.")
    probe, fit = lbfgs_probe(features(encoder, images.pixels), images.labels.to(encoder.mean.device),
                             len(images.classes), identity["seed"])
    about = identity | {"train_images": len(images), "l2": fit["l2"], "converged": fit["converged"],
                        "versions": runs.versions()}
    if not fit["converged"]:
        log(f"{run.name}: Note: a fit of the probe, or one that its l2 was chosen by, stopped before it converged.")
    if kept:
        _store(run, probe, about)
    return probe.weight, probe.bias, about


def _store(run, probe, about):
    arrays, buffer = {"weight": probe.weight.cpu().numpy(), "bias": probe.bias.cpu().numpy()}, io.BytesIO()
    sealed = runs.sealed(about | {"arrays_sha256": _digests(arrays)})
    np.savez(buffer, **arrays, about=json.dumps(sealed))
    with runs.locked(run):
        write(run.path / FILE, buffer.getvalue())


def _digests(arrays):
    return {name: sha256(array) for name, array in arrays.items()}


def read_probe(run):
    """The stored probe of a run, checked: weight (classes, D), bias (classes,), and what it is of.

    Raises:
        FileNotFoundError: there is none. CheckpointError: it is damaged.
    """
    file = run.path / FILE
    content = file.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays, about = {name: found[name] for name in ("weight", "bias")}, json.loads(str(found["about"]))
        whole = about == runs.sealed(about) and about["arrays_sha256"] == _digests(arrays)
    except Exception as error:  # readers of archives and arrays meet damage with many types of error
        raise CheckpointError(f"{file}: is not a readable probe ({error}). {AGAIN}") from error
    if not whole:
        raise CheckpointError(f"{file}: damaged, or of an older mixlab: its content does not match the sha256 in it. "
                              f"{AGAIN}")
    about = {name: value for name, value in about.items() if name not in ("sha256", "arrays_sha256")}
    return *map(torch.from_numpy, arrays.values()), about


def _stored(run, identity):
    """Weight, bias and description of the stored probe of exactly this encoder and data; None where there is none."""
    try:
        weight, bias, about = read_probe(run)
    except (FileNotFoundError, CheckpointError):
        return None  # nothing there, or nothing whole: it is fitted again
    same = all(about.get(name) == value for name, value in identity.items())
    return (weight, bias, about) if same else None
