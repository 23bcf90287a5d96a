"""Run directories: who a run is, who may write it, what it has recorded, and how to read it later.

    <runs_dir>/<dataset>-<method>-<mixer>-<encoder>-s<seed>-<hash8>/
        params.json  history.jsonl  checkpoint.pt  encoder.safetensors  result.json

``result.json`` with ``"status": "ok"``, written last and atomically, is the only definition of finished.
"""

import contextlib
import fcntl
import json
import os
import platform
import socket
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from mixlab import __version__
from mixlab.encoders import Encoder
from mixlab.errors import CheckpointError, ParamError, RunBusyError, nearest, problem
from mixlab.files import plain, read_json, remove_leftovers, safe_name, sha256, write, write_json
from mixlab.heads import rebuild

LOCK_WAIT_SECONDS = 5.0  # a killed papermill's kernel lives on for about three


@dataclass(frozen=True)
class Run:
    """One run directory. Reading is safe while another process writes it."""

    path: Path

    @property
    def name(self):
        return self.path.name

    def params(self):
        """The resolved parameters the run was started with."""
        return read_json(self.path / "params.json")

    def history(self):
        """The recorded rows in order of epoch; a torn last line is left out.

        Raises:
            CheckpointError: a damaged line elsewhere, by number.
        """
        file = self.path / "history.jsonl"
        return parse_history(file.read_text(errors="replace"), file) if file.exists() else []

    def result(self):
        """What ``result.json`` says, or ``{}`` before there is one."""
        file = self.path / "result.json"
        return read_json(file) if file.exists() else {}

    def finished(self):
        return self.result().get("status") == "ok"

    def state(self):
        """``finished``, ``running``, or what the last process left: ``interrupted``, ``failed``, ``unfinished``."""
        status = self.result().get("status", "unfinished")
        if status == "ok":
            return "finished"
        return "running" if _held(self.path / ".lock") else status


def identity_hash(identity):
    """Eight hex digits naming ``identity``, a flat dict of plain values."""
    return sha256(json.dumps(plain(identity), sort_keys=True).encode())[:8]


def run_name(identity):
    """``<dataset>-<method>-<mixer>-<encoder>-s<seed>-<hash8>`` of an identity."""
    head = "-".join(safe_name(identity[k]) for k in ("dataset", "method", "mixer", "encoder"))
    return f"{head}-s{identity['seed']}-{identity_hash(identity)}"


def create(runs_dir, identity, params, fresh=False):
    """The directory of this identity, made if it is new.

    ``fresh`` makes another beside it (``...-2``), or takes up the last such one that was left unfinished.
    """
    base = Path(runs_dir) / run_name(identity)
    path, number = base, 1
    while fresh and path.exists() and (number == 1 or Run(path).finished() or _held(path / ".lock")):
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    path.mkdir(parents=True, exist_ok=True)
    if not (path / "params.json").exists():
        write_json(path / "params.json", params)
    return Run(path)


@contextlib.contextmanager
def locked(run, wait_seconds=LOCK_WAIT_SECONDS):
    """Holds the run for this process; the operating system lets go when the process dies.

    Raises:
        RunBusyError: another live process holds it, with its pid and host.
    """
    with open(run.path / ".lock", "a+") as file:
        _take(file, run, time.monotonic() + wait_seconds)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        remove_leftovers(run.path)
        yield run


def _take(file, run, deadline):
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                file.seek(0)
                raise RunBusyError(f"{run.path}: is being written by another process ({file.read() or 'unknown'}). "
                                   "Wait for it, stop it, or change a parameter.") from None
            time.sleep(0.1)


def _held(path):
    if not path.exists():
        return False
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def parse_history(text, name):
    """Rows of a JSON-lines history by epoch; a later row of an epoch replaces an earlier one."""
    rows, lines = {}, text.split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            if line:
                row = json.loads(line)
                rows[row["epoch"]] = row
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):  # no newline after it: the write was cut short
                break
            raise CheckpointError(f"{name}: line {number} is damaged. Delete that line, or the run.") from error
    return [rows[epoch] for epoch in sorted(rows)]


def record_row(run, row):
    """Adds ``row`` to the history, or replaces the row of the same epoch; no other recorded row is lost."""
    rows = {r["epoch"]: r for r in run.history()} | {row["epoch"]: plain(row)}
    write(run.path / "history.jsonl", "".join(json.dumps(rows[e]) + "\n" for e in sorted(rows)))


def save_weights(run, name, module, about):
    """Writes ``<name>.safetensors`` with ``about`` (a plain dict) in its header; returns its sha256."""
    state = {key: tensor.contiguous().cpu() for key, tensor in module.state_dict().items()}
    content = safetensors.torch.save(state, {"about": json.dumps(about)})  # one entry: their order is not kept
    write(run.path / f"{name}.safetensors", content)
    return sha256(content)


def load_encoder(run, device="cpu"):
    """The frozen encoder of a finished run, in eval mode, checked against the sha256 in its result.

    Raises:
        CheckpointError: unfinished run, or a damaged file.
    """
    return _load_weights(run, "encoder", lambda about: Encoder(about["encoder"], about["stem"]), device)


def load_head(run, device="cpu"):
    """The frozen projector, or the control's classifier, of a finished run. Errors as in ``load_encoder``."""
    return _load_weights(run, "head", lambda about: rebuild(about["layout"]), device)


def _load_weights(run, name, make, device):
    if not run.finished():
        raise CheckpointError(f"{run.path}: is {run.state()}, not finished. Start it again to finish it.")
    file = run.path / f"{name}.safetensors"
    if not file.exists() or sha256(file) != run.result()[f"{name}_sha256"]:
        raise CheckpointError(f"{file}: missing, or damaged: it does not match the sha256 in result.json. "
                              "Train the run again with fresh: true.")
    try:
        with safe_open(file, "pt") as stored:
            module = make(json.loads(stored.metadata()["about"]))
        module.load_state_dict(safetensors.torch.load_file(file))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: is not of this mixlab ({error}). Use the mixlab that wrote it.") from error
    return module.to(device).eval().requires_grad_(False)


def describe(row, epochs):
    """A history row as one printed line."""
    parts = [f"epoch {row['epoch']:>{len(str(epochs))}}/{epochs}"]
    parts += [f"loss {row['loss']:.4f}"] if row["loss"] is not None else ["untrained"]
    parts += [f"kNN {100 * row['knn_top1']:.1f} %"] if "knn_top1" in row else []
    if "lr" in row:
        parts += [f"lr {row['lr']:.4f}", f"{row['views_per_second']:,.0f} views/s", f"{row['seconds']:.1f} s"]
    if row.get("anchors_without_positive"):
        parts.append(f"{row['anchors_without_positive']:.1f} anchors a step without a positive, left out")
    return "  ".join(parts)


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
    found = {r.name: r for r in list_runs(runs_dir)}
    if run == "latest":
        finished = [r for r in found.values() if r.finished()]
        if not finished:
            raise ParamError(problem(parameter, f"a finished run below {runs_dir}", run,
                                     "There is none yet; make one with: make pretrain"))
        return finished[0]
    if run in found:
        return found[run]
    if (Path(run) / "params.json").exists():
        return Run(Path(run))
    raise ParamError(problem(parameter, f"latest, a run directory, or one of the {len(found)} names below {runs_dir}",
                             run, nearest(run, found)))


@cache
def code_version():
    """mixlab's version and a digest of its source, e.g. ``0.1.0+3f9a12bc``: what made a result."""
    folder = Path(__file__).parent
    sources = sorted(folder.rglob("*.py"))
    return f"{__version__}+{sha256(b''.join(f.read_bytes() for f in sources))[:8]}"


def versions():
    """Versions of everything that can change a number."""
    names = ("torch", "torchvision", "numpy", "pillow")
    return {"mixlab": code_version(), "python": platform.python_version()} | {n: version(n) for n in names}


def device_name(device):
    """The device in words, e.g. ``cuda (NVIDIA H200)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"cpu ({torch.cpu.get_capabilities().get('cpu_name', 'unknown')})"
