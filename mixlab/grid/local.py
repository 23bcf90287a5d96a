"""Cells in N processes of this machine."""

import os
import time
from collections import deque

import torch

from mixlab.errors import ParamError, problem
from mixlab.grid.tasks import Task, stop

PAUSE_SECONDS = 0.1


def cores():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus():
    """Names of the GPUs, as CUDA_VISIBLE_DEVICES spells them."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.cuda.is_available():
        return []
    return [str(i) for i in range(torch.cuda.device_count())] if seen is None else seen.split(",")


def processes_for(wanted, on_gpu):
    """How many cells run at once: as asked, or one a GPU, or one a core.

    Raises:
        ParamError: more than there are cores.
    """
    if wanted == "auto":
        return max(len(gpus()), 1) if on_gpu else cores()
    if wanted > cores():
        raise ParamError(problem("processes", f"auto, or at most the {cores()} cores of this machine", wanted,
                                 "Lower it: more would only share the same cores"))
    return wanted


def run_local(todo, place, processes, on_gpu, report):
    """Runs pairs (cell, run), at most ``processes`` at once, each on the GPU that has the fewest cells.

    Args:
        report: called as ``report(cell, record, elapsed)`` at each end; ``elapsed`` are seconds of those at work.
    """
    queue, active = deque(todo), []
    devices = gpus() if on_gpu else [None]
    try:
        while queue or active:
            while queue and len(active) < processes:
                gpu = min(devices, key=lambda name: sum(task.gpu == name for task in active))
                active.append(Task(*queue.popleft(), place, gpu))
            for task in list(active):
                record = task.poll()
                if record is not None:
                    active.remove(task)
                    report(task.cell, record, [time.monotonic() - other.began for other in active])
            time.sleep(PAUSE_SECONDS if active else 0)
    except BaseException:
        stop(active)
        raise
