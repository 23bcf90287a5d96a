"""From resolved parameters to the parts they describe, and to the identity of a run."""

from dataclasses import replace

import torch

from mixlab import data, runs
from mixlab.encoders import Encoder
from mixlab.errors import DataError, ParamError, problem
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params.pretrain import METHOD_NAMES, MIXER_NAMES
from mixlab.rng import Key
from mixlab.views import RECIPES

PATHS_AND_PACE = ("data_dir", "runs_dir", "init_from", "device", "compile", "checkpoint_every", "knn_every", "fresh",
                  "interactive")


def build_mixer(values):
    """The mixer that resolved ``values`` describe."""
    return MIXERS[values["mixer"]](**{n: values[n] for n in MIXER_NAMES if values[n] is not None})


def build_method(values, num_classes, encoder_state=None):
    """The method that resolved ``values`` describe, on the CPU, its weights drawn from the seed.

    With ``encoder_state`` the encoder starts from it, and so does a slow copy that the method makes of it.
    """
    method = METHODS[values["method"]]
    arguments = {n: values[n] for n in METHOD_NAMES if values[n] not in (None, "auto")}
    if method.needs_labels:
        arguments["num_classes"] = num_classes
    with torch.random.fork_rng(devices=[]):  # torch's initialisers know the global generator only; it is put back
        torch.manual_seed(int(Key(values["seed"], "weights").generator().integers(2**63)))
        encoder = Encoder(values["encoder"], values["stem"])
        if encoder_state is not None:
            encoder.load_state_dict(encoder_state)
        return method(encoder, build_mixer(values), **arguments)


def build(values, splits):
    """The method of resolved ``values``; its encoder freshly drawn from the seed, or from ``init_from``."""
    state = None if values["init_from"] == "none" else _stored_encoder(values)
    method = build_method(values, len(splits.train.classes), state)
    mean, std = data.channel_stats(splits.train)
    method.encoder.mean.copy_(torch.tensor(mean))
    method.encoder.std.copy_(torch.tensor(std))
    return method


def name_start(values):
    """Resolved ``values`` with the run that ``init_from`` means by name, and the checksum of its encoder.

    Raises:
        ParamError: there is no such finished run, or its encoder is of another kind.
    """
    if values["init_from"] == "none":
        return values
    runs_dir = data.resolve(values["runs_dir"])
    run = runs.find(values["init_from"], runs_dir, "init_from")
    name = run.name if run.path.parent == runs_dir else str(run.path)
    _stored_encoder(values | {"init_from": name})
    return values | {"init_from": name, "init_from_sha256": run.result()["encoder_sha256"]}


def _stored_encoder(values):
    """The weights of the encoder that ``init_from`` names, refused if it is another kind of encoder."""
    run = runs.find(values["init_from"], data.resolve(values["runs_dir"]), "init_from")
    stored = runs.load_encoder(run)
    if (stored.name, stored.stem_name) != (values["encoder"], values["stem"]):
        allowed = f"a run with encoder {values['encoder']} and stem {values['stem']}"
        raise ParamError(problem("init_from", allowed, run.name,
                                 f"Use encoder {stored.name} and stem {stored.stem_name}"))
    return stored.state_dict()


def settle(values, train_size):
    """Resolved ``values`` with what the number of training images decides: a queue of half of them, at most 4096.

    A small data set still gets a queue of one batch.
    """
    if values["queue_size"] != "auto":
        return values
    return values | {"queue_size": max(min(4096, train_size // 2), values["batch_size"])}


def load_splits(values):
    """The images of resolved ``values``, refused where the method or the batch could not use them."""
    needs_labels = METHODS[values["method"]].needs_labels
    splits = data.load_splits(values)
    if needs_labels and splits.train.labels is None:
        raise DataError(problem("dataset", f"labelled images, because method {values['method']} needs labels",
                                values["dataset"], "Use method simclr, or sort the images into class subfolders"))
    if needs_labels and len(splits.train.classes) < 2:
        raise DataError(problem("dataset", f"at least two classes, because method {values['method']} compares classes",
                                splits.train.classes, "Use method simclr, or add classes"))
    if len(splits.train) < values["batch_size"]:
        raise ParamError(problem("batch_size", f"at most the {len(splits.train)} training images",
                                 values["batch_size"], "Lower it, or use more images"))
    return splits


def identity(values, splits):
    """What changes the numbers: resolved ``values`` without paths, pace and device, and the checksums of the images."""
    kept = {k: v for k, v in values.items() if k not in PATHS_AND_PACE}
    return kept | {"dataset": kept["dataset"].split(":")[0], "data_checksum": splits.train.checksum,
                   "queries_checksum": splits.queries.checksum}


def view_names(values):
    """The names in ``RECIPES`` of the views that the method takes."""
    return METHODS[values["method"]].views


def build_recipes(values, names, mean, std):
    """The recipes of the views ``names``, with the resolved ``values`` and the images' channel statistics filled in."""
    own = {"size": values["image_size"], "mean": tuple(mean), "std": tuple(std)}
    if values["crop_scale"] is not None:
        own |= {"crop_scale": (values["crop_scale"], 1.0)}
    scale = 1.0 if values["jitter"] is None else values["jitter"]
    return [replace(RECIPES[n], **own, jitter=tuple(scale * j for j in RECIPES[n].jitter)) for n in names]
