"""The run directories below a folder as a reader sees them now: states, progress, what differs, and what is damaged.

Reading is safe while runs are written, and nothing that lies in a directory makes it fail: a run that cannot be read
is one of the answers.
"""

import html
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt

from mixlab import runs
from mixlab.errors import CheckpointError
from mixlab.plots.style import COLOURS, verbatim
from mixlab.plots.training import draw_curves

FILES = ("params.json", "result.json", "history.jsonl")
SIGNS = (*FILES, "checkpoint.pt")  # a directory with one of these is a run, or what is left of one
ORDER = {"running": 0, "damaged": 2}
TAIL_BYTES = 8192  # of a history, enough for its last row
MAIN = ("method", "mixer", "dataset", "encoder", "epochs", "batch_size", "lr", "seed")  # named first
PLACES = ("runs_dir", "data_dir", "interactive", "fresh")  # where and how a run was started, not what it is
STYLES = ("-", "--", ":")
CSS = {"-": "solid", "--": "dashed", ":": "dotted"}
MOST = len(COLOURS) * len(STYLES)  # curves that can be told apart
DAMAGE = (CheckpointError, OSError, ValueError, TypeError, KeyError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Seen:
    """One run directory at one moment.

    ``state`` is finished, running, unfinished, interrupted, failed or damaged; ``reason`` says why where it is known.
    ``epoch`` and ``knn`` (a fraction) are the last recorded, None before any. ``started`` is when its parameters were
    written, in nanoseconds since 1970; runs of equal ``stamp`` are unchanged.
    """

    run: runs.Run
    state: str
    reason: str
    values: dict
    epoch: int | None
    knn: float | None
    started: int
    stamp: tuple

    @property
    def name(self):
        """The directory's name in one line, without characters that change the direction of what follows."""
        return tame(self.run.name)

    @property
    def progress(self):
        """``3/100``, the epochs done of those asked."""
        return f"{'–' if self.epoch is None else self.epoch}/{tame(self.values.get('epochs', '?'))}"

    @property
    def line(self):
        """The run as one line of a list, which stays as it is while the run trains."""
        live = self.state == "running"
        known = "" if live or self.knn is None else f"kNN {100 * self.knn:.1f} %"
        epochs = f"{tame(self.values.get('epochs', '?'))} epochs" if live else self.progress
        return f"{self.state:<11}  {epochs:<9}  {known:<10}  {self.name}"

    def matches(self, words):
        """Whether every one of the lower-case ``words`` occurs in the state, the name or a ``parameter=value``."""
        text = " ".join([self.state, self.name, *[f"{k}={tame(v)}" for k, v in self.values.items()]]).lower()
        return all(word in text for word in words)


def survey(runs_dir, before=()):
    """All runs below ``runs_dir``: running ones first, then the one started last; damaged ones at the end.

    Args:
        before: what an earlier call returned; runs without a change since are not read again.
    Returns:
        list of ``Seen``; empty where there is no such folder.
    """
    known, folder = {seen.stamp: seen for seen in before}, Path(runs_dir)
    try:
        places = [entry.path for entry in os.scandir(folder) if os.path.isdir(entry.path)]
    except OSError:
        places = []
    stamped = [(_stamp(place), runs.Run(Path(place))) for place in places]
    found = [known.get(stamp) or look(run, stamp) for stamp, run in stamped if stamp]
    return sorted(found, key=lambda seen: (ORDER.get(seen.state, 1), -seen.started, seen.run.name))


def look(run, stamp=()):
    """``run`` as it is now. Whatever is wrong with its directory is in the answer, never an exception."""
    values, epoch, knn, started = {}, None, None, stamp[2][0] if stamp and stamp[2] else 0
    try:
        values = run.params()
        epoch, knn = _last_row(run.path / "history.jsonl")
        state, reason = run.state(), tame(run.result().get("reason", ""))
    except DAMAGE as error:
        state, reason = "damaged", tame(_why(error)).replace(f"{tame(run.path)}/", "")
    return Seen(run, tame(state), reason if state in ("failed", "interrupted", "damaged") else "", values, epoch, knn,
                started, stamp)


def _why(error):
    return f"{Path(error.filename).name}: {error.strerror}" if isinstance(error, OSError) and error.filename else error


def _stamp(place):
    """What changes when a run does: times and sizes of its files, and whether a process holds it; () for no run."""
    stats = [_stat(f"{place}/{name}") for name in SIGNS]
    return (place, _held(place), *stats[:len(FILES)]) if any(stats) else ()


def _held(place):
    try:
        return runs.Run(Path(place)).held()
    except OSError:
        return False


def _stat(path):
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def _last_row(file):
    """Epoch of the last whole row of a history, and the last kNN accuracy among the rows at its end."""
    if not file.exists():
        return None, None
    with open(file, "rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - TAIL_BYTES))
        text = opened.read().decode(errors="replace")
    lines = text.split("\n")[1 if size > TAIL_BYTES else 0:]  # the first may be the end of a row
    rows = _checked(runs.parse_history("\n".join(lines), file.name))
    known = [row["knn_top1"] for row in rows if row.get("knn_top1") is not None]
    return (rows[-1]["epoch"] if rows else None), (known[-1] if known else None)


def _checked(rows):
    """Rows whose epoch, loss and kNN accuracy are numbers or not there."""
    for row in rows:
        for name in ("epoch", "loss", "knn_top1"):
            value = row.get(name)
            if name == "epoch" or value is not None:
                _check_number(name, value)
    return rows


def _check_number(name, value):
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CheckpointError(f"history.jsonl: {name} is {json.dumps(value)[:40]}, not a number.")


def rows_of(seen):
    """The history of a run for its curves: rows with epoch, loss and kNN accuracy; [] where it cannot be read."""
    try:
        rows = _checked(seen.run.history())
    except DAMAGE:
        return []
    return [{name: row.get(name) for name in ("epoch", "loss", "knn_top1")} for row in rows]


def tame(value):
    """``value`` as one line of text: line ends, control characters and marks of direction become visible."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def differing(several):
    """Names of the parameters that are not the same in all of ``several``, the main ones first.

    A parameter that a method does not take, or that an older mixlab did not know, is "–"; damaged runs do not count.
    """
    read = [seen.values for seen in several if seen.values]
    names = dict.fromkeys([*MAIN, *[name for values in read for name in values if name not in PLACES]])
    return [name for name in names if len({_value(values, name) for values in read}) > 1]


def _value(values, name):
    value = values.get(name)
    return "–" if value is None else tame(value)


def labels(several):
    """A short text for each of ``several`` that tells it from the others: as little of what differs as does so."""
    told = [()] * len(several)
    for name in differing(several):
        words = [_value(s.values, name) if name in MAIN[:3] else f"{name} {_value(s.values, name)}" for s in several]
        longer = [before if word.endswith("–") else (*before, word) for before, word in zip(told, words, strict=True)]
        told = longer if len(set(longer)) > len(set(told)) or name in MAIN[:2] else told
    return [", ".join(words) if words and told.count(words) == 1 else seen.name
            for words, seen in zip(told, several, strict=True)]


def runs_table(several, chosen=()):
    """The runs as HTML: colour of their curves, state, progress, last kNN accuracy, and the parameters that differ.

    Args:
        several: list of ``Seen``; the first ``MOST`` have curves.
        chosen: names of directories set in bold.
    """
    names = differing(several)
    lines = [_row("th", ["", "run", "state", "epochs", "kNN %", *map(html.escape, names)])]
    lines += [_row("td", _cells(seen, i, names, seen.run.name in chosen)) for i, seen in enumerate(several)]
    return ("<div style='overflow:auto;max-height:26em'>"
            "<table style='font-size:12px;line-height:1.4;table-layout:auto'>"
            f"{''.join(lines)}</table></div>")


def _row(tag, cells):
    style = "text-align:left;white-space:nowrap;padding:2px 10px 2px 0"
    return f"<tr>{''.join(f'<{tag} style={style!r}>{cell}</{tag}>' for cell in cells)}</tr>"


def _cells(seen, number, names, bold):
    """The cells of one row, as HTML."""
    colour, dash = style_at(number) if number < MOST else ("transparent", "-")
    kind = CSS[dash]
    line = f"<span style='display:inline-block;width:2em;border-top:3px {kind} {colour};vertical-align:middle'></span>"
    reason = f" <span style='opacity:.75'>({html.escape(_short(seen.reason))})</span>" if seen.reason else ""
    name = f"<b>{html.escape(seen.name)}</b>" if bold else html.escape(seen.name)
    name = f"<span style='white-space:normal'>{name}</span>"  # breaks at its hyphens where there is no room
    known = "" if seen.knn is None else f"{100 * seen.knn:.1f}"
    values = [_value(seen.values, n) if seen.values else "?" for n in names]
    return [line, name, html.escape(seen.state) + reason, html.escape(seen.progress), known,
            *[html.escape(_short(value)) for value in values]]


def _short(text, most=90):
    return text if len(text) <= most else text[:most - 1] + "…"


def style_at(number):
    """Colour and line style of the curve with this number, from 0 to below ``MOST``."""
    return COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS)]


def overlay(several):
    """Loss and kNN accuracy of several runs by epoch, a line per run, as far as each has come."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
    drawn = several[:MOST]
    for number, (seen, label) in enumerate(zip(drawn, labels(drawn), strict=True)):
        colour, style = style_at(number)
        draw_curves(left, right, rows_of(seen), colour, verbatim(_short(label, 60)), style)
    if len(drawn) > 1:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=2)
    return figure
