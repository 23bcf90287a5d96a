"""Measurements as tidy rows: one row, one number, with everything needed to read it; and the CSV that holds them."""

import csv
import io
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from mixlab import runs
from mixlab.benchmark.peers import versions_of_peers
from mixlab.benchmark.timing import ratios, summary
from mixlab.errors import DataError
from mixlab.files import write

OURS, FASTER, MISSING = "mixlab", "times as fast as", "missing"
NUMBERS = {"size": int, "threads": int, "rounds": int, "value": float, "low": float, "high": float, "wall": float}


@dataclass(frozen=True)
class Row:
    """One measurement.

    Args:
        part: of the benchmark, e.g. ``loss``.
        case: what was done, e.g. ``resnet18`` or ``hard targets``.
        size: of the batch, the bank, the data set.
        arm: who did it; ``against`` whom, where the value is a ratio.
        precision: ``fp32`` or ``bf16``.
        threads: used.
        value: the median over ``rounds``, between ``low`` and ``high``; None if there is none, and ``unit`` says why.
        unit: e.g. ``views/s``, ``ms``, ``MiB``, ``times as fast as``; or ``missing``: the peer is not installed.
        clock: ``cpu`` seconds or ``wall`` seconds were counted; empty for what is not a time, ``counted`` or
            ``derived`` for what is.
        wall: the same median by the wall clock, for times.
        machine, versions: what it ran on, and with.
    """

    part: str
    case: str
    size: int
    arm: str
    value: float | None
    unit: str
    against: str = ""
    precision: str = "fp32"
    threads: int = 1
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    clock: str = ""
    wall: float | None = None
    machine: str = ""
    versions: str = ""


def rows_of(part, case, size, timings, pace, unit="ms"):
    """A row for each timing, and one for each peer that says how many times as fast each of our arms is.

    Args:
        timings: ours have names that start with ``mixlab``.
        unit: ``ms`` per unit of work, or units of work per second (any unit that ends in ``/s``).
    """
    about = {"part": part, "case": case, "size": size, "threads": pace.threads, "clock": pace.clock}
    ours = [t for t in timings if is_ours(t.arm)]
    for t in timings:
        value, low, high = summary([_in_unit(s, unit) for s in t.seconds])
        yield Row(**about, arm=t.arm, precision=t.precision, value=value, low=low, high=high, unit=unit,
                  rounds=len(t.seconds), wall=summary([_in_unit(s, unit) for s in t.wall])[0])
    for own, other in ((o, t) for o in ours for t in timings if not is_ours(t.arm)):
        value, low, high = summary(ratios(own, other))
        yield Row(**about, arm=own.arm, against=other.arm, precision=own.precision, value=value, low=low, high=high,
                  unit=FASTER, rounds=len(own.seconds), wall=summary(other.wall)[0] / summary(own.wall)[0])


def is_ours(arm):
    return arm.startswith(OURS)


def _in_unit(seconds, unit):
    return 1 / seconds if unit.endswith("/s") else 1e3 * seconds


def stamped(rows, device):
    """Yields the rows with the machine and the versions that made them."""
    machine = f"{runs.device_name(torch.device(device))}, {os.cpu_count()} cores"
    versions = " ".join(f"{name}={value}" for name, value in (runs.versions() | versions_of_peers()).items())
    yield from (replace(row, machine=machine, versions=versions) for row in rows)


def in_words(row):
    """One line for a person."""
    what = f"{row.part:<17}{row.case}, {row.size:,}, {row.arm} {row.precision}"
    if row.value is None:
        return f"{what}: {row.unit}"
    spread = "" if row.low is None or row.rounds < 2 else f" ({_short(row.low)} to {_short(row.high)})"
    return f"{what}: {_short(row.value)} {f'{row.unit} {row.against}'.strip()}{spread}"


def _short(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def save(path, rows):
    """Writes the rows as CSV. Rows of other parts and of other machines that the file holds already stay in it."""
    path = Path(path)
    measured = {(row.part, row.machine) for row in rows}
    kept = [row for row in read(path) if (row.part, row.machine) not in measured] if path.exists() else []
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in asdict(row).items()} for row in [*kept, *rows])
    write(path, text.getvalue())


def read(path):
    """The rows of a CSV that ``save`` wrote.

    Raises:
        DataError: it holds something else.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [Row(**{name: _typed(name, text) for name, text in line.items()}) for line in csv.DictReader(file)]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: measurements as python -m mixlab.benchmark writes them; got {error}. "
                        "Move the file away and measure again.") from error


def _typed(name, text):
    if name not in NUMBERS:
        return text
    return NUMBERS[name](text) if text else None
