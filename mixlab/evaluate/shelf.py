"""Where an evaluation is kept: in the run's own folder or, where nothing can be written there, in another."""

import tempfile
from pathlib import Path

from mixlab import data, runs
from mixlab.files import writable_folder


def places_of(run, protocol):
    """The folders, as ``Run``, that may hold evaluations of ``run``: its own, then that in ``reports_dir``."""
    if protocol.reports_dir == "none":
        return [run]
    return [run, runs.Run(data.resolve(protocol.reports_dir) / run.name)]


def shelf(run, protocol, log=print):
    """The folder, as a ``Run``, that the next evaluation of ``run`` goes to; says so where it is not its own.

    Raises:
        ParamError: ``reports_dir`` is needed, and can't be written either.
    """
    if runs.writable(run):
        return run
    other = places_of(run, protocol)[1:]
    folder = writable_folder(other[0].path, "reports_dir") if other else Path(tempfile.mkdtemp(prefix="mixlab-"))
    todo = "" if other else ", a temporary folder. Set reports_dir to keep it"
    log(f"Note: {run.path} can't be written: this evaluation goes to {folder}{todo}.")
    return runs.Run(folder)
