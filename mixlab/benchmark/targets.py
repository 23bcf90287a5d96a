"""What mixlab wants to reach, as data, and whether measured rows hold it."""

from dataclasses import dataclass

from mixlab.benchmark.rows import FASTER, MISSING, Row

HELD, NOT_HELD, NO_PEER, NOT_MEASURED = "held", "not held", "peer missing", "not measured"


@dataclass(frozen=True)
class Target:
    """A bound on one row: the row of these fields has a value of at least, or at most, ``bound``.

    Args:
        claim: the target in words.
        part, arm, against, unit: of the row. case, size, precision: likewise; None for any (the worst counts).
        least: the value must not be below ``bound``; else not above it.
        where: the device that it is about.
    """

    claim: str
    bound: float
    part: str
    arm: str
    unit: str = FASTER
    against: str = ""
    case: str | None = None
    size: int | None = None
    precision: str | None = None
    least: bool = True
    where: str = "cpu"

    def concerns(self, row):
        """Whether ``row`` is what the target is about."""
        same = all(getattr(row, name) == getattr(self, name) for name in ("part", "arm", "unit"))
        free = all(getattr(self, name) in (None, getattr(row, name)) for name in ("case", "size", "precision"))
        return same and free and row.against.startswith(self.against) and row.machine.startswith(self.where)


NTXENT, SUPCON = "lightly NTXent", "metric-learning SupCon"
COST = {"part": "epoch", "arm": "mixlab", "unit": "times the cost of", "least": False}
LOSS = {"part": "loss", "size": 8192}
MEMORY = LOSS | {"unit": "times the memory of", "least": False}
TARGETS = (
    Target("compiled views, against kornia", 3.5, "augmentation", "mixlab compiled", against="kornia"),
    Target("eager views, against kornia", 2.0, "augmentation", "mixlab eager", against="kornia"),
    Target("ResNet-18 step in bf16, 64 x 2 views, against lightly", 1.7, "step", "mixlab", against="lightly",
           case="resnet18", size=64, precision="bf16"),
    *(Target(f"loss at 8,192 in {precision}, {kind} targets, against {peer}", bound, arm=f"mixlab {kind}", against=peer,
             precision=precision, **LOSS)
      for precision, bound in (("fp32", 3.0), ("bf16", 6.0)) for kind in ("hard", "soft") for peer in (NTXENT, SUPCON)),
    *(Target(f"its memory at 8,192 in {precision}, {kind} targets, against {peer}", 0.1, arm=f"mixlab {kind}",
             against=peer, precision=precision, **MEMORY)
      for precision in ("fp32", "bf16") for kind in ("hard", "soft") for peer in (NTXENT, SUPCON)),
    *(Target(f"its memory at 32,768, {kind} targets, in MiB", 300, "loss", f"mixlab {kind}", "MiB", size=32768,
             least=False) for kind in ("hard", "soft")),
    Target("a loss of 65,536 works (bf16, ms)", 0, "loss", "mixlab soft", "ms", size=65536, precision="bf16"),
    Target("kNN, against scikit-learn", 2.5, "neighbours", "mixlab", against="scikit-learn"),
    Target("cost of a view as the batch grows", 1.1, case="cost of a view by batch size", **COST),
    Target("cost of a view as the data set grows", 1.1, case="cost of a view by data set", **COST),
    Target("the same without encoder and loss", 1.1, case="cost of a view by data set, batches only", **COST),
    Target("ResNet-18, seconds per epoch of CIFAR with two views", 1.7, "epoch", "mixlab", "s", case="resnet18, CIFAR",
           least=False, where="cuda"),
    Target("ResNet-50 against its memory floor", 0.5, "floors", "mixlab", "times the rate of", case="resnet50",
           against="memory floor", where="cuda"),
)


@dataclass(frozen=True)
class Verdict:
    """A target, whether it is held, and the row that decided; None if there is none."""

    target: Target
    verdict: str
    row: Row | None


def verdicts(rows, targets=TARGETS):
    """A ``Verdict`` for every target: its worst row decides."""
    return [_verdict(target, rows) for target in targets]


def _verdict(target, rows):
    found = [row for row in rows if target.concerns(row) and row.value is not None and row.value == row.value]
    if not found:
        absent = {row.arm for row in rows if row.part == target.part and row.unit == MISSING}
        return Verdict(target, NO_PEER if target.against in absent else NOT_MEASURED, None)
    worst = (min if target.least else max)(found, key=lambda row: row.value)
    held = worst.value >= target.bound if target.least else worst.value <= target.bound
    return Verdict(target, HELD if held else NOT_HELD, worst)


def targets_table(rows, targets=TARGETS):
    """The verdicts as Markdown, one line a target: what was measured, its spread, what was wanted."""
    lines = ["| target | wanted | measured | spread over rounds | verdict |", "| --- | ---: | ---: | ---: | --- |"]
    for one in verdicts(rows, targets):
        sign = "at least" if one.target.least else "at most"
        value, spread = ("", "") if one.row is None else (f"{one.row.value:.3g}", _spread(one.row))
        lines.append(f"| {one.target.claim}{' (on a GPU)' * (one.target.where == 'cuda')} | {sign} "
                     f"{one.target.bound:g} | {value} | {spread} | {one.verdict} |")
    return "\n".join(lines)


def _spread(row):
    return "" if row.low is None else f"{row.low:.3g} to {row.high:.3g} ({row.rounds})"
