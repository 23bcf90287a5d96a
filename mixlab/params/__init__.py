"""What each notebook accepts: its parameters, their ranges, how ``auto`` is resolved, and the check before any work.

One layer of configuration: the parameters cell of a notebook, overridden by ``papermill -p`` or a YAML of ``params/``.
"""

from mixlab.params.base import Params, allowed
from mixlab.params.build import (
    build,
    build_method,
    build_mixer,
    build_recipes,
    identity,
    load_splits,
    name_start,
    settle,
    view_names,
)
from mixlab.params.compare import Compare
from mixlab.params.linear_eval import LinearEval
from mixlab.params.mixers import Mixers
from mixlab.params.pretrain import Pretrain

__all__ = ["Compare", "LinearEval", "Mixers", "Params", "Pretrain", "allowed", "build", "build_method", "build_mixer",
           "build_recipes", "identity", "load_splits", "name_start", "settle", "view_names"]
