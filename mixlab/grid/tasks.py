"""One cell on its way through its two notebooks, each a papermill process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from mixlab.files import write, write_json
from mixlab.grid.state import evaluated
from mixlab.params import cell_file

GRACE_SECONDS = 20.0  # a step in progress is finished and saved in this time, else it is lost
TRIES = 3  # starts of one notebook, where another process was at its run
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True)
class Place:
    """Where cells are made and by what.

    Args:
        folder: of the grid: ``cells/``, ``notebooks/`` and ``logs/`` are below it.
        runs_dir: of the run directories.
        notebooks: the folder that holds ``pretrain.ipynb`` and ``linear_eval.ipynb``.
        evaluation: parameters of ``linear_eval.ipynb``.
        protocol: what they mean, as ``Protocol.record()``.
        threads: that each process may use.
    """

    folder: Path
    runs_dir: Path
    notebooks: Path
    evaluation: dict
    protocol: dict
    threads: int

    def surroundings(self, gpu=None):
        """The environment of a notebook's process; ``gpu`` names the one it may see."""
        own = dict.fromkeys(THREADS, str(self.threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}
        return os.environ | own | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})


class Task:
    """A cell at work: ``poll`` moves it on and never waits."""

    def __init__(self, cell, run, place, gpu=None):
        self.cell, self.run, self.place, self.gpu = cell, run, place, gpu
        self.child, self.stage, self.started_at, self.done = None, "", 0.0, False
        self.seconds, self.starts, self.waited, self.began = {}, {}, False, time.monotonic()

    def poll(self):
        """What became of the cell, a dict with ``status`` ``ok`` or ``failed``; None while there is work."""
        if self.child is not None and self.child.poll() is None:
            return None
        failure = "" if self.child is None else self._collect()
        if self.run.held():  # by a process of an earlier grid, or a dying kernel
            self.waited = True
            return None
        if not failure:
            failure = self._go_on()
        if failure or self.done:
            return self._record("failed" if failure else "ok", failure)
        return None

    def _go_on(self):
        """Starts the notebook that is due, or notes that none is; returns why it can't."""
        values = {**self.cell.values, "runs_dir": str(self.place.runs_dir), "interactive": False}
        if not self.run.finished():
            return self._start("pretrain", values)
        if not evaluated(self.run, self.place.protocol):
            asked = {**self.place.evaluation, "run": str(self.run.path), "runs_dir": str(self.place.runs_dir)}
            return self._start("linear_eval", {**asked, "interactive": False})
        self.done = True
        return ""

    def _start(self, notebook, values):
        self.starts[notebook] = self.starts.get(notebook, 0) + 1
        if self.starts[notebook] > (TRIES if self.waited else 1):
            return f"{notebook}.ipynb ended without a word, and the run is {self.run.state()}"
        self.stage, self.started_at = notebook, time.monotonic()
        self._record("running", "")
        given = self.place.folder / "cells" / f"{self.cell.name}-{notebook}.yaml"
        write(given, yaml.safe_dump(values, sort_keys=False))
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(self._command(notebook, given), stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=subprocess.STDOUT, env=self.place.surroundings(self.gpu),
                                          start_new_session=True)  # a terminal's Ctrl-C reaches the grid alone
        return ""

    def _command(self, notebook, given):
        executed = self.place.folder / "notebooks" / f"{self.cell.name}-{notebook}.ipynb"
        paths = [str(path).replace("{", "{{").replace("}", "}}")  # papermill fills in what stands in single braces
                 for path in (self.place.notebooks / f"{notebook}.ipynb", executed)]
        return [sys.executable, "-m", "papermill", *paths, "-f", str(given), "-k", "python3", "--no-progress-bar",
                "--stdout-file", "-"]

    @property
    def log(self):
        return self.place.folder / "logs" / f"{self.cell.name}-{self.stage}.log"

    def _collect(self):
        """The message of the process that ended, "" where it succeeded."""
        code, self.child = self.child.returncode, None
        self.seconds[self.stage] = time.monotonic() - self.started_at
        if code == 0:
            return ""
        said = last_line(self.log)
        return f"{self.stage}.ipynb ended with {meaning(code)}{': ' if said else ''}{said}"

    def _record(self, status, message):
        """Stores and returns what is known of the cell."""
        record = {"cell": self.cell.name, "status": status, "message": message, "stage": self.stage,
                  "run": str(self.run.path), "values": self.cell.values, "seconds": self.seconds,
                  "threads": self.place.threads, "log": str(self.log) if self.stage else ""}
        write_json(cell_file(self.place.folder, self.cell.name), record)
        return record

    def interrupted(self):
        """Notes that the grid ended first; the cell goes on with the next start."""
        self._record("interrupted", "the grid was stopped")


def meaning(code):
    """An exit code in words."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


def last_line(file):
    """The last line that a process wrote, without its colours; "" if it wrote none."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", file.read_text("utf-8", "replace")) if file.exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def stop(tasks):
    """Ends the processes of ``tasks``: kernels are asked to save first; a second Ctrl-C ends them at once."""
    alive = [task for task in tasks if task.child is not None and task.child.poll() is None]
    try:
        for task in alive:
            _ask(task.child)
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and any(task.child.poll() is None for task in alive):
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass
    for task in alive:
        _kill(task.child)
    for task in tasks:
        task.interrupted()


def _ask(child):
    """An interrupt for the kernel below a papermill, which then saves its run; before there is one, for papermill.

    Windows has no interrupt for one process: there a run goes on from its last checkpoint.
    """
    kernels = _below(child) if os.name == "posix" else []
    for process in kernels:
        process.send_signal(signal.SIGINT)
    if not kernels:
        child.terminate()


def _kill(child):
    for process in _below(child):
        process.kill()
    if child.poll() is None:
        child.kill()
    child.wait()


def _below(child):
    """The processes that ``child`` started and that live."""
    import psutil
    try:
        return psutil.Process(child.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
