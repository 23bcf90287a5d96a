"""The classifier whose logits Grad-CAM explains: the control's own head, or a linear probe."""

import io
import json
import zipfile

import numpy as np
import torch

from mixlab import data, runs
from mixlab.evaluate import Linear, Protocol, features, lbfgs_probe
from mixlab.evaluate.evaluation import CONTROL
from mixlab.evaluate.subjects import load_images
from mixlab.files import write

FILE = "attention_probe.npz"
IMAGES = 5000  # of the training images, at most: a probe for pictures need not wait for all of 50,000


def classifier_of(run, encoder, *, data_dir="auto", seed=0, log=print):
    """A linear classifier on the encoder's features, and what it is.

    Cross-entropy runs have their own. For others the probe ``lbfgs`` of ``mixlab.evaluate`` is fitted on the run's
    training images (a stratified 5,000 of them, if there are more), and kept in the run's directory.

    Args:
        run: a finished ``Run``. encoder: ``runs.load_encoder(run)``.
        data_dir: as in ``data.load``; ``auto`` is what the run used.
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
    identity = {"kind": "lbfgs", "seed": seed, "most": IMAGES, "encoder_sha256": run.result()["encoder_sha256"],
                "data_checksum": run.result()["data_checksum"]}
    stored = _stored(run.path / FILE, identity)
    if stored is None:
        stored = _fit(run, encoder, identity, data_dir, log)
    weight, bias, about = stored
    return Linear(weight.to(device), bias.to(device)), about


def _fit(run, encoder, identity, data_dir, log):
    images = load_images(run, Protocol(data_dir=data_dir))["train"]
    if len(images) > IMAGES:
        images = data.take(images, IMAGES, identity["seed"], "attention_probe")
    log(f"{run.name}: fits a probe on {len(images):,} training images; it is kept for the next time.")
    probe, fit = lbfgs_probe(features(encoder, images.pixels), images.labels.to(encoder.mean.device),
                             len(images.classes), identity["seed"])
    about = identity | {"train_images": len(images), "l2": fit["l2"], "converged": fit["converged"],
                        "versions": runs.versions()}
    _store(run, probe, about)
    return probe.weight, probe.bias, about


def _store(run, probe, about):
    buffer = io.BytesIO()
    np.savez(buffer, weight=probe.weight.cpu().numpy(), bias=probe.bias.cpu().numpy(), about=json.dumps(about))
    with runs.locked(run):
        write(run.path / FILE, buffer.getvalue())


def _stored(file, identity):
    """Weight, bias and description of the stored probe of exactly this encoder and data; None where there is none."""
    try:
        with np.load(file, allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            weight, bias = torch.from_numpy(found["weight"]), torch.from_numpy(found["bias"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None  # nothing there, or nothing whole: it is fitted again
    same = isinstance(about, dict) and all(about.get(name) == value for name, value in identity.items())
    return (weight, bias, about) if same else None
