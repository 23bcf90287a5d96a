"""Stands in for papermill in tests of grids: no kernel, no training, the same files at the end.

The folder that holds it, as ``papermill.py``, goes first on PYTHONPATH. What it was asked is noted in ``calls.txt``.
"""

import fcntl
import json
import os
import sys
import time
from pathlib import Path

import yaml


def main():
    output, given = Path(sys.argv[2]), yaml.safe_load(Path(sys.argv[sys.argv.index("-f") + 1]).read_text())
    notebook, folder = Path(sys.argv[1]).stem, output.parents[1]
    name = output.stem.removesuffix(f"-{notebook}")
    run = Path(json.loads((folder / "cells" / f"{name}.json").read_text())["run"])
    note(folder, {"notebook": notebook, "cell": name, "given": given, "threads": os.environ["OMP_NUM_THREADS"],
                  "pid": os.getpid()})
    run.mkdir(parents=True, exist_ok=True)
    if os.environ.get("FAKE_FAILS", "nothing") in name:
        print("Traceback\n\x1b[31mValueError\x1b[0m: made to fail\n")
        sys.exit(1)
    if notebook == "pretrain":
        with open(run / ".lock", "a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(float(os.environ.get("FAKE_SECONDS", 0)))
            (run / "params.json").write_text(json.dumps(given))
            (run / "result.json").write_text('{"status": "ok"}')
    else:
        protocol = json.loads((folder / "grid.json").read_text())["protocol"]
        (run / "linear_eval.json").write_text(json.dumps({"status": "ok", "protocol": protocol}))
    output.write_text("{}")


def note(folder, call):
    with open(folder / "calls.txt", "a") as file:
        file.write(json.dumps(call) + "\n")


if __name__ == "__main__":
    main()
