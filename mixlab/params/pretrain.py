"""Parameters of ``pretrain.ipynb`` and of ``python -m mixlab.train``."""

import inspect
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field

from mixlab.data import DATASETS, INTENSITIES, check_name
from mixlab.encoders import ENCODERS, MAX_WIDTH, MIN_WIDTH, STEMS
from mixlab.errors import ParamError, problem
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params.base import Params
from mixlab.params.mixing import MIXER_NAMES, PICKABLE, mix_until_problems, mixer_defaults, pick_problems
from mixlab.views import RECIPES

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1, le=10**9)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]
Grid = Annotated[int, Field(ge=1, le=1024)]
PickFrom = list[Literal[PICKABLE]]
PickProbs = list[Annotated[float, Field(gt=0, lt=1)]]

RECIPE_NAMES = ("crop_scale", "jitter")
BASE_ONLY = {"queue_size": ("moco",), "batchnorm": ("moco",), "bn_splits": ("moco",), "ema_momentum": ("moco", "byol"),
             "predictor_hidden": ("byol", "simsiam"), "proj_depth": ("moco",)}  # of unmix, for some of its bases only


def _arguments(method):
    """A method's own hyper-parameters with their defaults, from its signature."""
    signature = inspect.signature(method.__init__).parameters.values()
    return {p.name: p.default for p in signature if p.kind is p.KEYWORD_ONLY and p.name != "num_classes"}


METHOD_NAMES = tuple(dict.fromkeys(name for method in METHODS.values() for name in _arguments(method)))

class Pretrain(Params):
    """Parameters of ``pretrain.ipynb`` and of ``python -m mixlab.train``. The defaults are the quick preset."""

    method: Literal[tuple(METHODS)] = "mixsupcon"
    mixer: Auto | Literal[tuple(MIXERS)] = "auto"
    alpha: Auto | Positive = "auto"
    lam_per: Auto | Literal["sample", "batch"] = "auto"
    mix_prob: Auto | Share = "auto"
    mix_until: Auto | Annotated[float, Field(gt=0, le=1)] = "auto"
    grid: Auto | Grid = "auto"
    pick_from: Auto | PickFrom = "auto"
    pick_probs: Auto | PickProbs = "auto"
    pick_per: Auto | Literal["batch", "sample"] = "auto"
    guide_from: Annotated[str, Field(min_length=1)] = "auto"
    n_mix: Auto | Annotated[int, Field(ge=1, le=16)] = "auto"
    reading: Auto | Literal["row", "pairs", "anchor"] = "auto"
    label_similarity: Auto | Literal["dot", "cosine"] = "auto"
    temperature: Auto | Annotated[float, Field(gt=1e-6, lt=100)] = 0.1
    proj_dim: Auto | Count = "auto"
    proj_hidden: Auto | Count = "auto"
    proj_depth: Auto | Annotated[int, Field(ge=1, le=8)] = "auto"
    predictor_hidden: Auto | Count = "auto"
    queue_size: Auto | Count = "auto"
    ema_momentum: Auto | Annotated[float, Field(ge=0, lt=1)] = "auto"
    symmetric: Auto | bool = "auto"
    batchnorm: Auto | Literal["plain", "split", "shuffle"] = "auto"
    bn_splits: Auto | Annotated[int, Field(ge=1, le=1024)] = "auto"
    base: Auto | Literal["moco", "simclr", "byol", "simsiam"] = "auto"
    global_prob: Auto | Share = "auto"
    mix_branches: Auto | Literal["one", "both"] = "auto"
    reverse: Auto | bool = "auto"
    mix_weight: Auto | Annotated[float, Field(ge=0, le=1e6)] = "auto"
    mix_temperature: Auto | Annotated[float, Field(gt=1e-6, lt=100)] = "auto"
    profile: Auto | Literal["paper_fixed", "as_released"] = "auto"
    region_weight: Auto | Literal["area"] | Share = "auto"
    region_layer: Auto | Annotated[int, Field(ge=3, le=4)] = "auto"
    region_pool: Auto | Literal["cells", "bilinear"] = "auto"
    dataset: Annotated[str, Field(min_length=1)] = "cifar10-mini"
    data_dir: str = "auto"
    image_size: Annotated[int, Field(ge=8, le=1024)] = 32
    skip_broken: bool = False
    intensity: Auto | Literal[INTENSITIES] = "auto"
    train_size: Auto | Count = "auto"
    val_fraction: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    label_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    encoder: Literal[tuple(ENCODERS)] = "resnet10"
    stem: Literal[STEMS] = "cifar"
    width: Annotated[int, Field(ge=MIN_WIDTH, le=MAX_WIDTH)] = 64
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
    devices: Auto | Annotated[int, Field(ge=1, le=4096)] = "auto"
    precision: Auto | Literal["fp32", "bf16"] = "auto"
    compile: Auto | bool = "auto"
    runs_dir: Annotated[str, Field(min_length=1)] = "runs"
    checkpoint_every: Auto | Annotated[float, Field(ge=0, le=1e6)] = "auto"
    knn_every: Auto | Annotated[int, Field(ge=0, le=10**6)] = "auto"
    snapshot_every: Auto | Annotated[int, Field(ge=0, le=10**6)] = "auto"
    snapshot_dataset: Auto | Literal[tuple(DATASETS)] = "auto"
    fresh: bool = False
    interactive: Auto | bool = "auto"

    def contradictions(self):
        found = [*self._foreign_values(), *self._schedule_problems(), *self._mixer_problems(), *self._batch_problems(),
                 *self._base_problems(), *self._share_problems(), *self._data_problems(), *mix_until_problems(self),
                 *pick_problems(self)]
        if self.label_fraction < 1 and not METHODS[self.method].needs_labels:
            found.append((("method", "label_fraction"), problem(
                "label_fraction", f"1.0, because method {self.method} uses no labels", self.label_fraction,
                "Use train_size for fewer images")))
        return found

    def _foreign_values(self):
        """Values given to parameters that this method or mixer does not take."""
        taken = _arguments(METHODS[self.method]) | mixer_defaults(self) | self._recipe_arguments()
        for name in (*METHOD_NAMES, *MIXER_NAMES, *RECIPE_NAMES):
            value, own = getattr(self, name), type(self).model_fields[name].default
            if name not in taken and value not in ("auto", own):
                by = f"mixer {self.mixer_name()}" if name in MIXER_NAMES else f"method {self.method}"
                yield (name, "method", "mixer"), problem(name, f"auto, because {by} does not take it", value,
                                                         f"Leave it out, or use another {by.split()[0]}")

    def _mixer_problems(self):
        """Methods that cannot use this mixer: they never mix, always mix, or compare regions."""
        method, mixer = METHODS[self.method], MIXERS[self.mixer_name()]
        allowed, todo = "", ""
        if method.needs_region and not mixer.has_region:
            regions = [name for name, known in MIXERS.items() if known.has_region]
            allowed = f"one of {', '.join(regions)}, because method {self.method} compares regions"
        elif hasattr(method, "mixing_relatives") and mixer.mixes:
            allowed = f"auto or none, because method {self.method} does not mix"
            todo = f"Use method {' or '.join(method.mixing_relatives)} to mix"
        elif hasattr(method, "unmixed_relative") and not mixer.mixes:
            allowed = f"a mixer that mixes, because method {self.method} mixes"
            todo = f"Use method {method.unmixed_relative} for no mixing"
        if allowed:
            yield ("method", "mixer"), problem("mixer", allowed, self.mixer_name(), todo)

    def _batch_problems(self):
        """A queue that cannot hold a batch, and a batch that cannot be divided for BatchNorm."""
        values = self.resolved_method()
        if isinstance(values.get("queue_size"), int) and values["queue_size"] < self.batch_size:
            yield ("queue_size", "batch_size"), problem(
                "queue_size", f"auto or at least batch_size ({self.batch_size})", values["queue_size"],
                "Raise it, or lower batch_size")
        splits, halves = values.get("bn_splits", 1), hasattr(METHODS[self.method], "halves_batch")
        in_parts = values.get("batchnorm", "plain") != "plain" and values.get("base", "moco") == "moco"
        if in_parts and self.batch_size % (splits * (2 if halves else 1)):
            yield ("bn_splits", "batch_size", "batchnorm"), problem(
                "bn_splits", f"a divisor of {'half of ' if halves else ''}batch_size ({self.batch_size})", splits,
                "Change one of them, or use batchnorm plain")

    def _share_problems(self):
        """A batch, or the halves that a method mixes, that several devices cannot share equally."""
        halves = hasattr(METHODS[self.method], "halves_batch")
        if self.devices not in ("auto", 1) and self.batch_size % (self.devices * (2 if halves else 1)):
            yield ("devices", "batch_size"), problem(
                "devices", f"auto or a divisor of {'half of ' if halves else ''}batch_size ({self.batch_size})",
                self.devices, "Change one of them")

    def _base_problems(self):
        base = self.resolved_method().get("base")
        for name, bases in BASE_ONLY.items() if base else ():
            if base not in bases and getattr(self, name) != "auto":
                yield (name, "base"), problem(name, f"auto, because base {base} does not take it", getattr(self, name),
                                              f"Leave it out, or use base {' or '.join(bases)}")

    def _data_problems(self):
        try:
            check_name(self.dataset)
        except ParamError as error:
            yield ("dataset",), str(error)
        if self.dataset in DATASETS and self.image_size != 32:
            yield ("image_size", "dataset"), problem("image_size", f"32, the size of {self.dataset}", self.image_size,
                                                     "Leave it out, or use dataset folder:PATH")
        if self.dataset in DATASETS and self.intensity != "auto":
            yield ("intensity", "dataset"), problem("intensity", f"auto, because {self.dataset} has 8 bits",
                                                    self.intensity, "Leave it out, or use dataset folder:PATH")

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

    def _base(self):
        """The method that unmix builds on; None for other methods."""
        default = _arguments(METHODS[self.method]).get("base")
        return default if default is None or self.base == "auto" else self.base

    def _method_defaults(self):
        """The method's own parameters with their defaults; for unmix those of its base."""
        method, base = METHODS[self.method], self._base()
        return _arguments(method) | (method.defaults(base) if base else {})

    def _recipe_arguments(self):
        """Weak views take neither; the others their recipe's lower crop bound and jitter strength (1 is its own)."""
        views = METHODS[self._base() or self.method].views
        strong = [RECIPES[view] for view in views if view not in ("weak", "plain")]
        return {"crop_scale": strong[0].crop_scale[0], "jitter": 1.0} if strong else {}

    def resolved_method(self):
        """The method's own parameters; ``queue_size`` alone may stay ``auto``, which ``settle`` ends."""
        own = self._method_defaults()
        return {name: getattr(self, name) if getattr(self, name) != "auto" or name == "queue_size" else default
                for name, default in own.items()}

    def resolved(self):
        """These parameters with every ``auto`` replaced by its value; what a method does not take becomes None.

        Only ``queue_size`` may stay ``auto``: it depends on the number of images, see ``settle``.
        """
        defaults = self._method_defaults() | mixer_defaults(self) | self._recipe_arguments()
        device = _device(self.device)
        values = self.model_dump() | {
            "mixer": self.mixer_name(), "device": device, "precision": _precision(self.precision, device),
            "compile": device == "cuda" if self.compile == "auto" else self.compile,
            "devices": 1 if self.devices == "auto" else self.devices,
            "intensity": "depth" if self.intensity == "auto" else self.intensity,
            "mix_until": 1.0 if self.mix_until == "auto" else float(self.mix_until),
            "checkpoint_every": 60.0 if self.checkpoint_every == "auto" else self.checkpoint_every,
            "knn_every": max(2, self.epochs // 10) if self.knn_every == "auto" else self.knn_every,
            "snapshot_every": self._snapshot_every(),
            "snapshot_dataset": self.dataset if self.snapshot_dataset == "auto" else self.snapshot_dataset}
        for name in (*METHOD_NAMES, *MIXER_NAMES, *RECIPE_NAMES):
            if name not in defaults:
                values[name] = None
            elif values[name] == "auto" and name != "queue_size":
                values[name] = defaults[name]
        return values

    def _snapshot_every(self):
        """About ten snapshots of a run; none of one so short that there is nothing to follow."""
        if self.snapshot_every != "auto":
            return self.snapshot_every
        return 0 if self.epochs < 2 else max(1, self.epochs // 10)


def _device(wanted):
    found = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" != found:
        raise ParamError(problem("device", "auto or cpu, because no CUDA device was found", wanted, "Use device auto"))
    return found if wanted == "auto" else wanted


def _precision(wanted, device):
    """bf16 where the device computes in it: GPUs older than Ampere only emulate it, slower than fp32."""
    if wanted != "auto":
        return wanted
    native = torch.cpu._is_avx512_bf16_supported
    if device == "cuda":
        native = partial(torch.cuda.is_bf16_supported, including_emulation=False)
    return "bf16" if native() else "fp32"
