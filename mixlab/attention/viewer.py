"""Several runs looking at the same images: what figures and explorers show."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from mixlab import data, runs
from mixlab.attention.cam import class_maps, similarity_maps
from mixlab.attention.classifier import classifier_of
from mixlab.attention.maps import activation_maps, normalise
from mixlab.encoders import label
from mixlab.errors import CheckpointError, ParamError, nearest, problem
from mixlab.evaluate import features
from mixlab.evaluate.subjects import own_images

KINDS = ("activation", "class", "similarity")


@dataclass(frozen=True, eq=False)
class Shown:
    """Maps of one run: ``values`` {layer: (N, h, w) in [0, 1] on the CPU}, and a few ``words`` about each image."""

    values: dict
    words: list


class Viewer:
    """Runs as columns, images as rows; encoders and probes are loaded when they are first asked for, and kept.

    Args:
        chosen: list of finished ``Run``, at least one, of data with the same classes and image size; the images are
            the test images of the first one's data set.
        count: how many of them are taken, a stratified choice by ``seed``, sorted by class.
        data_dir: as in ``evaluate.Protocol``; ``auto`` is where the run had its images.
        device: ``cpu`` or ``cuda``.
    Attributes:
        runs, titles: the columns. images: the chosen ``Images``. names: a name for each of them.
    Raises:
        ParamError: no run, or runs of other classes or image sizes. CheckpointError: an unfinished run.
        DataError: other images than the first run's, as ``evaluate`` refuses them.
    """

    def __init__(self, chosen, *, count=40, seed=0, data_dir="auto", device="cpu", log=print):
        _check_runs(chosen)
        self.runs, self.titles = list(chosen), titles(chosen)
        self.data_dir, self.device, self.log, self._kept = data_dir, device, log, {}
        whole = own_images(chosen[0], data_dir)["test"]
        images = data.take(whole, min(count, len(whole)), seed, "attention")
        self.images = images if images.labels is None else images.subset(images.labels.argsort(stable=True))
        self.names = _names(self.images)

    def maps(self, pixels, method="activation", layers=(4,), *, power=2, asked=None, other=None):
        """What every run makes of ``pixels``, as a list of ``Shown``, a column each.

        Args:
            pixels: uint8 (N, H, W, 3). layers: of 1 to 4.
            method: ``activation``; ``class``: Grad-CAM of the logit of class ``asked``; ``similarity``: Grad-CAM of
                the similarity to the image ``other``.
            power: 1, 2 or 4, of ``activation``.
            asked: int64 (N,), -1 for the class that the run itself takes an image for; None for that alone.
            other: uint8 (1, H, W, 3), or (N, H, W, 3): one for each.
        Raises:
            ParamError: an unknown method, layer or power; ``similarity`` without ``other``.
            DataError: a class asked for on data without labels.
        """
        if method not in KINDS:
            raise ParamError(problem("method", f"one of {', '.join(KINDS)}", method, nearest(method, KINDS)))
        if method == "similarity" and other is None:
            raise ParamError(problem("other", "an image to compare with", other))
        return [self._column(run, pixels, method, layers, power, asked, other) for run in self.runs]

    def _column(self, run, pixels, method, layers, power, asked, other):
        encoder, words = self.encoder(run), [""] * len(pixels)
        if method == "activation":
            maps = activation_maps(encoder, pixels, layers, power)
        elif method == "class":
            asked, words = self._questions(run, pixels, asked)
            maps = class_maps(encoder, pixels, self.classifier(run), asked, layers)
        else:
            maps = similarity_maps(encoder, pixels, other, layers)
            cosines = F.cosine_similarity(features(encoder, pixels), features(encoder, other))
            words = [f"cosine {value:.2f}" for value in cosines.tolist()]
        return Shown({layer: normalise(found).cpu() for layer, found in maps.items()}, words)

    def _questions(self, run, pixels, asked):
        """The class each image is asked for, and it in words with its probability."""
        shares = self.classifier(run)(features(self.encoder(run), pixels)).softmax(1)  # (N, K)
        best = shares.argmax(1)
        asked = best if asked is None else torch.where(asked.to(best.device) < 0, best, asked.to(best.device))
        values = shares.gather(1, asked[:, None])[:, 0].tolist()
        return asked, [f"{self.images.classes[k]} {100 * share:.0f} %"
                       for k, share in zip(asked.tolist(), values, strict=True)]

    def encoder(self, run):
        """The run's encoder, loaded once."""
        if run.path not in self._kept:
            self._kept[run.path] = runs.load_encoder(run, self.device)
        return self._kept[run.path]

    def classifier(self, run):
        """The run's classifier, fitted or read once: see ``classifier_of``."""
        if (run.path, "classifier") not in self._kept:
            found, _ = classifier_of(run, self.encoder(run), data_dir=self.data_dir, log=self.log)
            self._kept[run.path, "classifier"] = found
        return self._kept[run.path, "classifier"]


def titles(chosen):
    """A short title for each run: method, mixer, encoder, epochs; with the end of its name where two would be equal."""
    found = [_title(run.params()) for run in chosen]
    return [f"{title}\n…{run.name[-8:]}" if found.count(title) > 1 else title
            for title, run in zip(found, chosen, strict=True)]


def _title(values):
    encoder = label(values["encoder"], values.get("width", 64))
    if not values["epochs"]:
        return f"untrained\n{encoder}"
    mixer = "" if values["mixer"] == "none" else f" + {values['mixer']}"
    epochs = "1\N{NO-BREAK SPACE}epoch" if values["epochs"] == 1 else f"{values['epochs']}\N{NO-BREAK SPACE}epochs"
    return f"{values['method']}{mixer}\n{encoder}, {epochs}"


def _check_runs(chosen):
    if not chosen:
        raise ParamError(problem("runs", "at least one finished run", list(chosen), "Make one with: make pretrain"))
    for run in chosen:
        if not run.finished():
            raise CheckpointError(f"{run.path}: is {run.state()}, not finished. Start it again to finish it.")
    first = _kind_of_images(chosen[0])
    for run in chosen[1:]:
        if _kind_of_images(run) != first:
            raise ParamError(problem("runs", f"runs with the classes and image size of {chosen[0].name}", run.name,
                                     "Show it in a figure of its own"))


def _kind_of_images(run):
    """Classes, as far as the name of a data set tells them, and image size."""
    values = run.params()
    return data.DATASETS.get(values["dataset"], values["dataset"]), values["image_size"]


def _names(images):
    if images.labels is None:
        return [f"image {i + 1}" for i in range(len(images))]
    labels = images.labels.tolist()
    return [f"{images.classes[k]} {labels[:i].count(k) + 1}" for i, k in enumerate(labels)]
