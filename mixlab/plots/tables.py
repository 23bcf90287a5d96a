"""Tables: evaluated runs, scores grouped by protocol for reading, and the same as text ready for a paper."""

import csv
import html
import io
from dataclasses import asdict, fields

from mixlab.plots.evaluated import measures, rules_of
from mixlab.plots.published import SELECTIONS, Score, grouped
from mixlab.plots.seen import tame

PAPER_HEAD = ("Method", "Mixer", "Epochs", "Batch", "Top-1 (%)", "Source", "Note")
FORMS = ("markdown", "latex", "csv")


def evaluation_table(shown):
    """A row per run, a column per measure of the features, in percent, as HTML text; projections are in brackets."""
    names = list(dict.fromkeys(name for one in shown for name, _ in measures(one)))
    head = ["run", "evaluated on", "epochs", *names, "calibration error", "marks"]
    rows = [[one.run.name, one.dataset + rules_of(one, shown), one.record["epochs"], *[_both(one, n) for n in names],
             _percent(_calibration(one)), "; ".join(one.record.get("marks", []))] for one in shown]
    return html_table(head, rows)


def _both(one, name):
    features, projections = (_percent(measures(one).get((name, layer))) for layer in ("encoder", "projection"))
    return features + (f" ({projections})" if projections else "")


def _calibration(one):
    """Of the probe on the features whose predictions are stored."""
    found = {e["probe"]: e["calibration_error"] for e in one.record["probes"] if e["layer"] == "encoder"}
    return found.get(one.record.get("predictions_of"))


def _percent(share):
    return "" if share is None else f"{100 * share:.1f}"


def html_table(head, rows):
    """A table of plain values as HTML; every text is escaped, and wide tables scroll."""
    cells = [f"<th>{html.escape(tame(text))}</th>" for text in head]
    body = ["".join(f"<td>{html.escape(tame(value))}</td>" for value in row) for row in rows]
    lines = "".join(f"<tr>{row}</tr>" for row in body)
    return f'<div style="overflow-x:auto"><table><tr>{"".join(cells)}</tr>{lines}</table></div>'


def markdown(text):
    """Text that a notebook shows as Markdown (IPython Markdown)."""
    from IPython.display import Markdown

    return Markdown(text)


def overview(scores, shown):
    """How many scores there are, of whom, and how many are shown, in words (IPython Markdown)."""
    own = [s for s in scores if s.is_ours]
    if own:
        names = {name for s in own for name in s.source.split(", ")}
        first = f"**Ours:** {len(own)} scores of {len(names)} evaluated runs."
    else:
        first = ("**Ours:** none yet. `make pretrain` trains a run, `papermill notebooks/linear_eval.ipynb out.ipynb` "
                 "evaluates it; then run this notebook again.")
    other = [s for s in scores if not s.is_ours]
    memory = sum(s.source_kind == "memory" for s in other)
    last = f" {memory} of them are quoted from memory and unfit for a paper." if memory else ""
    return markdown(f"{first}\n\n**Published:** {len(other)} scores from {len({s.source for s in other})} places."
                    f"{last} **Shown below:** {len(shown)} in all.")


def marks():
    """What the signs beside numbers mean, as one line."""
    signs = [f"{sign} {meaning}" for sign, meaning in SELECTIONS.values() if sign]
    return "; ".join([*signs, "§ hyper-parameters chosen on the test set", "~ read off a plot", "no sign: last epoch",
                      "ᴸ labels were used in pre-training"])


def grouped_table(scores, height="32em"):
    """Scores as HTML, a heading for each data set, encoder and protocol, the best first, ours in bold."""
    head = ("method", "mixer", "epochs", "batch", "top-1 in %", "source", "caveat")
    lines = ["".join(f"<th style='text-align:left'>{text}</th>" for text in head)]
    for (dataset, encoder, protocol), group in grouped(scores).items():
        title = html.escape(tame(f"{dataset}, {encoder}: {protocol}"))
        lines.append(f"<th colspan='{len(head)}' style='text-align:left;padding-top:1em'>{title}</th>")
        lines += [_line(score) for score in group]
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return (f"<div style='max-height:{height};overflow:auto'><table style='font-size:12px;table-layout:auto'>{rows}"
            "</table></div>"
            f"<p style='font-size:12px'>{html.escape(marks())}. Ours are bold.</p>")


def _line(score):
    cells = (_method(score), score.mixer, _known(score.epochs), _known(score.batch_size), accuracy(score),
             score.source, score.caveat)
    weight = "font-weight:bold;" if score.is_ours else ""
    widths = ["white-space:nowrap"] * 5 + ["min-width:14em", "min-width:24em"]
    return "".join(f"<td style='{weight}text-align:left;{width}'>{html.escape(tame(text))}</td>"
                   for text, width in zip(cells, widths, strict=True))


def _method(score):
    return score.method + (" ᴸ" if score.used_labels else "")


def _known(number):
    return "?" if number is None else str(number)


def accuracy(score):
    """``91.9 ± 0.1 (3 seeds)`` with the marks of its selection."""
    spread = "" if score.spread is None else f" ± {_digits(score.spread)}"
    seeds = f" ({score.seeds} seed{'s' if score.seeds > 1 else ''})" if score.seeds else ""
    return f"{_digits(score.value)}{spread}{score.mark}{seeds}"


def _digits(value):
    """One or two decimals, as most sources give them: no zero is made up."""
    return f"{value:.1f}" if f"{value:.2f}".endswith("0") else f"{value:.2f}"


def paper_table(scores, form="markdown", most=5):
    """The scores as text to paste: ``markdown``, ``latex`` (needs booktabs) or ``csv``.

    Args:
        most: published scores kept of each data set, encoder and protocol, the highest; 0 keeps all. Ours all stay.
    """
    groups = {key: _shortened(group, most) for key, group in grouped(scores).items()}
    return {"markdown": _markdown, "latex": _latex, "csv": _csv}[form](groups)


def _shortened(group, most):
    """``(kept scores, how many published ones were left out)``."""
    kept = [s for s in group if not s.is_ours][:most or None]
    return [s for s in group if s.is_ours or s in kept], sum(not s.is_ours for s in group) - len(kept)


def _title(key, left_out):
    dataset, encoder, protocol = key
    return f"{dataset}, {encoder}: {protocol}" + (f" ({left_out} lower published left out)" if left_out else "")


def _cells(score, caveats):
    source = "ours" if score.is_ours else score.source
    return (_method(score), score.mixer, _known(score.epochs), _known(score.batch_size), accuracy(score), source,
            str(caveats.index(score.caveat) + 1) if score.caveat else "")


def _caveats(groups):
    """The different caveats of all scores, in order: the notes below a table."""
    return list(dict.fromkeys(s.caveat for group, _ in groups.values() for s in group if s.caveat))


def _markdown(groups):
    lines, caveats = [], _caveats(groups)
    for key, (group, left_out) in groups.items():
        lines += ["", f"**{_plain(_title(key, left_out))}**", "", f"| {' | '.join(PAPER_HEAD)} |",
                  "|" + "---|" * len(PAPER_HEAD)]
        lines += ["| " + " | ".join(map(_plain, _cells(score, caveats))) + " |" for score in group]
    notes = [f"{i}. {_plain(text)}" for i, text in enumerate(caveats, start=1)]
    return "\n".join([*lines, "", _plain(marks()), "", *notes]).strip() + "\n"


def _plain(text):
    """Text that Markdown shows as it is."""
    return "".join("\\" + letter if letter in "\\|*_`~$<>[]&" else letter for letter in tame(text))


LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
         "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "†": r"$^\dagger$",
         "‡": r"$^\ddagger$", "ᴸ": r"$^\mathrm{L}$", "<": r"$<$", ">": r"$>$"}


def _escaped(text):
    return "".join(LATEX.get(letter, letter) for letter in text)


def _latex(groups):
    caveats, end = _caveats(groups), r" \\"
    lines = [r"\begin{tabular}{llrrllr}", r"\toprule", " & ".join(map(_escaped, PAPER_HEAD)) + end]
    for key, (group, left_out) in groups.items():
        lines += [r"\midrule", rf"\multicolumn{{7}}{{l}}{{{_escaped(_title(key, left_out))}}}" + end]
        lines += [" & ".join(map(_escaped, _cells(score, caveats))) + end for score in group]
    notes = [rf"\par {i}. {_escaped(text)}" for i, text in enumerate(caveats, start=1)]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\par " + _escaped(marks()), *notes]) + "\n"


def _csv(groups):
    """Every field of every score, so that nothing has to be read out of a symbol."""
    text = io.StringIO()
    names = [*(field.name for field in fields(Score)), "protocol"]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) | {"protocol": score.protocol} for group, _ in groups.values() for score in group)
    return text.getvalue()
