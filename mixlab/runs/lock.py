"""The lock that keeps two processes out of one run."""

import contextlib
import fcntl
import json
import os
import socket
import time

from mixlab.errors import RunBusyError
from mixlab.files import remove_leftovers

LOCK_WAIT_SECONDS = 5.0  # a killed papermill's kernel lives on for about three


@contextlib.contextmanager
def locked(run, wait_seconds=LOCK_WAIT_SECONDS):
    """Holds the run for this process; the operating system lets go when the process dies.

    Raises:
        RunBusyError: another live process holds it, with its pid and host.
    """
    with open(run.path / ".lock", "a+") as file:
        _take(file, run, time.monotonic() + wait_seconds)
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        file.flush()
        remove_leftovers(run.path)
        yield run


def _take(file, run, deadline):
    while True:
        try:
            return _lock(file, fcntl.LOCK_EX)
        except BlockingIOError:
            time.sleep(0.1)  # an owner from just now has by then written who it is
            if time.monotonic() > deadline:
                file.seek(0)
                raise RunBusyError(f"{run.path}: is being written by another process ({file.read() or 'unknown'}). "
                                   "Wait for it, stop it, or change a parameter.") from None


@contextlib.contextmanager
def at_once(path):
    """Yields whether this process got the lock file ``path``; where it did not, it has waited a hundredth second."""
    with open(path, "a+") as file:
        try:
            _lock(file, fcntl.LOCK_EX)
        except BlockingIOError:
            time.sleep(0.01)
            yield False
        else:
            yield True


def held(path):
    """Whether a live process holds the lock file ``path``."""
    if not path.exists():
        return False
    with open(path) as file:
        try:
            _lock(file, fcntl.LOCK_SH)
        except BlockingIOError:
            return True
    return False


def _lock(file, kind):
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {file.name} cannot be locked, and without locks two processes "
                                   "could write one run. Set runs_dir to a file system that has them") from error
