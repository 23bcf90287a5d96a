"""How much memory this process may still take: the machine's, its control groups' and its own limit."""

import os
from pathlib import Path

CGROUPS, PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self")


def available():
    """Bytes that this process can still take before the system would refuse or kill it; None where nobody tells.

    The least of what the machine has free, what each Linux control group above the process leaves (pages of files
    that can be dropped count as free), and what ``ulimit -v`` leaves.
    """
    found = [_machine(), *_groups(), _address_space()]
    return min((max(0, left) for left in found if left is not None), default=None)


def in_words(size):
    """A number of bytes for people: ``4.6 GiB``."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1024:,.1f} KiB"


def _machine():
    try:
        import psutil  # not needed where only mixlab.train runs
    except ImportError:
        return _meminfo()
    return psutil.virtual_memory().available


def _meminfo():
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _groups():
    """What each control group leaves that holds this process: version 2, or the memory controller of version 1."""
    for line in _lines(PROCESS / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = CGROUPS / "memory" if controllers else CGROUPS
        names = ("limit_in_bytes", "usage_in_bytes") if controllers else ("max", "current")
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            yield _left(folder, *names)
            if folder == top:
                break


def _left(folder, limit, usage):
    limit, used = (_number(folder / f"memory.{name}") for name in (limit, usage))
    if limit is None or used is None:  # no limit ("max"), or not to be read from here
        return None
    statistics = dict(line.split(maxsplit=1) for line in _lines(folder / "memory.stat"))
    return limit - used + int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))


def _address_space():
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _number(PROCESS / "statm")
    if limit == resource.RLIM_INFINITY or pages is None:
        return None
    return limit - pages * os.sysconf("SC_PAGE_SIZE")


def _number(file):
    """The first number of a file, or None."""
    words = " ".join(_lines(file)[:1]).split()
    return int(words[0]) if words and words[0].isdecimal() else None


def _lines(file):
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system, or no such group here
        return []
