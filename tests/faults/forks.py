"""Trainings in processes of their own that start in milliseconds, and faults that strike them at a counted instant.

Run as a program it imports mixlab once, and forks a child for every request (a line of JSON on its input), before any
thread exists: what is killed, starved or raced below is a whole process of the real ``python -m mixlab.train``.
"""

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
FULL = 64  # bytes that a file may have where the disk is full
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
        """Forks a child that makes ``call`` (a function of this file's program); returns its pid."""
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
    import torch

    rows = [{k: v for k, v in row.items() if k not in ("seconds", "views_per_second")} for row in run.history()]
    payload = (run.path / "checkpoint.pt").read_bytes().split(b"\n", 1)[1]
    state = torch.load(io.BytesIO(payload), weights_only=True)
    tensors = {f"{kind}.{name}": _digest(value) for kind in ("method", "optimizer")
               for name, value in _tensors(state[kind])}
    files = {name: _digest((run.path / name).read_bytes()) for name in ("encoder.safetensors", "head.safetensors")}
    assert len(tensors) > 60 and len(files) == 2
    return rows, files, tensors


def _tensors(value, name=""):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _tensors(inner, f"{name}.{key}")
    elif hasattr(value, "numpy"):
        yield name, value.numpy().tobytes()


def _digest(content):
    return hashlib.sha256(content).hexdigest()


def leftovers(folder):
    return sorted(str(path) for path in Path(folder).rglob("*.tmp"))


def until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.003)


# What a child does

def train(yaml, full_at=0, torn_at=0, unnamed_at=0):
    """``python -m mixlab.train``; with a fault at the given count of written files, from 1.

    Args:
        full_at: from this file on the disk is full.
        torn_at: killed when half of this file's content is on the disk.
        unnamed_at: killed when all of it is, before it gets its name.
    """
    from mixlab.train import main

    if full_at:
        _before(tempfile, "mkstemp", full_at, lambda *_, **__: _limit(FULL))
    if torn_at or unnamed_at:
        _before(os, "fsync", torn_at or unnamed_at, _tear if torn_at else _die, _is_file)
    return main([yaml])


def _before(module, name, count, strike, counts=lambda *_: True):
    """Calls ``strike`` before the call number ``count`` of a function."""
    whole, made = getattr(module, name), []

    def struck(*arguments, **options):
        made.extend([1] * counts(*arguments))
        if len(made) == count and counts(*arguments):
            strike(*arguments, **options)
        return whole(*arguments, **options)

    setattr(module, name, struck)


def _is_file(handle):
    return stat.S_ISREG(os.fstat(handle).st_mode)


def _tear(handle):
    os.ftruncate(handle, os.fstat(handle).st_size // 2)
    _die()


def _die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def _limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def race(runs_dir, who, go):
    """Takes up a run as every start does, and holds it until ``go`` is gone; exit code 2 if it is busy."""
    from mixlab import runs
    from mixlab.errors import RunBusyError

    while not Path(go).exists():
        time.sleep(0.001)
    try:
        with runs.locked(runs.create(runs_dir, who, who), wait_seconds=0):
            print("proceeds", flush=True)
            while Path(go).exists():
                time.sleep(0.001)
    except RunBusyError as error:
        print(error, flush=True)
        return 2
    return 0


def steps(yaml, epochs, folder):
    """The real loop over ``epochs`` x 1,000 steps of a model of one weight; prints what was measured as JSON."""
    import psutil
    import torch

    from mixlab import parallel, params, runs
    from mixlab.optim import learning_rate
    from mixlab.train import Trainer

    chosen = params.Pretrain.from_yaml(yaml).resolved() | {"epochs": epochs}
    splits = params.load_splits(chosen)
    chosen, run, made = params.settle(chosen, len(splits.train)), runs.Run(Path(folder)), []
    trainer = Trainer(run, chosen, {"who": "steps"}, splits, parallel.Ranks(), made.append)
    model = _one_weight(torch)
    trainer.method, trainer.optimizer, trainer.steps = model, torch.optim.SGD(model.parameters(), lr=1.0), 1000
    trainer.batch, memory, process = (lambda: None), [], psutil.Process()

    def note(row):
        made.clear()
        memory.append(process.memory_info().rss)
    trainer.fit([], note)
    last, done = run.history()[-1], epochs - 1 + 999 / 1000
    print(json.dumps({"steps": model.count, "memory": memory[max(1, epochs // 10):], "rows": len(run.history()),
                      "bytes": (run.path / "history.jsonl").stat().st_size, "epoch": last["epoch"],
                      "lr": last["lr"], "expected_lr": learning_rate(chosen, done),
                      "progress": [trainer.progress.epoch, trainer.progress.step]}), flush=True)
    return 0


def _one_weight(torch):
    class OneWeight(torch.nn.Module):
        views, needs_labels = (), False

        def __init__(self):
            super().__init__()
            self.weight, self.count = torch.nn.Parameter(torch.ones(1)), 0

        def forward(self, batch):
            self.count += 1
            return {"loss": (self.weight * 0.5).square().sum()}

        def after_step(self, out):
            pass

    return OneWeight()


CALLS = {"train": train, "race": race, "steps": steps}


# The program

def serve():
    children = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = _reap(*children.pop(request["wait"]))
        elif "ended" in request:
            answer = {"ended": _gone(request["ended"])}
        else:
            pid, reading = _fork(CALLS[request.pop("call")], request)
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
    from mixlab import train as _  # noqa: F401  imported once, for all children
    serve()
