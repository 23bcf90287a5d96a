"""The floor of every comparison: the same encoder, drawn from the same seed, without any training."""

from mixlab import data
from mixlab.errors import DataError, ParamError
from mixlab.evaluate.subjects import place_of
from mixlab.files import can_be_written
from mixlab.params import Pretrain
from mixlab.runs import UNTRAINED
from mixlab.train.session import train

SHARED = ("dataset", "data_dir", "image_size", "skip_broken", "train_size", "val_fraction", "encoder", "stem", "width",
          "seed", "proj_dim", "proj_hidden", "proj_depth", "device", "precision", "runs_dir")


def untrained(runs, data_dir="auto", log=print):
    """The untrained encoder of each of ``runs``, as finished runs of 0 epochs in a folder of their own; made once.

    Methods share them: of one seed, encoder and projector there is one, whatever the run was trained with. A run that
    is untrained itself, or started from another run, has none.

    Args:
        runs: finished ``Run`` s.
        data_dir: where their images lie now, as in ``evaluate.Protocol``.
    Returns:
        list of ``Run``, each once. Errors as ``train``; a run whose parameters can't be repeated here is left out, and
        so is one beside which nothing can be written; each is said.
    """
    found = {}
    for run in runs:
        values = run.params()
        if values.get("epochs") and values.get("init_from", "none") == "none":
            try:
                _check_place(run)
                floor = train(_floor_of(run, values, data_dir), log=_quiet)
            except (ParamError, DataError) as error:
                log(f"No untrained encoder beside {run.name}: {error}")
                continue
            found[floor.path] = floor
    return list(found.values())


def _check_place(run):
    if not can_be_written(run.path.parent):
        raise ParamError(f"{run.path.parent} can't be written.")


def _floor_of(run, values, data_dir):
    """A run of 0 epochs that draws the encoder of ``run``, and a projector like its, as it did."""
    given = {name: values[name] for name in SHARED if values.get(name) is not None}
    given["dataset"], given["data_dir"] = name, place = place_of(values, data_dir)
    if not data.at_hand(name, None if place == "auto" else place):
        given |= {"dataset": values.get("snapshot_dataset", values["dataset"]), "train_size": "auto"}
    return Pretrain.check(**given | {"method": "simclr", "epochs": 0, "warmup_epochs": 0, "snapshot_every": 0,
                                     "batch_size": 2, "device": "auto", "runs_dir": str(run.path.parent / UNTRAINED)})


def _quiet(line):
    """What is said of a run of no epochs helps nobody."""
