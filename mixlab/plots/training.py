"""Pictures of one or several runs: curves, and the result as a table."""

import html
import re

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb

from mixlab.plots.style import COLOURS, verbatim


def curves(runs):
    """Loss and kNN accuracy by epoch, a line per run; a dotted line marks each run's untrained encoder."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for run, colour in zip(runs, _cycle(len(runs)), strict=True):
        draw_curves(left, right, run.history(), colour, verbatim(run.name) if len(runs) > 1 else None)
    if len(runs) > 1:
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    return figure


def draw_curves(left, right, history, colour=COLOURS[0], label=None, line="-"):
    """Draws one history into two axes: loss on the left, kNN accuracy in percent on the right."""
    trained = [row for row in history if row["loss"] is not None]
    left.plot([r["epoch"] for r in trained], [r["loss"] for r in trained], f"o{line}", ms=3, color=colour, label=label)
    left.set(xlabel="epoch", ylabel="loss", title="Loss (mean over the epoch)")
    known = [row for row in history if row.get("knn_top1") is not None]
    right.plot([r["epoch"] for r in known], [100 * r["knn_top1"] for r in known], f"o{line}", ms=3, color=colour)
    if known and known[0]["epoch"] == 0:
        right.axhline(100 * known[0]["knn_top1"], ls=":", color=colour)
    right.set(xlabel="epoch", ylabel="top-1 accuracy in %", title="Weighted kNN on features (dotted: untrained)")
    for ax in (left, right):
        ax.grid(alpha=0.3)
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def _cycle(count):
    return [to_rgb(COLOURS[i % len(COLOURS)]) for i in range(count)]


def summary(run):
    """The result of a run as a small table for a notebook (IPython Markdown)."""
    from IPython.display import Markdown

    result, values = run.result(), run.params()
    asked = f"{result['knn_split']} images, k = {result['knn_k']}"
    rows = [("run", run.name), ("where", run.path), ("status", result["status"]),
            ("method, mixer", f"{values['method']}, {values['mixer']}"),
            ("data", f"{values['dataset']}, {result['train_images']:,} training images, seed {values['seed']}"),
            (f"kNN top-1 ({asked})", _percent(result["knn_top1"])),
            ("the same, untrained", _percent(result["knn_top1_untrained"])),
            ("time", f"{result['seconds']:.0f} s in training steps on {result['device']}, {result['threads']} threads"),
            ("made by", ", ".join(f"{k} {v}" for k, v in result["versions"].items()))]
    return Markdown("\n".join(["| | |", "|---|---|", *[f"| {_text(a)} | {_text(b)} |" for a, b in rows]]))


def _percent(share):
    return "not measured" if share is None else f"{100 * share:.1f} %"


def _text(value):
    """Text that Markdown shows as it is, in one line."""
    text = html.escape("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value)), quote=False)
    return re.sub(r"[\\|*`$\[\]]", lambda found: f"&#{ord(found.group())};", text)
