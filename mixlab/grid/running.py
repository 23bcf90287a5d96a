"""A grid from its parameters to its end: what is finished stays, what is left is run, and what failed is listed."""

import contextlib
import signal
import sysconfig
import threading
from dataclasses import dataclass
from pathlib import Path

from mixlab import data, runs
from mixlab.errors import DataError, ParamError, problem
from mixlab.files import remove_leftovers, writable_folder, write_json
from mixlab.grid.cluster import run_cluster
from mixlab.grid.local import cores, processes_for, run_local
from mixlab.grid.state import Names, evaluated
from mixlab.grid.tasks import Place
from mixlab.grid.time import in_words, remaining
from mixlab.params import Pretrain, cell_file, read_state

NOTEBOOKS = ("pretrain.ipynb", "linear_eval.ipynb")
INSTALLED = "share/mixlab/notebooks"  # below the environment, where a wheel puts them: see pyproject.toml


@dataclass(frozen=True)
class Outcome:
    """How a grid stands: names of its finished cells, ``{name: last message}`` of the failed, what was impossible."""

    finished: tuple
    failed: dict
    refused: tuple


def run(params, log=print, known=(), on_finished=None):
    """Runs what is left of the grid ``params`` (an ``Ablation``) and says how it goes; nothing with ``look_only``.

    Args:
        known: names of cells that count as finished, though their runs need not be on this machine.
        on_finished: called with each other cell and its ``Run``, once both are finished and evaluated.
    Returns:
        ``Outcome``: one failed cell does not stop the others.
    Raises:
        ParamError, DataError: before any work, all problems at once. RunBusyError: another process runs this grid.
        KeyboardInterrupt: after SIGINT or SIGTERM; the next start goes on.
    """
    if params.look_only:
        return _look(params, log)
    place, processes = _place(params)
    with runs.locked(runs.Run(place.folder)):
        remove_leftovers(place.folder / "cells")
        todo, finished, failed = _sorted(params, place, known, on_finished)
        _write_plan(params, place)
        log(_opening(params, todo, finished, failed, processes))
        progress = Progress(len(params.cells), len(finished), len(todo), processes, _durations(params, place), log,
                            on_finished)
        with interrupted_by_sigterm():
            _run(params, place, todo, processes, progress, log)
    done = {*finished, *(record["cell"] for record in progress.records if record["status"] == "ok")}
    failed |= {record["cell"]: record["message"] for record in progress.records if record["status"] != "ok"}
    outcome = Outcome(tuple(c.name for c in params.cells if c.name in done), failed, params.combinations.refused)
    log(_closing(outcome, len(params.cells)))
    return outcome


def _look(params, log):
    """How the grid stands by its own files: nothing is run, checked or written."""
    states = {cell.name: read_state(params.folder, cell.name) for cell in params.cells}
    finished = tuple(name for name, state in states.items() if state.get("status") == "ok")
    failed = {name: state["message"] for name, state in states.items() if state.get("status") == "failed"}
    outcome = Outcome(finished, failed, params.combinations.refused)
    log(_closing(outcome, len(states)))
    return outcome


def _run(params, place, todo, processes, progress, log):
    try:
        if params.place == "local":
            run_local(todo, place, processes, _on_gpu(params), progress.report)
        else:
            cells, slurm = [cell for cell, _ in todo], params.place == "slurm"
            run_cluster(cells, place, processes, params.job, progress.report, slurm)
    except KeyboardInterrupt:
        log(f"Stopped with {progress.left} cells left; start again to continue.")
        raise


def _place(params):
    """The ``Place`` of a grid, its folders made, and how many cells run at once; None for as many as Slurm likes."""
    slurm = params.place == "slurm"
    if slurm:
        processes = None if params.processes == "auto" else params.processes
    else:
        processes = processes_for(params.processes, _on_gpu(params))
    folder = writable_folder(params.folder, "grid_dir")
    for name in ("cells", "notebooks", "logs"):
        (folder / name).mkdir(exist_ok=True)
    runs_dir = writable_folder(data.resolve(params.runs_dir), "runs_dir")
    threads = max(1, cores() // processes) if not slurm else int(params.job.get("cpus_per_task", 1))
    place = Place(folder, runs_dir, _notebooks(params.notebooks_dir), params.evaluation, params.protocol().record(),
                  threads)
    return place, processes


def _on_gpu(params):
    """Whether any cell computes on a GPU of this machine."""
    return any(Pretrain(device=name).resolved()["device"] == "cuda" for name in {c.params.device for c in params.cells})


def _notebooks(wanted):
    """The folder of the notebooks: as asked, or the project's, the one beside the package, the installed one."""
    beside, installed = Path(__file__).parents[2] / "notebooks", Path(sysconfig.get_path("data")) / INSTALLED
    usual = [data.resolve("notebooks"), beside, installed]
    for place in usual if wanted == "auto" else [data.resolve(wanted)]:
        if all((place / name).is_file() for name in NOTEBOOKS):
            return place
    todo = f"Name the folder notebooks/ of mixlab's source; auto looks in {', '.join(map(str, usual))}"
    raise ParamError(problem("notebooks_dir", f"a folder with {' and '.join(NOTEBOOKS)}", wanted, todo))


def _sorted(params, place, known, on_finished):
    """Pairs (cell, run) to do, names of the finished, and {name: message} of those that failed before."""
    names, todo, finished, failed, problems = Names(place.runs_dir), [], [*known], {}, []
    for cell in [cell for cell in params.cells if cell.name not in known]:
        try:
            run = names.run(cell.params)
        except (ParamError, DataError) as error:
            problems.append(str(error))
            continue
        state = read_state(place.folder, cell.name)
        if evaluated(run, place.protocol):
            finished.append(cell.name)
            _note_finished(place, cell, run, state)
            if on_finished:
                on_finished(cell, run)
        elif state.get("status") == "failed" and not params.retry_failed:
            failed[cell.name] = state["message"]
        else:
            todo.append((cell, run))
    if problems:
        raise ParamError("\n".join(dict.fromkeys(problems)))
    return todo, finished, failed


def _note_finished(place, cell, run, state):
    """Stores where the run of a finished cell is, if another grid or another process made it."""
    if state.get("status") != "ok" or state.get("run") != str(run.path):
        record = {"cell": cell.name, "status": "ok", "message": "", "stage": "", "run": str(run.path),
                  "values": cell.values, "seconds": state.get("seconds", {}), "log": ""}
        write_json(cell_file(place.folder, cell.name), record)


def _write_plan(params, place):
    """``grid.json``: what the grid is, for people and for other programs."""
    cells = [{"cell": c.name, "values": c.values, "reference": c.reference, "key": c.key} for c in params.cells]
    write_json(place.folder / "grid.json", {"parameters": params.model_dump(), "protocol": place.protocol,
                                            "refused": params.combinations.refused, "cells": cells})


def _durations(params, place):
    """Seconds that cells of this grid took, both notebooks, with as many threads."""
    states = [read_state(place.folder, cell.name) for cell in params.cells]
    return [sum(state["seconds"].values()) for state in states if state.get("status") == "ok"
            and len(state.get("seconds", ())) == len(NOTEBOOKS) and state.get("threads") == place.threads]


class Progress:
    """Counts the cells that end and says so, with an estimate of the rest."""

    def __init__(self, total, finished, left, processes, durations, log, on_finished):
        self.total, self.ended, self.left, self.processes = total, finished, left, processes
        self.durations, self.log, self.on_finished, self.records = durations, log, on_finished, []

    def report(self, cell, record, elapsed):
        """Takes the end of a cell; ``elapsed`` are the seconds of those at work."""
        self.records.append(record)
        self.ended, self.left = self.ended + 1, self.left - 1
        seconds = record.get("seconds", {})
        if record["status"] == "ok" and len(seconds) == len(NOTEBOOKS):
            self.durations.append(sum(seconds.values()))
        how = f"in {in_words(sum(seconds.values()))}" if record["status"] == "ok" else f"FAILED: {record['message']}"
        rest = remaining(self.durations, self.left - len(elapsed), elapsed, self.processes)
        self.log(f"[{self.ended}/{self.total}] {cell.name} {how}; left: {rest}")
        if self.on_finished and record["status"] == "ok":
            self.on_finished(cell, runs.Run(Path(record["run"])))


def _opening(params, todo, finished, failed, processes):
    local = f"in {processes} process{'es' if processes != 1 else ''}"
    lines = [f"{len(params.cells)} cells: {len(finished)} finished, {len(failed)} failed before, {len(todo)} to run "
             f"{'as Slurm jobs' if params.place == 'slurm' else local}."]
    lines += [f"Impossible, left out: {line}" for line in params.combinations.refused]
    if failed:
        lines.append("Failed before, not tried again (set retry_failed: true):")
        lines += [f"  {name}: {message}" for name, message in failed.items()]
    return "\n".join(lines)


def _closing(outcome, total):
    lines = [f"{len(outcome.finished)} of {total} cells are finished, {len(outcome.failed)} failed."]
    lines += [f"  {name}: {message}" for name, message in outcome.failed.items()]
    return "\n".join(lines)


@contextlib.contextmanager
def interrupted_by_sigterm():
    """SIGTERM and SIGHUP end the work below as Ctrl-C does; outside the main thread nothing changes."""
    def interrupt(number, frame):
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asking = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # Windows has no hangup
    before = {number: signal.signal(number, interrupt) for number in asking}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
