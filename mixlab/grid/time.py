"""How long a grid will still take: what was measured, with its spread, and nothing before there is a measurement."""

import heapq
import statistics

OVERDUE = 0.1  # of the mean: what a cell that has taken longer than it is taken to need still


def remaining(durations, waiting, elapsed, processes):
    """The estimate as text, e.g. ``about 12 min (9 to 15 min, from 5 cells)``.

    Cells are taken to be alike, and each waiting one starts in the process that is free first. The range is two
    standard deviations of the sum of what is left, with the error of the measured mean in it; one measurement has no
    spread.
    Args:
        durations: seconds that finished cells took.
        waiting: number of cells not started.
        elapsed: seconds that each cell now at work has taken so far.
        processes: cells at work at once; None where a cluster's queue decides.
    """
    if processes is None and (waiting or elapsed):
        return f"{waiting + len(elapsed)} cells, as fast as the queue takes them"
    if not waiting and not elapsed:
        return "nothing"
    if not durations:
        return "unknown: no cell has been measured from start to end yet"
    mean, count = statistics.fmean(durations), waiting + len(elapsed)
    middle = _until_last(mean, waiting, elapsed, processes)
    if len(durations) == 1:
        return f"about {in_words(middle)} (from one cell, spread unknown)"
    error = statistics.stdev(durations) * (count + count**2 / len(durations)) ** 0.5 / min(processes, count)
    low, high = in_words(max(middle - 2 * error, 0)), in_words(middle + 2 * error)
    return f"about {in_words(middle)} ({low} to {high}, from {len(durations)} cells)"


def _until_last(mean, waiting, elapsed, processes):
    """Seconds until the last of the cells ends, if each takes ``mean``."""
    ends = [max(mean - passed, OVERDUE * mean) for passed in elapsed] + [0.0] * (processes - len(elapsed))
    heapq.heapify(ends)
    for _ in range(waiting):
        heapq.heapreplace(ends, ends[0] + mean)
    return max(ends)


def in_words(seconds):
    """``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
