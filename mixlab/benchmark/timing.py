"""Times of several arms of one comparison, taken in turn in one process, and what follows from them."""

import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass

import torch

FEWEST_ROUNDS = 3
LONG = 10  # turns: of a call that takes so long little is a warm-up


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to do the work of a comparison.

    Args:
        name: who does it, e.g. ``mixlab`` or ``lightly``.
        call: does the work once.
        work: units of it in one call, e.g. views.
        precision: of its arithmetic.
        cold: its first call compiles or loads something.
    """

    name: str
    call: object
    work: float = 1
    precision: str = "fp32"
    cold: bool = False


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of work of one arm, one entry per round; by the clock of the comparison, and by the wall's."""

    arm: str
    precision: str
    seconds: tuple
    wall: tuple

    @property
    def median(self):
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Pace:
    """How a comparison is timed.

    Args:
        threads: that the arms may use.
        device: ``cpu`` or ``cuda``.
        rounds: in each of which every arm has its turn.
        budget: seconds that the rounds may take together; from there on only ``FEWEST_ROUNDS`` are made.
        least: seconds of a turn; a faster arm is called several times.
        warm: call an arm before the first round, unless its calls are long.
    """

    threads: int = 1
    device: str = "cpu"
    rounds: int = 5
    budget: float = 30.0
    least: float = 0.2
    warm: bool = True

    @property
    def clock(self):
        """``cpu`` counts what one thread computes, whoever else is on the machine; several threads need the wall's."""
        return "cpu" if self.threads == 1 and self.device == "cpu" else "wall"


@contextmanager
def limited(threads):
    """torch and the numerical libraries loaded so far work on so many threads, for as long as the context lasts."""
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def interleave(arms, pace, clocks=None):
    """Calls the arms in turn, round after round, each round starting with another; a list of ``Timing``.

    Args:
        clocks: function giving (seconds of the comparison's clock, wall seconds); None for those of ``pace``.
    """
    clocks = clocks or (lambda: _clocks(pace))
    with limited(pace.threads):
        once = _warmed(arms, pace, clocks) if pace.warm else [(1.0, 1.0)] * len(arms)
        calls = [max(1, round(pace.least / max(wall, 1e-9))) for _, wall in once]
        turns = [[turn] if pace.warm and max(calls) == 1 else [] for turn in once]  # a call that is a turn counts
        for number in range(len(turns[0]), _rounds(once, calls, pace)):
            for i in [(number + shift) % len(arms) for shift in range(len(arms))]:
                turns[i].append(_turn(arms[i], calls[i], clocks))
    return [_timing(arm, turn, n) for arm, turn, n in zip(arms, turns, calls, strict=True)]


def _warmed(arms, pace, clocks):
    """The turn of each arm's second call, or of its first if that is long, and on a CPU not a cold one."""
    first = [_turn(arm, 1, clocks) for arm in arms]
    settled = [pace.device == "cpu" and not arm.cold and turn[1] > LONG * pace.least
               for arm, turn in zip(arms, first, strict=True)]
    return [turn if done else _turn(arm, 1, clocks) for arm, turn, done in zip(arms, first, settled, strict=True)]


def _rounds(once, calls, pace):
    one = sum(wall * n for (_, wall), n in zip(once, calls, strict=True))
    few = FEWEST_ROUNDS if pace.warm else 1
    return min(pace.rounds, max(few, int(pace.budget / max(one, 1e-9))))


def _clocks(pace):
    if pace.device == "cuda":
        torch.cuda.synchronize()
    wall = time.perf_counter()
    return time.process_time() if pace.clock == "cpu" else wall, wall


def _turn(arm, calls, clocks):
    """Seconds (by the clock, by the wall) of so many calls."""
    before = clocks()
    for _ in range(calls):
        arm.call()
    after = clocks()
    return after[0] - before[0], after[1] - before[1]


def _timing(arm, turns, calls):
    own, wall = (tuple(turn[i] / calls / arm.work for turn in turns) for i in (0, 1))
    return Timing(arm.name, arm.precision, own, wall)


def ratios(ours, theirs):
    """How many times as long ``theirs`` took as ``ours``, round by round."""
    return tuple(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))


def summary(values):
    """(median, lowest, highest)."""
    return statistics.median(values), min(values), max(values)
