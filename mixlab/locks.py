"""Locks on files: one process has one at a time, and the operating system takes it back when that process dies."""

import contextlib
import errno
import json
import os
import socket
import time

from filelock import lock_descriptor, unlock_descriptor

from mixlab.errors import is_read_only

PAUSE_SECONDS = 0.01  # between two tries
LOOKS = 3  # a look at a lock takes it for an instant, so another's look alone is not taken for an owner


@contextlib.contextmanager
def taken(path, wait_seconds=0.0):
    """Yields whether this process got the lock file ``path``, which is made where it is missing and then stays.

    Who got it is noted in the file, for ``owner``.

    Args:
        wait_seconds: how long it is tried where another process, or another holder in this one, has it.
    Raises:
        OSError: the file cannot be written, or its file system has no locks.
    """
    deadline = time.monotonic() + wait_seconds
    with open(path, "a+b", buffering=0) as file:
        free = _lock(file)
        while not free and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
            free = _lock(file)
        try:
            if free:
                _sign(file)
            yield free
        finally:
            if free:
                unlock_descriptor(file.fileno())


def held(path):
    """Whether a live process holds the lock file ``path``."""
    for _ in range(LOOKS):
        if not _contended(path):
            return False
        time.sleep(PAUSE_SECONDS)
    return True


def owner(path):
    """What the holder of the lock file ``path`` noted: its pid and host as JSON; ``unknown`` before it has."""
    with open(path, "rb", buffering=0) as file:
        file.seek(1)  # Windows lets nobody read the first byte of a file that is locked
        return file.read().decode(errors="replace") or "unknown"


def _sign(file):
    file.truncate(0)
    file.write(b" " + json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())


def _contended(path):
    try:
        with _opened(path) as file:
            if not _lock(file):
                return True
            unlock_descriptor(file.fileno())
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EBADF:  # on a network's disk that this machine can only read: no lock is told of there
            raise
    return False


def _opened(path):
    try:
        return open(path, "r+b", buffering=0)
    except OSError as error:
        if not is_read_only(error):
            raise
        return open(path, "rb", buffering=0)


def _lock(file):
    try:
        return lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {file.name} cannot be locked, and without locks two processes "
                                   "could write one run. Set runs_dir to a file system that has them") from error
