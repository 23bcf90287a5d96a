"""What mixing does to an accuracy: differences between runs and their unmixed relatives, paired by seed."""

import statistics
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Effect:
    """The mean of paired differences in accuracy, as fractions, with Student's interval; None where n is below 2.

    ``wide`` is the interval that holds for all ``comparisons`` at once (Bonferroni).
    """

    mean: float
    n: int
    interval: tuple | None
    wide: tuple | None
    comparisons: int = 1


def mean_and_spread(group):
    """Mean and standard deviation over seeds of accuracies, as fractions; None for the spread of one."""
    values = [one.top1 for one in group]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def effect(pairs, comparisons=1):
    """The ``Effect`` of mixing from pairs (run, unmixed run of the same seed).

    The interval is Student's for the mean of the differences: (W. S. Gosset, 1908) mean ± t(n - 1) sd / sqrt(n).
    Args:
        comparisons: how many effects are looked at together, for the wide interval.
    """
    differences = [made.top1 - other.top1 for made, other in pairs]
    mean, n = statistics.fmean(differences), len(differences)
    if n < 2:
        return Effect(mean, n, None, None, comparisons)
    error = statistics.stdev(differences) / n**0.5
    intervals = [_interval(mean, error, n, 1 - (1 - CONFIDENCE) / m) for m in (1, comparisons)]
    return Effect(mean, n, *intervals, comparisons)


def _interval(mean, error, n, confidence):
    from scipy.stats import t
    half = t.ppf(0.5 + confidence / 2, n - 1) * error
    return mean - half, mean + half


def effects_of(panel, comparisons):
    """``{spot: Effect}`` of the spots that have at least one pair of seeds."""
    pairs = {spot: panel.pairs(spot) for spot in panel.spots}
    return {spot: effect(found, comparisons) for spot, found in pairs.items() if found}


def comparisons(results):
    """How many effects all panels of a grid show together."""
    return sum(bool(panel.pairs(spot)) for panel in results.panels for spot in panel.spots)
