"""From resolved parameters to the parts they describe, and to the identity of a run."""

from dataclasses import replace

import torch

from mixlab.encoders import Encoder
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params.pretrain import METHOD_NAMES, MIXER_NAMES
from mixlab.rng import Key
from mixlab.views import RECIPES

PATHS_AND_PACE = ("data_dir", "runs_dir", "device", "compile", "checkpoint_every", "knn_every", "fresh", "interactive")


def build_mixer(values):
    """The mixer that resolved ``values`` describe."""
    return MIXERS[values["mixer"]](**{n: values[n] for n in MIXER_NAMES if values[n] is not None})


def build_method(values, num_classes):
    """The method that resolved ``values`` describe, on the CPU, its weights drawn from the seed."""
    method = METHODS[values["method"]]
    arguments = {n: values[n] for n in METHOD_NAMES if values[n] is not None}
    if method.needs_labels:
        arguments["num_classes"] = num_classes
    with torch.random.fork_rng(devices=[]):  # torch's initialisers know the global generator only; it is put back
        torch.manual_seed(int(Key(values["seed"], "weights").generator().integers(2**63)))
        return method(Encoder(values["encoder"], values["stem"]), build_mixer(values), **arguments)


def identity(values, checksum):
    """What changes the numbers: resolved ``values`` without paths, pace and device, and the data's checksum."""
    kept = {k: v for k, v in values.items() if k not in PATHS_AND_PACE}
    return kept | {"dataset": kept["dataset"].split(":")[0], "data_checksum": checksum}


def build_recipes(values, names, mean, std):
    """The recipes of the views ``names``, with the resolved ``values`` and the images' channel statistics filled in."""
    own = {"size": values["image_size"], "mean": tuple(mean), "std": tuple(std)}
    if values["crop_scale"] is not None:
        own |= {"crop_scale": (values["crop_scale"], 1.0)}
    scale = 1.0 if values["jitter"] is None else values["jitter"]
    return [replace(RECIPES[n], **own, jitter=tuple(scale * j for j in RECIPES[n].jitter)) for n in names]
