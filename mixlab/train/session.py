"""From checked parameters to a finished run: who trains it, who may write it, and how it ends."""

from contextlib import ExitStack

import torch

from mixlab import data, parallel, runs
from mixlab.errors import NonFiniteLossError, ParamError, RankError, problem
from mixlab.files import writable_folder, write_json
from mixlab.params import identity, load_splits, name_start, settle, settle_split
from mixlab.precision import exact_fp32
from mixlab.train.launch import launch
from mixlab.train.signals import stop_on_signal
from mixlab.train.trainer import Trainer


def train(params, on_epoch=None, log=print):
    """Trains the run that ``params`` names, continues it, or returns it untouched if it is finished.

    With ``devices`` above 1 it starts torchrun and follows it; in a process that torchrun started it is one rank.

    Args:
        params: a checked ``Pretrain``.
        on_epoch: called with each history row as it is recorded; of several ranks, on rank 0 only.
        log: called with each line of text, likewise.
    Returns:
        the finished ``Run``.
    Raises:
        ParamError, DataError: before any training. RunBusyError: another process trains it.
        NonFiniteLossError: naming the first bad step. RankError: one of several processes died or hangs.
        MemoryError: the device's memory is full. OSError: the device failed in the middle.
        KeyboardInterrupt: after SIGINT or SIGTERM, state saved.
    """
    ranks = parallel.started()
    if ranks.count > 1:
        params = _for_ranks(params, ranks)
    values = params.resolved()
    if values["devices"] > ranks.count:
        return launch(params, on_epoch, log)
    with parallel.joined(ranks, values["device"]):
        run = _session(values, ranks, on_epoch, log if ranks.first else _quiet)
        ranks.most(0)  # nobody leaves before rank 0 has written the result
    return run


def _for_ranks(params, ranks):
    """The parameters, checked again for as many devices as torchrun started processes."""
    if params.devices not in ("auto", ranks.count):
        raise ParamError(problem("devices", f"auto or {ranks.count}, the processes that torchrun started",
                                 params.devices, "Leave it out, or change --nproc-per-node"))
    return type(params).check(**params.model_dump() | {"devices": ranks.count})


def _quiet(line):
    """Rank 0 speaks for all."""


def _session(values, ranks, on_epoch, log):
    values = name_start(values)
    runs_dir = ranks.shared(lambda: writable_folder(data.resolve(values["runs_dir"]), "runs_dir"))
    data.describe(values, log)
    splits = load_splits(values, log)
    for note in splits.train.notes:
        log(note)
    values = settle(settle_split(values, splits.train.checksum), len(splits.train))
    if data.val_seed(values) != values["seed"]:
        log(f"Held out are the images that the run it starts from held out (drawn from seed {values['val_seed']}).")
    who = identity(values, splits)
    ranks.same("a run with the hash", runs.identity_hash(who))
    with ExitStack() as stack:
        run, finished = ranks.shared(lambda: _open(stack, runs_dir, who, values))
        if finished:
            made_by = run.result()["versions"]["mixlab"]
            other = "" if made_by == runs.code_version() else f" It was made by mixlab {made_by}, not by this code."
            log(f"{run.name} is finished; nothing to train.{other} fresh: true trains again beside it.")
            return run
        stop = stack.enter_context(stop_on_signal())
        _train(Trainer(run, values, who, splits, ranks, log), stop, on_epoch)
    log(f"Result: {run.path / 'result.json'}")
    return run


def _open(stack, runs_dir, who, values):
    """The run, locked until the stack ends, and whether it is finished."""
    run = stack.enter_context(runs.locked(runs.create(runs_dir, who, values, values["fresh"])))
    return run, run.finished()


@exact_fp32()
def _train(trainer, stop, on_epoch):
    ranks = trainer.ranks
    try:
        trainer.resume()
        ranks.same("a checkpoint of epoch and step", (trainer.progress.epoch, trainer.progress.step))
        trainer.fit(stop, on_epoch)
        if ranks.first:
            trainer.finish()
    except (KeyboardInterrupt, RankError) as error:
        _ended(trainer, "interrupted", error)
        raise
    except NonFiniteLossError as error:
        _ended(trainer, "failed", error)
        raise
    except torch.OutOfMemoryError as error:
        full = MemoryError(trainer.memory_problem())
        _ended(trainer, "failed", full)
        raise full from error
    except RuntimeError as error:
        if not _is_of_device(error):
            raise
        lost = OSError(f"device: {trainer.made_by[-1]['device']} failed ({str(error).splitlines()[0]}); the last good "
                       f"checkpoint is kept ({trainer.saved_at}). Start again to continue.")
        _ended(trainer, "interrupted", lost)
        raise lost from error


def _is_of_device(error):
    """Whether a GPU was lost or refused its work: torch says so by this type, or in the words of CUDA's libraries."""
    kind = getattr(torch, "AcceleratorError", ())
    return isinstance(error, kind) or str(error).startswith(("CUDA error", "cuDNN error"))


def _ended(trainer, status, error):
    if trainer.ranks.first:
        write_json(trainer.run.path / "result.json", {"status": status, "reason": str(error)})
