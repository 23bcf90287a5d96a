"""Parameters of ``ablation.ipynb`` and of ``python -m mixlab.grid``."""

import json
import math
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from mixlab import data
from mixlab.errors import ParamError, nearest, problem
from mixlab.evaluate import PROBES
from mixlab.params.base import Params
from mixlab.params.cells import Combinations, combinations
from mixlab.params.linear_eval import LinearEval
from mixlab.params.pretrain import Auto, Count, Pretrain

MOST_CELLS = 5000
GIVEN_BY_THE_GRID = ("seed", "runs_dir", "interactive", "fresh")  # of pretrain
GIVEN_TO_THE_EVALUATION = ("run", "runs_dir", "interactive", "fresh")
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Ablation(Params):
    """A grid: base parameters, lists that vary, seeds; how each run is evaluated; and where the runs are made."""

    base: dict = Field(default={"epochs": 2, "train_size": 512})
    axes: dict = Field(default={"mixer": ["mixup", "cutmix"], "alpha": [0.2, 1.0]})
    seeds: list[Seed] = Field(default=[0, 1], min_length=1)
    also: list[dict] = Field(default=[])
    exclude: list[dict] = Field(default=[])
    reference: bool = True
    skip_impossible: bool = False
    evaluation: dict = Field(default={"probes": ["lbfgs"], "few_label_fractions": [], "geometry": False})
    measure: Literal[("knn", *PROBES)] = "lbfgs"
    measured_on: Auto | Literal["test", "val"] = "auto"
    place: Literal["local", "slurm", "submitit"] = "local"
    processes: Auto | Count = "auto"
    job: dict = Field(default={})
    retry_failed: bool = False
    look_only: bool = False
    grid_dir: Annotated[str, Field(min_length=1)] = "runs/ablation"
    runs_dir: Annotated[str, Field(min_length=1)] = "runs"
    notebooks_dir: Annotated[str, Field(min_length=1)] = "auto"
    interactive: Auto | bool = "auto"

    def contradictions(self):
        found = [*self._axis_problems(), *self._name_problems()]
        if self.job and self.place == "local":
            found.append((("job", "place"), problem("job", "empty, because place is local", self.job,
                                                    "Use place slurm, or leave it out")))
        if len(set(self.seeds)) < len(self.seeds):
            found.append((("seeds",), problem("seeds", "each seed once", self.seeds, "Remove the repeated one")))
        return found or [*self._evaluation_problems(), *self._refusals()]

    def _axis_problems(self):
        for name, values in self.axes.items():
            if not isinstance(values, list) or not values:
                yield ("axes",), problem(f"axes, {name}", "a list of at least one value", values, "Write a list")
            elif len({json.dumps(value) for value in values}) < len(values):
                yield ("axes",), problem(f"axes, {name}", "each value once", values, "Remove the repeated one")
            elif name in self.base:
                yield ("axes", "base"), problem(f"axes, {name}", "not in base too", values, "Leave it out of one")
        lengths = [len(values) for values in self.axes.values() if isinstance(values, list)]
        count = (math.prod(lengths) + len(self.also)) * len(self.seeds)
        if count > MOST_CELLS:
            yield ("axes",), problem("axes", f"at most {MOST_CELLS} combinations with seeds", count, "Shorten a list")

    def _name_problems(self):
        """Names that ``pretrain.ipynb`` does not have, or that the grid gives itself."""
        known = [name for name in Pretrain.model_fields if name not in GIVEN_BY_THE_GRID]
        for place in ("base", "axes", "also", "exclude"):
            given = getattr(self, place)
            for name in dict.fromkeys(n for one in (given if isinstance(given, list) else [given]) for n in one):
                if name in GIVEN_BY_THE_GRID:
                    todo = "List them under seeds" if name == "seed" else f"Leave it out{_own(self, name)}"
                    yield (place,), problem(f"{place}, {name}", "not given, because the grid gives it", name, todo)
                elif name not in known:
                    yield (place,), problem(place, "parameters of pretrain.ipynb", name, nearest(name, known))

    def _evaluation_problems(self):
        taken = [name for name in self.evaluation if name in GIVEN_TO_THE_EVALUATION]
        if taken:
            yield ("evaluation",), problem("evaluation", "parameters of linear_eval.ipynb, without those that the grid "
                                           "gives", taken, "Leave them out")
            return
        try:
            params = LinearEval.check(**self.evaluation)
        except ParamError as error:
            yield from ((("evaluation",), f"evaluation, {line}") for line in str(error).split("\n"))
            return
        if self.measure not in ("knn", *params.probes):
            yield ("measure", "evaluation"), problem("measure", f"one of {', '.join(['knn', *params.probes])}, which "
                                                     "evaluation measures", self.measure, "Add it to probes")
        if "encoder" not in params.layers:
            yield ("evaluation",), problem("evaluation, layers", "with encoder", params.layers, "Add encoder")
        held_out = [*self.axes.get("val_fraction", [self.base.get("val_fraction", 0)])]
        if self.measured_on == "val" and not all(held_out):
            yield ("measured_on", "base"), problem("measured_on", "auto or test, because val_fraction is 0", "val",
                                                   "Give base a val_fraction")

    def _refusals(self):
        found = self._combinations()
        if not self.skip_impossible:
            yield from ((("base", "axes"), line) for line in found.refused)
        shared = {cell.params.devices for cell in found.cells} - {"auto", 1}
        if shared and self.place != "slurm":
            yield ("base", "axes", "place"), problem(
                "devices", f"auto or 1, because place is {self.place} and a cell is one of its processes", max(shared),
                "Leave it out, or use place slurm")
        if not found.cells and (self.skip_impossible or not found.refused):
            yield ("base", "axes"), problem("axes", "at least one possible combination", self.axes, "Exclude less")

    def _combinations(self):
        return combinations(self.base, self.axes, self.seeds, self.also, self.exclude, self.reference)

    @cached_property
    def combinations(self) -> Combinations:
        """All cells, checked; and in words what was left out as impossible."""
        return self._combinations()

    @property
    def cells(self):
        """The cells (``Cell``) in the order in which they are run."""
        return self.combinations.cells

    @property
    def folder(self):
        """Where the grid keeps its state, executed notebooks, figures and page."""
        return data.resolve(self.grid_dir)

    def protocol(self):
        """The ``evaluate.Protocol`` by which every cell is evaluated."""
        return LinearEval.check(**self.evaluation).protocol()


def _own(params, name):
    return f" and set the grid's own {name}" if name in type(params).model_fields else ""
