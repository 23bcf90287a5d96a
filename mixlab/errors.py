"""The six errors mixlab raises, and the one form of their messages.

    <name>: <what is allowed>; got <value> (<type>). <what to do>.
"""

import difflib
import errno


class ParamError(ValueError):
    """A parameter, or several, outside what is allowed. Raised before any work."""


class DataError(ValueError):
    """Images or labels that are missing, damaged, or not what their name says."""


class CheckpointError(RuntimeError):
    """A stored file that is damaged, unsafe, or belongs to something else."""


class RunBusyError(OSError):
    """A run directory that another live process is writing."""


class NonFiniteLossError(RuntimeError):
    """A loss or gradient that became NaN or infinite."""


class RankError(RuntimeError):
    """A process of a run on several devices that died, hangs, or has other data than the rest."""


def problem(name, allowed, got, todo=""):
    """One line in the house form; ``todo`` is a sentence without its full stop."""
    shown = repr(got) if len(repr(got)) <= 120 else repr(got)[:117] + "..."
    line = f"{name}: {allowed}; got {shown} ({type(got).__name__})."
    return f"{line} {todo}." if todo else line


def listed(names, most=10):
    """``a, b, c``; of more than ``most`` the first ones ``and 990 more``."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(name, known):
    """``'Did you mean "x"'`` for the known name closest to ``name``, or ``''``."""
    simple = {str(k).lower().replace("-", "").replace("_", ""): k for k in known}
    key = str(name).lower().replace("-", "").replace("_", "")
    found = difflib.get_close_matches(key, simple, n=1, cutoff=0.6)
    return f'Did you mean "{simple[found[0]]}"' if found else ""


def is_read_only(error):
    """Whether an ``OSError`` says that a place can't be written at all: a disk mounted so, or another's folder."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
