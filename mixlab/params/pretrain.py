"""Parameters of ``pretrain.ipynb`` and of ``python -m mixlab.train``."""

import inspect
from dataclasses import fields as dataclass_fields
from typing import Annotated, Literal

import torch
from pydantic import Field

from mixlab.encoders import ENCODERS, STEMS
from mixlab.errors import ParamError, problem
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params.base import Params

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1, le=10**9)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]

METHOD_NAMES = ("n_mix", "reading", "label_similarity", "temperature", "proj_dim", "proj_hidden")
MIXER_NAMES = ("alpha", "lam_per", "mix_prob")
RECIPE_NAMES = ("crop_scale", "jitter")



class Pretrain(Params):
    """Parameters of ``pretrain.ipynb`` and of ``python -m mixlab.train``. The defaults are the quick preset."""

    method: Literal[tuple(METHODS)] = "mixsupcon"
    mixer: Auto | Literal[tuple(MIXERS)] = "auto"
    alpha: Auto | Positive = "auto"
    lam_per: Auto | Literal["sample", "batch"] = "auto"
    mix_prob: Auto | Share = "auto"
    n_mix: Auto | Annotated[int, Field(ge=1, le=16)] = "auto"
    reading: Auto | Literal["row", "pairs", "anchor"] = "auto"
    label_similarity: Auto | Literal["dot", "cosine"] = "auto"
    temperature: Auto | Annotated[float, Field(gt=0, lt=100)] = 0.1
    proj_dim: Auto | Count = "auto"
    proj_hidden: Auto | Count = "auto"
    dataset: Annotated[str, Field(min_length=1)] = "cifar10-mini"
    data_dir: str = "auto"
    image_size: Annotated[int, Field(ge=8, le=1024)] = 32
    skip_broken: bool = False
    train_size: Auto | Count = "auto"
    val_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    label_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    encoder: Literal[tuple(ENCODERS)] = "resnet10"
    stem: Literal[STEMS] = "cifar"
    init_from: str = "none"
    epochs: Annotated[int, Field(ge=0, le=10**6)] = 6
    batch_size: Annotated[int, Field(ge=2, le=10**6)] = 64
    optimizer: Literal["sgd"] = "sgd"
    lr: Positive = 0.05
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    sgd_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    lr_decay_epochs: list[Count] = Field(default=[])
    lr_decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    warmup_epochs: Annotated[int, Field(ge=0, le=10**6)] = 1
    crop_scale: Auto | Annotated[float, Field(gt=0, le=1)] = "auto"
    jitter: Auto | Annotated[float, Field(ge=0, le=2)] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Auto | Literal["cpu", "cuda"] = "auto"
    precision: Auto | Literal["fp32", "bf16"] = "auto"
    compile: Auto | bool = "auto"
    runs_dir: Annotated[str, Field(min_length=1)] = "runs"
    checkpoint_every: Auto | Annotated[float, Field(ge=0, le=1e6)] = "auto"
    knn_every: Auto | Annotated[int, Field(ge=0, le=10**6)] = "auto"
    fresh: bool = False
    interactive: Auto | bool = "auto"

    def contradictions(self):
        found = [*self._foreign_values(), *self._schedule_problems()]
        if self.method == "mixsupcon" and self.mixer == "none":
            found.append((("method", "mixer"), problem("mixer", "a mixer that mixes, because method mixsupcon mixes",
                                                       "none", "Use method supcon for no mixing")))
        if self.label_fraction < 1 and not METHODS[self.method].needs_labels:
            found.append((("method", "label_fraction"), problem(
                "label_fraction", f"1.0, because method {self.method} uses no labels", self.label_fraction,
                "Use train_size for fewer images")))
        return found

    def _foreign_values(self):
        """Values given to parameters that this method or mixer does not take."""
        method, mixer = METHODS[self.method], MIXERS[self.mixer_name()]
        taken = _arguments(method) | _mixer_arguments(mixer) | _recipe_arguments(method)
        for name in (*METHOD_NAMES, *MIXER_NAMES, *RECIPE_NAMES):
            value, own = getattr(self, name), type(self).model_fields[name].default
            if name not in taken and value not in ("auto", own):
                by = f"mixer {self.mixer_name()}" if name in MIXER_NAMES else f"method {self.method}"
                yield (name, "method", "mixer"), problem(name, f"auto, because {by} does not take it", value,
                                                         f"Leave it out, or use another {by.split()[0]}")

    def _schedule_problems(self):
        if self.warmup_epochs > max(self.epochs, 1):
            yield ("warmup_epochs", "epochs"), problem(
                "warmup_epochs", f"at most epochs ({self.epochs})", self.warmup_epochs, "Lower it, or train longer")
        if self.lr_decay_epochs and self.schedule != "step":
            yield ("lr_decay_epochs", "schedule"), problem(
                "lr_decay_epochs", f"empty, because schedule is {self.schedule}", self.lr_decay_epochs,
                "Use schedule step, or leave it out")
        if self.lr_decay_epochs != sorted(set(self.lr_decay_epochs)):
            yield ("lr_decay_epochs",), problem("lr_decay_epochs", "rising epochs", self.lr_decay_epochs, "Sort them")

    def mixer_name(self):
        return METHODS[self.method].default_mixer if self.mixer == "auto" else self.mixer

    def resolved(self):
        """These parameters with every ``auto`` replaced by its value; what a method does not take becomes None."""
        method, mixer = METHODS[self.method], MIXERS[self.mixer_name()]
        defaults = _arguments(method) | _mixer_arguments(mixer) | _recipe_arguments(method)
        device = _device(self.device)
        values = self.model_dump() | {
            "mixer": self.mixer_name(), "device": device, "precision": _precision(self.precision, device),
            "compile": device == "cuda" if self.compile == "auto" else self.compile,
            "checkpoint_every": 60.0 if self.checkpoint_every == "auto" else self.checkpoint_every,
            "knn_every": max(2, self.epochs // 10) if self.knn_every == "auto" else self.knn_every}
        for name in (*METHOD_NAMES, *MIXER_NAMES, *RECIPE_NAMES):
            if name not in defaults:
                values[name] = None
            elif values[name] == "auto":
                values[name] = defaults[name]
        return values


def _arguments(method):
    signature = inspect.signature(method.__init__).parameters.values()
    return {p.name: p.default for p in signature if p.name in METHOD_NAMES}


def _mixer_arguments(mixer):
    return {f.name: f.default for f in dataclass_fields(mixer) if f.name in MIXER_NAMES}


def _recipe_arguments(method):
    """Weak views take neither; the others the CIFAR recipe's lower crop bound and jitter strength (1 is its own)."""
    return {"crop_scale": 0.2, "jitter": 1.0} if set(method.views) - {"weak", "plain"} else {}


def _device(wanted):
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" != found:
        raise ParamError(problem("device", "auto or cpu, because no CUDA device was found", wanted, "Use device auto"))
    return found if wanted == "auto" else wanted


def _precision(wanted, device):
    if wanted != "auto":
        return wanted
    native = torch.cuda.is_bf16_supported() if device == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"
