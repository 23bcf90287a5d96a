"""The command line: exit codes, and what a process that follows is told."""

import json
import sys

from mixlab import parallel
from mixlab.errors import CheckpointError, DataError, NonFiniteLossError, ParamError, RankError
from mixlab.files import plain
from mixlab.params import Pretrain
from mixlab.train.session import train
from mixlab.train.signals import stop_at_end_of_input

REFUSED = (ParamError, DataError, CheckpointError, NonFiniteLossError, RankError, MemoryError, OSError)


def main(arguments):
    """``python -m mixlab.train FILE.yaml``: exit code 0 finished, 2 refused, 130 interrupted.

    With a second file, rank 0 appends there what happens, one JSON object a line, instead of printing it, and the
    training stops when standard input ends: so ``train`` follows the ranks that it started.
    """
    if len(arguments) not in (1, 2):
        print("usage: python -m mixlab.train FILE.yaml", file=sys.stderr)
        return 2
    followed = len(arguments) == 2
    tell = _teller(arguments[1]) if followed else _print
    try:
        rank = parallel.started().rank
        if followed and rank == 0:
            stop_at_end_of_input()
        run = train(Pretrain.from_yaml(arguments[0]), on_epoch=lambda row: tell("row", row),
                    log=lambda line: tell("line", line))
        if rank == 0:
            tell("run", str(run.path))
        return 0
    except (*REFUSED, KeyboardInterrupt) as error:
        return _refused(error, tell)


def _refused(error, tell):
    stopped = isinstance(error, KeyboardInterrupt)
    text = str(error) or ("stopped at once; start again to continue" if stopped else type(error).__name__)
    print(text, file=sys.stderr, flush=True)
    tell("error", [type(error).__name__, text])
    return 130 if stopped else 2


def _print(kind, value):
    if kind == "line":
        print(value, flush=True)


def _teller(path):
    def tell(kind, value):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({kind: plain(value)}) + "\n")

    return tell
