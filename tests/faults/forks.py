"""Trainings in processes of their own that start in milliseconds, and what they left.

Run as a program it imports mixlab once, and forks a child for every request (a line of JSON on its input), before any
thread exists: what is killed, starved or raced below is a whole process of the real ``python -m mixlab.train``.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
QUICK = {"probes": ("lbfgs",), "few_label_fractions": (), "knn_k": (5,), "geometry": False, "robustness": False}
OWN = {"byol": {"proj_hidden": 32, "predictor_hidden": 32}, "simsiam": {"proj_hidden": 32, "proj_dim": 32}}


class Forks:
    """The process that forks; close it when done."""

    def __init__(self):
        surroundings = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
        self.process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env=surroundings)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, call="train", **arguments):
        """Forks a child that makes ``call`` (a function of ``acts.py``); returns its pid."""
        return self.ask(call=call, **arguments)["pid"]

    def wait(self, pid):
        """``(exit code, output)``; a negative code is the signal that ended it."""
        answer = self.ask(wait=pid)
        return answer["code"], answer["output"]

    def ended(self, pid):
        return self.ask(ended=pid)["ended"]

    def run(self, call="train", **arguments):
        return self.wait(self.start(call, **arguments))

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


# The tiny run that is struck

def pictures(folder, count=14, size=16):
    """Two classes of small pictures; of 14 each, 24 are for training and 4 for the test."""
    generator = np.random.default_rng(0)
    for name, low, high in (("dark", 0, 120), ("light", 100, 256)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(low, high, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def values(images, runs_dir, **changes):
    """Parameters of a run of three steps an epoch that saves after each."""
    return {"dataset": f"folder:{images}", "image_size": 16, "batch_size": 8, "epochs": 3, "warmup_epochs": 0,
            "checkpoint_every": 0.0, "device": "cpu", "precision": "fp32", "runs_dir": str(runs_dir), **changes}


# What such a run of one epoch writes, in this order, each with what must be safe when that write fails: where its
# checkpoint stands, and how many rows are recorded.
WRITES = (("params", None, 0), ("row", None, 0), ("checkpoint", None, 1), ("checkpoint", (1, 0), 1),
          ("checkpoint", (1, 1), 1), ("checkpoint", (1, 2), 1), ("row", (1, 3), 1), ("checkpoint", (1, 3), 2),
          ("encoder", (2, 0), 2), ("head", (2, 0), 2), ("result", (2, 0), 2))


def safe(left, number):
    """Whether a run that failed at its write ``number``, from 1, left what it had."""
    _, place, rows = WRITES[number - 1]
    return (left.place, len(left.rows), left.finished) == (place, rows, False)


def write_yaml(file, parameters):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in parameters.items()))
    return str(file)


def the_run(runs_dir):
    """The run below ``runs_dir``, or None before there is one."""
    from mixlab import runs

    found = runs.list_runs(runs_dir)
    return found[0] if found else None


def record(run):
    """All that a run leaves and that must not depend on how often it was stopped."""
    state = _state(run.path / "checkpoint.pt")
    tensors = {f"{kind}.{name}": _digest(value) for kind in ("method", "optimizer")
               for name, value in _tensors(state[kind])}
    files = {name: _digest((run.path / name).read_bytes()) for name in ("encoder.safetensors", "head.safetensors")}
    assert len(tensors) > 60 and len(files) == 2
    return [_untimed(row) for row in run.history()], files, tensors


def _untimed(row):
    return {name: value for name, value in row.items() if name not in ("seconds", "views_per_second")}


def _state(file):
    """What a checkpoint holds, read past mixlab."""
    import torch

    return torch.load(io.BytesIO(file.read_bytes().split(b"\n", 1)[1]), weights_only=True)


def _tensors(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}")
    elif hasattr(value, "numpy"):
        yield name, value.numpy().tobytes()


def _digest(content):
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Left:
    """What a stopped run left: the (epoch, step) of its checkpoint or None, its rows, whether it is finished."""

    place: tuple | None = None
    rows: tuple = ()
    finished: bool = False


def left(runs_dir):
    run = the_run(runs_dir)
    if run is None:
        return Left()
    files = [run.path / name for name in ("checkpoint.pt", "checkpoint.pt.previous")]
    found = next((_state(file)["progress"] for file in files if file.exists()), None)
    return Left(found and (found["epoch"], found["step"]), tuple(run.history()), run.finished())


def went_on(before, output, after, killed=False):
    """Whether a start went on where ``before`` stood, not from scratch, and no recorded row is gone.

    Args:
        output: what the start printed. after: what it left.
        killed: it may have been killed before it said where it goes on; it has then changed nothing.
    """
    told = re.search(r"^Continuing .* at epoch (\d+), step (\d+)\.$", output, re.M)  # and no note of a damaged file
    told, silent = told and (int(told[1]), int(told[2])), killed and after.place == before.place
    says = "nothing to train" in output or silent if before.finished else told == before.place or (not told and silent)
    forward = before.place is None or (after.place is not None and after.place >= before.place)
    printed = {int(epoch) for epoch in re.findall(r"^epoch +(\d+)/", output, re.M)}
    return says and forward and printed <= {row["epoch"] for row in after.rows} and _kept(before, after)


def _kept(before, after):
    """Rows that the checkpoint is past stay as they are, their times too: nothing made them again."""
    rows, past = {row["epoch"]: row for row in after.rows}, before.place[0] if before.place else 0
    return all(row["epoch"] in rows and _untimed(rows[row["epoch"]]) == _untimed(row)
               and (row["epoch"] >= past or rows[row["epoch"]] == row) for row in before.rows)


def leftovers(folder):
    return sorted(str(path) for path in Path(folder).rglob("*.tmp"))


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.003)


# The program

def serve(calls):
    children = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _reap(*children.pop(request["wait"]))
        elif "ended" in request:
            answer = {"ended": _gone(request["ended"])}
        else:
            pid, reading = _fork(calls[request.pop("call")], request)
            children[pid] = (pid, reading)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _fork(call, arguments):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    code = 70
    try:
        os.close(reading)
        for stream in (1, 2):
            os.dup2(writing, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = call(**arguments)
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(pid, reading):
    with os.fdopen(reading, "rb") as output:
        text = output.read().decode(errors="replace")
    return {"code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "output": text}


def _gone(pid):
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def settled(folder):
    """Removes a folder of runs that are done with: encoders and checkpoints are large."""
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    from acts import CALLS

    from mixlab import train as _  # noqa: F401  imported once, for all children
    serve(CALLS)
