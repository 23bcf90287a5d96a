"""What each notebook accepts: its parameters, their ranges, how ``auto`` is resolved, and the check before any work.

One layer of configuration: the parameters cell of a notebook, overridden by ``papermill -p`` or a YAML of ``params/``.
"""

from mixlab.params.ablation import Ablation
from mixlab.params.base import Params, allowed
from mixlab.params.benchmark import Benchmark
from mixlab.params.build import (
    build,
    build_guide,
    build_method,
    build_mixer,
    build_recipes,
    identity,
    load_splits,
    name_start,
    settle,
    settle_split,
    view_names,
)
from mixlab.params.cells import Cell, cell_file, described, read_state, unmixed
from mixlab.params.compare import Compare
from mixlab.params.labels import labels_used
from mixlab.params.linear_eval import LinearEval
from mixlab.params.mixers import Mixers
from mixlab.params.mixing import mixing_stops
from mixlab.params.pretrain import Pretrain
from mixlab.params.visualize import Visualize

__all__ = ["Ablation", "Benchmark", "Cell", "Compare", "LinearEval", "Mixers", "Params", "Pretrain", "Visualize",
           "allowed", "build", "build_guide", "build_method", "build_mixer", "build_recipes", "cell_file", "described",
           "identity", "labels_used", "load_splits", "mixing_stops", "name_start", "read_state", "settle",
           "settle_split", "unmixed", "view_names"]
