"""Which runs there are, and which one a name means."""

import math
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from mixlab.errors import CheckpointError, ParamError, nearest, problem
from mixlab.files import check_path
from mixlab.runs.directory import Run

NONE_YET = "There is none yet; make one with: make pretrain, or name demo, which comes with the package"
UNTRAINED = ".untrained"  # below a folder of runs: their untrained encoders, which are no runs of anybody's
DEMO = Path(__file__).parents[1] / "assets" / "demo"


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
    """The run named ``run``: a directory, a name below ``runs_dir``, ``latest``, the newest finished one, or ``demo``.

    ``demo`` is a trained run that comes with the package; it is copied below ``runs_dir`` when first asked for.
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
    if run == "demo":
        return _demo(Path(runs_dir))
    if (Path(run) / "params.json").exists():
        return Run(Path(run))
    raise ParamError(problem(parameter, f"latest, demo, a run directory, or one of the {len(found)} names below "
                             f"{runs_dir}", run, suggestion(run, found)))


def demo():
    """The run that comes with the package, in its place there: an encoder trained on all of CIFAR-10."""
    (file,) = DEMO.glob("*/params.json")
    return Run(file.parent)


def _demo(runs_dir):
    """The run of the package, copied among the others, where it is evaluated as they are; else in its own place."""
    own = demo()
    target = runs_dir / own.name
    if (target / "params.json").exists():
        return Run(target)
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".demo-", dir=runs_dir) as folder:
            shutil.copytree(own.path, Path(folder) / "demo", copy_function=shutil.copyfile).rename(target)
    except OSError:  # another process was faster, or nothing can be written there
        pass
    return Run(target) if (target / "params.json").exists() else own


def suggestion(name, known):
    """What to type instead of ``name``: the nearest of the runs ``known``, or some of them, or how to make one."""
    some = list(known)[:3]
    return nearest(name, known) or (f"Name one of them, such as {', '.join(some)}" if some else NONE_YET)
