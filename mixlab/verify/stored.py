"""What the checks of a run start from: its parameters, its result and its images, each where it can be read."""

from types import SimpleNamespace

from mixlab import data, runs
from mixlab.errors import CheckpointError, ParamError
from mixlab.params import identity, load_splits

UNFINISHED = "the run is not finished"


class NotCheckedError(Exception):
    """Says why something is not checked."""


class MissingError(Exception):
    """Says that a file which the run must have is not there."""


def stored_values(run):
    """The parameters; where they cannot be read, that is said once, of ``params.json``."""
    try:
        return run.params()
    except (CheckpointError, OSError) as error:
        raise NotCheckedError("params.json cannot be read") from error


def stored_result(run):
    try:
        return run.result()
    except (CheckpointError, OSError) as error:
        raise NotCheckedError("result.json cannot be read") from error


def finished_result(run):
    found = stored_result(run)
    if found.get("status") != "ok":
        raise NotCheckedError(UNFINISHED)
    return found


def splits_at_hand(run):
    """The images that the run names. They are read where they lie, and never downloaded."""
    values = stored_values(run)
    place = values["dataset"] if values["dataset"].startswith("folder:") else values["data_dir"]
    try:
        here = data.at_hand(values["dataset"], None if values["data_dir"] == "auto" else values["data_dir"])
        if not here:
            raise NotCheckedError(f"{values['dataset']} is not here ({place})")
        return load_splits(values | {"val_seed": data.val_seed(values)})  # an older run split by its own seed
    except ParamError as error:
        raise NotCheckedError(str(error)) from error


def who(run):
    """The identity that the stored parameters make with the checksums of the result, or else of the images at hand."""
    values, known = stored_values(run), stored_result(run)
    if "data_checksum" not in known:
        return identity(values, splits_at_hand(run))
    train, queries = (SimpleNamespace(checksum=known[name]) for name in ("data_checksum", "queries_checksum"))
    return identity(values, SimpleNamespace(train=train, queries=queries))


def known_name(run):
    """The name that the stored parameters give the run, and whether it is this run's."""
    name = runs.run_name(who(run))
    return name, is_name_of(name, run)


def is_name_of(name, run):
    """Whether the run has this name, or is another of this name (``-2``, ``-3``, ...) made by ``fresh: true``."""
    rest = run.path.resolve().name.removeprefix(name)
    return rest == "" or (rest[0] == "-" and rest[1:].isdecimal() and run.path.resolve().name.startswith(name))


def need(holds, text):
    if not holds:
        raise CheckpointError(text)
