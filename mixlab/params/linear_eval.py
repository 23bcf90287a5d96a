"""Parameters of ``linear_eval.ipynb`` and of ``python -m mixlab.evaluate``."""

from dataclasses import fields
from typing import Annotated, Literal

from pydantic import Field

from mixlab import data
from mixlab.errors import problem
from mixlab.evaluate import LAYERS, PROBES, Protocol, select_runs
from mixlab.params.base import Params
from mixlab.params.pretrain import Auto, Count, Positive, Pretrain

Epoch = Annotated[int, Field(ge=1, le=10**6)]
Fraction = Annotated[float, Field(gt=0, le=1)]
LISTS = ("layers", "knn_k", "probes", "probe_lr_decay_epochs", "few_label_fractions")


class LinearEval(Params):
    """Which runs are evaluated, on what, and how. The SGD probe's defaults are the MixSupCon draft's Table 2."""

    run: Annotated[str, Field(min_length=1)] = "latest"
    runs_dir: Annotated[str, Field(min_length=1)] = "runs"
    dataset: Annotated[str, Field(min_length=1)] = "auto"
    data_dir: str = "auto"
    skip_broken: bool = False
    train_size: Auto | Count = "auto"
    layers: list[Literal[LAYERS]] = Field(default=list(LAYERS), min_length=1)
    knn_k: Auto | list[Count] = "auto"
    knn_temperature: Annotated[float, Field(gt=0, lt=100)] = 0.1
    probes: list[Literal[PROBES]] = Field(default=["sgd", "lbfgs"])
    probe_epochs: Epoch = 100
    probe_batch_size: Count = 256
    probe_lr: Positive = 0.1
    probe_lr_decay_epochs: list[Epoch] = Field(default=[60, 75, 90])
    probe_lr_decay_rate: Fraction = 0.2
    probe_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    probe_weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    augmented_passes: Annotated[int, Field(ge=1, le=1000)] = 5
    few_label_fractions: Auto | list[Fraction] = "auto"
    few_label_draws: Annotated[int, Field(ge=1, le=1000)] = 5
    robustness: bool = False
    robustness_size: Auto | Count = "auto"
    geometry: bool = True
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Auto | Literal["cpu", "cuda"] = "auto"
    precision: Auto | Literal["fp32", "bf16"] = "auto"
    allow_other_version: bool = False
    fresh: bool = False
    reports_dir: Annotated[str, Field(min_length=1)] = "none"
    interactive: Auto | bool = "auto"

    def contradictions(self):
        found = [((name,), problem(name, "each value once", getattr(self, name), "Remove the repeated one"))
                 for name in LISTS if _repeats(getattr(self, name))]
        if self.probe_lr_decay_epochs != sorted(self.probe_lr_decay_epochs):
            found.append((("probe_lr_decay_epochs",), problem(
                "probe_lr_decay_epochs", "rising epochs", self.probe_lr_decay_epochs, "Sort them")))
        if self.robustness and not self.probes:
            found.append((("robustness", "probes"), problem(
                "robustness", "false, because probes is empty", True, "Add a probe, such as lbfgs")))
        return found

    def resolved(self):
        """These parameters with device and precision in place of their ``auto``."""
        machine = Pretrain(device=self.device, precision=self.precision).resolved()
        return self.model_dump() | {name: machine[name] for name in ("device", "precision")}

    def protocol(self):
        """The ``evaluate.Protocol`` of these parameters."""
        values = self.resolved()
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return Protocol(**{field.name: values[field.name] for field in fields(Protocol)})

    def runs(self, names=(), log=print):
        """The runs to evaluate: those that ``names`` mean, or ``run``; see ``evaluate.select_runs``."""
        return select_runs(names or self.run, data.resolve(self.runs_dir), log)


def _repeats(values):
    return isinstance(values, list) and len(set(values)) < len(values)
