"""Which runs there are, and which one a name means."""

import math
from pathlib import Path

from mixlab.errors import CheckpointError, ParamError, nearest, problem
from mixlab.files import check_path
from mixlab.runs.directory import Run

NONE_YET = "There is none yet; make one with: make pretrain"


def list_runs(runs_dir):
    """All runs below ``runs_dir``, those whose result is damaged first, then the newest result or start."""
    folder = Path(runs_dir)
    runs = [Run(file.parent) for file in folder.glob("*/params.json")] if folder.is_dir() else []
    return sorted(runs, key=lambda run: (_finished_at(run), run.name), reverse=True)


def _finished_at(run):
    try:
        return run.result().get("finished_at") or 0
    except CheckpointError:  # it may be the latest; whoever asks for it is told
        return math.inf


def find(run, runs_dir, parameter="run"):
    """The run named ``run``: a directory, a name below ``runs_dir``, or ``latest``, the newest finished one.

    Raises:
        ParamError: there is none; with the command that makes one, or the nearest name.
        CheckpointError: ``latest``, and the result of one of the runs is damaged.
    """
    check_path(parameter, run)
    found = {r.name: r for r in list_runs(runs_dir)}
    if run == "latest":
        finished = [r for r in found.values() if r.finished()]
        if not finished:
            raise ParamError(problem(parameter, f"a finished run below {runs_dir}", run, NONE_YET))
        return finished[0]
    if run in found:
        return found[run]
    if (Path(run) / "params.json").exists():
        return Run(Path(run))
    raise ParamError(problem(parameter, f"latest, a run directory, or one of the {len(found)} names below {runs_dir}",
                             run, suggestion(run, found)))


def suggestion(name, known):
    """What to type instead of ``name``: the nearest of the runs ``known``, or some of them, or how to make one."""
    some = list(known)[:3]
    return nearest(name, known) or (f"Name one of them, such as {', '.join(some)}" if some else NONE_YET)
