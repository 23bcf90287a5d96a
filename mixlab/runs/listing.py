"""Which runs there are, and which one a name means."""

from pathlib import Path

from mixlab.errors import ParamError, nearest, problem
from mixlab.files import check_path
from mixlab.runs.directory import Run

NONE_YET = "There is none yet; make one with: make pretrain"


def list_runs(runs_dir):
    """All runs below ``runs_dir``, the newest result or start first."""
    folder = Path(runs_dir)
    runs = [Run(file.parent) for file in folder.glob("*/params.json")] if folder.is_dir() else []
    return sorted(runs, key=lambda run: (run.result().get("finished_at") or 0, run.name), reverse=True)


def find(run, runs_dir, parameter="run"):
    """The run named ``run``: a directory, a name below ``runs_dir``, or ``latest``, the newest finished one.

    Raises:
        ParamError: there is none; with the command that makes one, or the nearest name.
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
