"""Several devices from one call: torchrun as a child process, and what its rank 0 tells."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import yaml

from mixlab import errors
from mixlab.errors import ParamError, RankError, problem
from mixlab.runs import Run
from mixlab.train.signals import stop_on_signal

POLL_SECONDS = 0.1
STOP_SECONDS = 60.0  # that ranks get to end by themselves, after their step and a checkpoint
END_SECONDS = 40.0  # that torchrun gets, of which it gives its ranks 30


def launch(params, on_epoch, log):
    """Trains with ``params.devices`` processes under torchrun; arguments, result and errors as in ``train``."""
    found = torch.cuda.device_count()
    if params.resolved()["device"] == "cuda" and params.devices > found:
        raise ParamError(problem("devices", f"at most the {found} CUDA devices found", params.devices, "Lower it"))
    with TemporaryDirectory(prefix="mixlab-") as name, stop_on_signal() as stop:
        folder, told = Path(name), {}
        values = params.model_dump() | {"interactive": False}
        (folder / "params.yaml").write_text(yaml.safe_dump(values), "utf-8")
        ranks = _start(folder, params.devices)
        try:
            for kind, value in _events(ranks, folder / "told.jsonl", stop):
                if kind != "error" or told.get("error", ["RankError"])[0] == "RankError":  # the cause, not what follows
                    told[kind] = value
                if kind == "line":
                    log(value)
                elif kind == "row" and on_epoch:
                    on_epoch(value)
        finally:
            _end(ranks)
        if ranks.returncode:
            raise _error(told.get("error"), (folder / "output.txt").read_text("utf-8", "replace"))
    return Run(Path(told["run"]))


def _start(folder, count):
    """torchrun in a session of its own, so that a Ctrl-C reaches this process only; the ranks inherit its input."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count),
               "-m", "mixlab.train", str(folder / "params.yaml"), str(folder / "told.jsonl")]
    threads = str(max(1, torch.get_num_threads() // count))
    with open(folder / "output.txt", "wb") as output:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                                start_new_session=True, env=os.environ | {"OMP_NUM_THREADS": threads})


def _events(ranks, file, stop):
    """Yields what rank 0 tells until the ranks have ended; once ``stop`` is filled, their input ends."""
    read, deadline = 0, None
    while True:
        ended = ranks.poll() is not None  # asked before reading, so that nothing told last is missed
        content = file.read_bytes()[read:] if file.exists() else b""
        lines = content[:content.rfind(b"\n") + 1]
        read += len(lines)
        for line in lines.splitlines():
            yield from json.loads(line).items()
        if ended:
            return
        if stop and deadline is None:
            ranks.stdin.close()
            deadline = time.monotonic() + STOP_SECONDS
        elif deadline is not None and time.monotonic() > deadline:
            return
        time.sleep(POLL_SECONDS)


def _end(ranks):
    """Nothing is left running, whatever happened."""
    ranks.stdin.close()
    for stop in (ranks.terminate, ranks.kill):
        if ranks.poll() is None:
            stop()
            try:
                ranks.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                continue


def _error(told, output):
    """The error that rank 0 told, or what torchrun says of a rank that could not tell anything any more."""
    name, text = told or ("RankError", "")
    known = {"KeyboardInterrupt": KeyboardInterrupt, "MemoryError": MemoryError, "OSError": OSError, **vars(errors)}
    if name != "RankError":
        return known.get(name, OSError)(text)
    killed = re.findall(r"rank *: (\d+) .*\n *exitcode *: -(\d+)", output)
    dead = [f"rank {rank} was ended by signal {number}" for rank, number in killed if number != "15"]
    reason = "; ".join(dict.fromkeys(dead)) or text or output.strip()[-2000:] or "torchrun said nothing"
    return RankError(f"devices: {reason}. Start again to continue from the last checkpoint.")
