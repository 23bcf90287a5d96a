"""What each notebook accepts: its parameters, their ranges, how ``auto`` is resolved, and the check before any work.

One layer of configuration: the parameters cell of a notebook, overridden by ``papermill -p`` or a YAML of ``params/``.
"""

import ast
import inspect
import math
import typing
from dataclasses import fields as dataclass_fields
from typing import Annotated, Literal

import annotated_types as at
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mixlab.encoders import ENCODERS, STEMS
from mixlab.errors import ParamError, nearest, problem
from mixlab.files import load_yaml
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1, le=10**9)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]

PATHS_AND_PACE = ("data_dir", "runs_dir", "device", "compile", "checkpoint_every", "fresh", "interactive")


class Params(BaseModel):
    """What every notebook's parameters share: strict types, no unknown name, all problems in one message."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def check(cls, **values):
        """The parameters, defaults filled in, or one ParamError that names every problem."""
        try:
            params, problems = cls(**values), []
        except ValidationError as error:
            problems = [_explain(cls, e) for e in error.errors()]
            wrong = {e["loc"][0] for e in error.errors()}
            params = cls(**{k: v for k, v in values.items() if k not in wrong})
            problems += [text for names, text in params.contradictions() if not wrong & set(names)]
        else:
            problems = [text for _, text in params.contradictions()]
        if problems:
            raise ParamError("\n".join(dict.fromkeys(problems)))
        return params

    @classmethod
    def from_namespace(cls, namespace):
        """Checks a notebook's variables; names it does not know are looked for in its parameter cells only.

        Args:
            namespace: ``globals()`` of the notebook.
        """
        written = _parameter_names(namespace.get("In", ()), cls.model_fields)
        names = [n for n in {**dict.fromkeys(cls.model_fields), **dict.fromkeys(written)} if n in namespace]
        return cls.check(**{n: namespace[n] for n in names})

    @classmethod
    def from_yaml(cls, path):
        """Checks a YAML file of parameters, read by stricter rules than YAML's own (``files.load_yaml``)."""
        return cls.check(**load_yaml(path))

    def contradictions(self):
        """Pairs (names, message) of parameters that exclude each other."""
        return []


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
    epochs: Annotated[int, Field(ge=0, le=10**6)] = 7
    batch_size: Annotated[int, Field(ge=2, le=10**6)] = 64
    optimizer: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-4
    sgd_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    lr_decay_epochs: list[Count] = []
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
            found.append((("method", "mixer"), problem(
                "mixer", "a mixer that mixes, because method mixsupcon mixes", "none", "Use method supcon for no mixing")))
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
                yield (name, "method", "mixer"), problem(
                    name, f"auto, because {by} does not take it", value, f"Leave it out, or use another {by.split()[0]}")

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
            "knn_every": max(1, self.epochs // 5) if self.knn_every == "auto" else self.knn_every}
        for name in (*METHOD_NAMES, *MIXER_NAMES, *RECIPE_NAMES):
            if name not in defaults:
                values[name] = None
            elif values[name] == "auto":
                values[name] = defaults[name]
        return values


METHOD_NAMES = ("n_mix", "reading", "label_similarity", "temperature", "proj_dim", "proj_hidden")
MIXER_NAMES = ("alpha", "lam_per", "mix_prob")
RECIPE_NAMES = ("crop_scale", "jitter")


def method_arguments(values):
    """The part of resolved ``values`` that goes to the method's constructor."""
    return {n: values[n] for n in METHOD_NAMES if values[n] is not None}


def build_mixer(values):
    """The mixer that resolved ``values`` describe."""
    return MIXERS[values["mixer"]](**{n: values[n] for n in MIXER_NAMES if values[n] is not None})


def identity(values, checksum):
    """What changes the numbers: resolved ``values`` without paths, pace and device, and the data's checksum."""
    kept = {k: v for k, v in values.items() if k not in (*PATHS_AND_PACE, "knn_every")}
    return kept | {"dataset": kept["dataset"].split(":")[0], "data_checksum": checksum}


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


def _parameter_names(cells, known):
    """Names assigned in the latest parameters cell and the latest cell that papermill injected."""
    injected = [c for c in cells if c.lstrip().startswith("# Parameters")][-1:]
    own = [c for c in cells if len(_assigned(c).keys() & known.keys()) * 2 > len(known)][-1:]
    return [name for cell in (*own, *injected) for name in _assigned(cell)]


def _assigned(cell):
    """Names that ``cell`` assigns, if it is nothing but assignments; else none."""
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return {}
    plain = all(isinstance(s, ast.Assign | ast.AnnAssign) for s in body)
    targets = [t for s in body for t in (getattr(s, "targets", None) or [getattr(s, "target", None)])]
    return dict.fromkeys(t.id for t in targets if isinstance(t, ast.Name)) if plain else {}


def _explain(model, error):
    """One pydantic error in the house form."""
    name, got = error["loc"][0], error["input"]
    if name not in model.model_fields:
        return problem(name, "a known parameter", got, nearest(name, model.model_fields) or
                       f"Known are {', '.join(model.model_fields)}")
    return problem(name, allowed(model, name), got, _hint(model, name, got))


def allowed(model, name):
    """What parameter ``name`` of ``model`` may be, in words."""
    field = model.model_fields[name]
    return _describe(field.annotation, field.metadata)


def _describe(kind, metadata=()):
    args = typing.get_args(kind)
    if typing.get_origin(kind) is Annotated:
        constraints = args[1].metadata if hasattr(args[1], "metadata") else ()
        return _describe(args[0], constraints)
    if typing.get_origin(kind) is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(str(a) for a in args)
    if typing.get_origin(kind) is list:
        return f"a list, each {_describe(args[0])}"
    if args:
        return " or ".join(_describe(a) for a in args)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return " ".join([words[kind], *[_bound(m) for m in metadata]])


def _bound(constraint):
    signs = {at.Ge: ">=", at.Gt: ">", at.Le: "<=", at.Lt: "<", at.MinLen: "of length >="}
    return f"{signs[type(constraint)]} {next(iter(vars(constraint).values())):g}"


def _hint(model, name, got):
    text = allowed(model, name)
    if isinstance(got, str) and "number" in text:
        with_dot = _as_number(got)
        return f"Write it without quotes and with a dot: {with_dot}" if with_dot is not None else ""
    if isinstance(got, bool) or "one of" not in text:
        return ""
    return nearest(got, text.replace("one of ", "").replace(" or ", ", ").split(", "))


def _as_number(text):
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value):
        return None
    return int(text) if text.strip().lstrip("+-").isdigit() else repr(value)
