"""Peak memory of one loss step beyond what was there before it.

On a GPU torch counts it. On a CPU it is the peak resident size of a process that does nothing else, read from Linux's
``/proc``, in which freed blocks go back to the system at once (``MALLOC_MMAP_THRESHOLD_``), so that what an earlier
step left behind cannot hide what a later one takes. Where there is no ``/proc``, memory is not measured.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SMALL = 300  # embeddings of the step that loads what a first step loads


def available():
    """Bytes that a process could take now; infinite where the system does not say."""
    if not Path("/proc/meminfo").exists():
        return float("inf")
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def peak_mebibytes(arms, size, pace, lean=()):
    """``{(name, precision): MiB}`` of one loss step of each arm at ``size``; NaN where it cannot be known.

    Args:
        lean: names of arms that need little, and are measured beside the others: nothing is timed.
    """
    arms = list(arms)
    if pace.device == "cuda":
        return {arm: _on_gpu(*arm, size) for arm in arms}
    if not arms or not STATUS.exists():
        return dict.fromkeys(arms, float("nan"))
    halves = [[arm for arm in arms if (arm[0] in lean) == small] for small in (False, True)]
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda half: _in_a_process(half, size, pace.threads) if half else {}, halves)
    return {arm: (first | second)[arm] for arm in arms}


def _in_a_process(arms, size, threads):
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", "from mixlab.benchmark.memory import main; main()"],
                          input=json.dumps([arms, size]), env=environment, capture_output=True, text=True)
    if done.returncode:
        raise MemoryError(f"a loss step of {size:,} embeddings ended with {done.stderr.strip()[-500:]}")
    return dict(zip(arms, json.loads(done.stdout.splitlines()[-1]), strict=True))


def main():
    """Reads arms and a size as JSON from standard input, and prints their peaks."""
    arms, size = json.loads(sys.stdin.read())
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(json.dumps([_resident(*arm, size) for arm in arms]))


def _resident(name, precision, size):
    from mixlab.benchmark.contrast import step

    step(name, precision, SMALL, "cpu")()
    call = step(name, precision, size, "cpu")
    RESET.write_text("5", "utf-8")  # the peak starts again from here
    before = _mebibytes("VmRSS")
    call()
    return max(_mebibytes("VmHWM") - before, 0.01)


def _mebibytes(name):
    return next(int(line.split()[1]) for line in STATUS.read_text("utf-8").splitlines() if line.startswith(name)) / 1024


def _on_gpu(name, precision, size):
    from mixlab.benchmark.contrast import step

    call = step(name, precision, size, "cuda")
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20
