"""The first epoch of a run trained again, and its rows held against the record."""

from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from mixlab import checkpoint, parallel, runs
from mixlab.errors import CheckpointError, ParamError
from mixlab.params import identity, name_start
from mixlab.train import Trainer
from mixlab.verify.checks import checked
from mixlab.verify.stored import NotCheckedError, splits_at_hand, stored_result, stored_values, who

TIMES = ("seconds", "views_per_second")
MACHINE = ("device", "devices", "threads")
STARTS = tuple(f"{name}_sha256" for name in runs.STARTS)


class FirstEpochDone(Exception):
    """Ends a training when the rows to compare are there."""


def retrain(run):
    """Trains the first epoch again in a temporary folder and compares its rows with the record, the times apart.

    On the CPU the rows are equal bit for bit if code, library versions, device and threads are those that made them.
    Otherwise a difference is told, and is no damage.

    Returns:
        a ``Check``.
    """
    return checked("first epoch again", _compared, run)


def _compared(run):
    recorded = [row for row in run.history() if row["epoch"] < 2]
    if not recorded or recorded[-1]["epoch"] < min(1, stored_values(run)["epochs"]):
        raise NotCheckedError("no epoch is recorded yet")
    made_by = _made_by(run)
    with _threads(made_by["threads"]):
        device = _device(stored_values(run))
        changes = changed(made_by, {"versions": runs.versions(), "device": runs.device_name(device), "devices": 1,
                                    "threads": torch.get_num_threads()})
        found = differences(recorded, _first_rows(run, device))
    if not found:
        return f"{', '.join(_compared_names(recorded))}: equal bit for bit"
    if changes or device.type != "cpu":
        why = ", ".join(changes) or "it is promised on the CPU only"
        raise NotCheckedError(f"{'; '.join(found)}. Equality is not promised here: {why}")
    raise CheckpointError(f"{'; '.join(found)}, though code, versions, device and threads are those that made it")


def _made_by(run):
    """The surroundings of the first part of the run."""
    found = stored_result(run)
    if "versions" in found:
        return (found.get("continued_from") or [found])[0]
    state, _ = checkpoint.load(run.path / "checkpoint.pt", who(run))
    if state is None or not state.get("made_by"):
        raise NotCheckedError("what made it is not recorded yet")
    return state["made_by"][0]


@contextmanager
def _threads(count):
    """As many threads as the run had; sums of floats depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _device(values):
    return torch.device(values["device"] if values["device"] == "cpu" or torch.cuda.is_available() else "cpu")


def _first_rows(run, device):
    """The rows of epochs 0 and 1, trained with the stored parameters; what it starts from is found beside the run."""
    splits = splits_at_hand(run)
    values = stored_values(run) | {"runs_dir": str(run.path.resolve().parent), "device": device.type, "devices": 1,
                                   "checkpoint_every": 1e6, "snapshot_every": 0}
    values["compile"] = values["compile"] and device.type == "cuda"
    whose = identity(values, splits)
    try:
        if any(name_start(values).get(name) != values.get(name) for name in STARTS):
            raise NotCheckedError("the run that it starts from has another encoder now")
        with TemporaryDirectory(prefix="mixlab-verify-") as folder:
            again = runs.create(Path(folder), whose, values)
            trainer = Trainer(again, values, whose, splits, parallel.Ranks(), _quiet)
            with suppress(FirstEpochDone):
                trainer.fit([], _stop_after_one)
            return again.history()
    except ParamError as error:
        raise NotCheckedError(str(error)) from error


def _stop_after_one(row):
    if row["epoch"] == 1:
        raise FirstEpochDone


def _quiet(line):
    """The record is what counts."""


def changed(then, now):
    """What differs between two surroundings, in words."""
    pairs = [(name, then["versions"].get(name), now["versions"][name]) for name in now["versions"]]
    pairs += [(name, then.get(name), now[name]) for name in MACHINE]
    return [f"{name} {old} then, {new} now" for name, old, new in pairs if old != new]


def differences(recorded, made):
    """Where rows of the same epochs differ, the times apart, in words; bit for bit."""
    made = {row["epoch"]: row for row in made}
    return [f"{name} of epoch {row['epoch']} was {row.get(name)!r} and is {made.get(row['epoch'], {}).get(name)!r}"
            for row in recorded for name in dict.fromkeys([*row, *made.get(row["epoch"], {})])
            if name not in TIMES and row.get(name) != made.get(row["epoch"], {}).get(name)]


def _compared_names(recorded):
    return [name for name in dict.fromkeys(name for row in recorded for name in row) if name not in ("epoch", *TIMES)]
