"""The lock that keeps two processes out of one run."""

import contextlib
import os
import time

from mixlab.errors import RunBusyError
from mixlab.files import can_be_written, remove_leftovers
from mixlab.locks import owner, taken

LOCK = ".lock"
LOCK_WAIT_SECONDS = 5.0  # a killed papermill's kernel lives on for about three


@contextlib.contextmanager
def locked(run, wait_seconds=LOCK_WAIT_SECONDS):
    """Holds the run for this process; the operating system lets go when the process dies.

    Raises:
        RunBusyError: another live process holds it, with its pid and host.
    """
    with taken(run.path / LOCK, wait_seconds) as free:
        if not free:
            time.sleep(0.1)  # an owner from just now has by then written who it is
            raise RunBusyError(f"{run.path}: is being written by another process ({owner(run.path / LOCK)}). "
                               "Wait for it, stop it, or change a parameter.")
        remove_leftovers(run.path)
        yield run


def writable(run):
    """Whether anything can be kept in the run's folder: not where its disk is read-only, or it is another user's."""
    lock = run.path / LOCK
    return can_be_written(run.path) and (not lock.exists() or os.access(lock, os.W_OK))
