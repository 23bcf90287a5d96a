"""What the forked children do: the real commands, with faults that strike them at a counted instant."""

import dataclasses
import json
import os
import resource
import signal
import stat
import time
from pathlib import Path

from forks import QUICK

from mixlab import files

FULL = 64  # bytes that a file may have where the disk is full
REAL = 20  # one of so many simulated steps draws its batch and views as trainings do


def train(yaml, full_at=0, torn_at=0, unnamed_at=0, hold_at=0, told="", seconds=0.0):
    """``python -m mixlab.train``; with a fault at the given count of written files, or in a step, from 1.

    Args:
        full_at: from this file on the disk is full.
        torn_at: killed when half of this file's content is on the disk.
        unnamed_at: killed when all of it is, before it gets its name.
        hold_at: this step waits for a signal, and goes on ``seconds`` after it was taken note of.
        told: a folder where the files ``in the step`` and ``asked`` say so.
    """
    from mixlab.train import main

    if full_at:
        _before(files, "_beside", full_at, lambda *_, **__: _limit(FULL))
    if torn_at or unnamed_at:
        _before(os, "fsync", torn_at or unnamed_at, _tear if torn_at else _die, _is_file)
    if hold_at:
        _hold(hold_at, Path(told), seconds)
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


def _hold(number, told, seconds):
    from mixlab.train import Trainer

    fit, asked = Trainer.fit, []

    def fitting(trainer, stop, on_epoch=None):
        asked.append(stop)
        return fit(trainer, stop, on_epoch)

    def waiting(trainer):
        (told / "in the step").touch()
        while not asked[0]:
            time.sleep(0.003)
        (told / "asked").touch()
        time.sleep(seconds)

    Trainer.fit = fitting
    _before(Trainer, "step", number, waiting)


def afterwards(folder, pages, full_at=0):
    """All that is written about a finished run: evaluation, scores of maps, two pages and the table of evaluations.

    With ``full_at`` the disk is full from that written file on; exit code 2 where that was said.
    """
    from mixlab.attention import localisation
    from mixlab.evaluate import Protocol, evaluate, write_report
    from mixlab.explorers import write_attention_page, write_embedding_page
    from mixlab.projection import cloud
    from mixlab.runs import Run

    if full_at:
        _before(files, "_beside", full_at, lambda *_, **__: _limit(FULL))
    run, pages = Run(Path(folder)), Path(pages)
    try:
        evaluate(run, Protocol(**QUICK))
        localisation(run, mosaics=2)
        write_attention_page(pages / "attention.html", [run], images=2)
        write_embedding_page(pages / "embedding.html", [cloud(run, kind="pca")], run.name)
        write_report(run.path.parent, pages / "results.csv")
    except OSError as error:
        print(error)
        return 2
    return 0


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
    """The real loop over ``epochs`` x 1,000 steps of a model of one weight; prints what was measured as JSON.

    It saves its checkpoints when they are due; one step in ``REAL`` draws a batch and its views.
    """
    import psutil
    import torch

    from mixlab import parallel, params, runs
    from mixlab.train import Trainer

    chosen = params.Pretrain.from_yaml(yaml).resolved() | {"epochs": epochs}
    few = params.load_splits(chosen)
    many = torch.arange(1000 * chosen["batch_size"]) % len(few.train)
    splits = dataclasses.replace(few, train=few.train.subset(many))
    chosen, run = params.settle(chosen, len(splits.train)), runs.Run(Path(folder))
    trainer = Trainer(run, chosen, {"who": "steps"}, splits, parallel.Ranks(), lambda line: None)
    trainer.method = _one_weight(torch)
    trainer.optimizer, memory = torch.optim.SGD(trainer.method.parameters(), lr=1.0), []
    drawn, saved = _counted(trainer, "batch", every=REAL), _counted(trainer, "save")
    trainer.fit([], lambda row: memory.append(psutil.Process().memory_info().rss))
    last, state = run.history()[-1], trainer.progress
    print(json.dumps({"steps": trainer.method.count, "memory": memory[max(1, epochs // 10):], "drawn": len(drawn),
                      "saved": len(saved), "rows": len(run.history()), "epoch": last["epoch"], "lr": last["lr"],
                      "bytes": (run.path / "history.jsonl").stat().st_size, "peak_lr": chosen["lr"],
                      "schedule": [chosen["schedule"], chosen["warmup_epochs"]],
                      "progress": [state.epoch, state.step]}), flush=True)
    return 0


def _counted(trainer, name, every=1):
    """Lets one call in ``every`` of a trainer's function through; the list that grows with each of these."""
    whole, asked, made = getattr(trainer, name), [0], []

    def counted():
        asked[0] += 1
        if asked[0] % every == 0:
            made.append(None)
            return whole()
        return None

    setattr(trainer, name, counted)
    return made


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


CALLS = {"train": train, "afterwards": afterwards, "race": race, "steps": steps}
