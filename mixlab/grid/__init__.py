"""A grid of runs: each cell is one ``pretrain`` and one ``linear_eval`` notebook, on this machine or on a cluster.

    outcome = grid.run(Ablation.from_yaml("params/ablation/quick.yaml"))

What is finished is never repeated: start it again after any kind of end, and it goes on.
"""

from mixlab.grid.cluster import work
from mixlab.grid.running import Outcome, run
from mixlab.grid.state import Names, evaluated
from mixlab.grid.tasks import Place, Task
from mixlab.grid.time import remaining

__all__ = ["Names", "Outcome", "Place", "Task", "evaluated", "remaining", "run", "work"]
