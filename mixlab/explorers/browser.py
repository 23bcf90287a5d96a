"""The run browser: which runs there are, how they differ, their curves over each other, and running ones live."""

import asyncio
import html

from mixlab import data, plots
from mixlab.explorers.place import is_interactive
from mixlab.explorers.results import QUIET
from mixlab.plots.seen import DAMAGE, MOST, labels, rows_of, style_at

FIRST = 8  # runs shown before anybody has picked any
LISTED = 10  # lines of the list that are visible at once
BUTTONS = ["toImage", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]
SECONDS = 1.0  # between two looks at the folder
DASHES = {"-": "solid", "--": "dash", ":": "dot"}
STYLE = "<style>.mixlab-runs select{font-family:var(--jp-code-font-family,monospace);font-size:12px}</style>"


def run_browser(params, chosen=(), every=SECONDS):
    """The runs below ``params.runs_dir``: a list to pick from, their curves, what differs; running ones are followed.

    Args:
        params: ``runs_dir`` and ``interactive`` are read.
        chosen: runs (``runs.Run``) shown first, in bold; newer ones join them.
        every: seconds between two looks at the folder.
    Returns:
        widgets where a person is in Lab; else a table as HTML, and the curves as a figure.
    """
    folder = data.resolve(params.runs_dir)
    if is_interactive(params):
        browser = Browser(folder, chosen, every)
        browser.start()
        return browser.view
    from IPython.display import HTML
    found = plots.survey(folder)
    shown = first_shown(found, chosen)
    if shown:
        plots.overlay(shown)
    return HTML(f"<p>{html.escape(summary(found, folder))}</p>{plots.runs_table(shown, names_of(chosen))}")


def names_of(chosen):
    return {run.name for run in chosen}


def first_shown(found, chosen):
    """The chosen runs, then running ones and the newest, damaged ones last: at most ``FIRST``, or all chosen ones."""
    names = names_of(chosen)
    order = sorted(found, key=lambda seen: (seen.run.name not in names, seen.state == "damaged"))
    return order[:max(FIRST, len(names))]


def summary(found, folder):
    """``3 runs in runs: 1 running, 2 finished``."""
    states = [seen.state for seen in found]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    where = plots.tame(folder)
    return f"{len(found)} run{'s' * (len(found) != 1)} in {where}: {counts}." if found else f"No runs in {where} yet."


class Browser:
    """The widgets of the run browser (``view``) and what they show; ``refresh`` looks at the folder again."""

    def __init__(self, folder, chosen=(), every=SECONDS):
        self.folder, self.chosen, self.every = folder, names_of(chosen), every
        self.found, self.shown, self.rows, self.task = plots.survey(folder), [], {}, None
        self.picked = [seen.run.name for seen in first_shown(self.found, chosen)]
        self._make_widgets()
        self.list.observe(self.pick, "value")
        self.offer()
        self.show()
        self.filter.observe(lambda _: self.offer(), "value")
        self.follow.observe(lambda _: self.start() if self.follow.value else self.stop(), "value")

    def _make_widgets(self):
        import ipywidgets as widgets

        from mixlab.explorers.panes import Width
        from mixlab.explorers.still import Still

        self.filter = widgets.Text(placeholder="name, state or parameter=value", description="filter",
                                   layout={"width": "24em"}, style={"description_width": "3em"})
        self.follow = widgets.ToggleButton(value=True, description="follow", icon="refresh",
                                           tooltip="Look at the folder every second", layout={"width": "7em"})
        self.list = widgets.SelectMultiple(rows=LISTED, layout={"width": "99%"})
        self.list.add_class("mixlab-runs")
        self.said, self.table, self.figure = widgets.HTML(), widgets.HTML(layout={"width": "99%"}), curves_figure()
        self.width = Width()
        self.view = Still([widgets.HTML(STYLE), widgets.HBox([self.filter, self.follow]), self.list, self.said,
                           self.width, self.figure, self.table], self.still)
        self.width.observe(lambda change: self.fit(change.new), "width")

    def still(self):
        """The curves, as far as the runs shown have come by now."""
        from mixlab.explorers.still import of_figure

        return of_figure(plots.overlay(self.shown)) if self.shown else {}

    def fit(self, width):
        """Gives the curves all the width that there is."""
        if width > 0:  # else nobody sees it
            self.figure.layout.width = width

    def refresh(self):
        """Looks at the folder; list, curves and table change where a run did."""
        before, self.found = self.found, plots.survey(self.folder, self.found)
        if self.found != before:
            self.offer()
            self.show()

    def offer(self):
        """Puts the runs that the filter leaves into the list; what was picked stays picked, and listed."""
        words = self.filter.value.lower().split()
        kept = [s for s in self.found if s.matches(words) or s.run.name in self.picked]
        options = [(s.line, s.run.name) for s in kept]
        if options != list(self.list.options):
            self.list.unobserve(self.pick, "value")  # new options empty the value, which is not a person's doing
            self.list.options = options
            self.list.value = [name for _, name in options if name in self.picked]
            self.list.observe(self.pick, "value")
        listed = f" {len(kept)} listed." if len(kept) < len(self.found) else ""
        hint = " Ctrl or Cmd and a click picks one more, Shift a range." if self.found else ""
        self.list.rows = max(3, min(LISTED, len(options)))
        self.say(summary(self.found, self.folder) + listed + hint)

    def say(self, text):
        """Shows a line of text under the list."""
        text = html.escape(plots.tame(text))
        self.said.value = f"<div style='font-size:12px;line-height:1.4;overflow-wrap:anywhere'>{text}</div>"

    def pick(self, _=None):
        """Takes over what a person picked in the list, in the order of picking."""
        now = list(self.list.value)
        self.picked = [n for n in self.picked if n in now] + [n for n in now if n not in self.picked]
        self.show()

    def show(self):
        """Draws the picked runs, if they are not what is drawn already."""
        found = {seen.run.name: seen for seen in self.found}
        shown = [found[name] for name in self.picked if name in found]
        if shown != self.shown:
            self.rows = {s.stamp: self.rows.get(s.stamp) or rows_of(s) for s in shown[:MOST]}
            fill(self.figure, shown[:MOST], list(self.rows.values()))
            self.shown, self.table.value = shown, plots.runs_table(shown, self.chosen) if shown else ""

    def start(self):
        """Follows the folder from now on, in the kernel's own loop, between cells; without a kernel nothing follows."""
        self.stop()
        try:
            self.task = asyncio.get_running_loop().create_task(self._follow())
        except RuntimeError:
            self.follow.value = False

    def stop(self):
        """Ends following."""
        if self.task:
            self.task.cancel()
        self.task = None

    async def _follow(self):
        """Looks again every so often, until it is cancelled or the widgets are closed."""
        while self.view.comm is not None:
            try:
                self.refresh()
            except DAMAGE as error:
                self.say(f"Could not look: {error}")
            await asyncio.sleep(self.every)


def curves_figure():
    """An empty figure of loss and kNN accuracy by epoch, with as many pairs of traces as there are line styles."""
    import plotly.graph_objects as go

    traces = [go.Scatter(mode="lines+markers", visible=False, xaxis=f"x{side}", yaxis=f"y{side}", marker={"size": 4},
                         line={"color": style_at(i)[0], "dash": DASHES[style_at(i)[1]]},
                         hovertemplate="%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>")
              for side in ("", "2") for i in range(MOST)]
    figure = go.FigureWidget(traces)
    figure._config = figure._config | QUIET | {"modeBarButtonsToRemove": BUTTONS}
    figure.update_layout(height=330, margin={"l": 55, "r": 10, "t": 30, "b": 45}, showlegend=False,
                         template="plotly_white", hovermode="closest", uirevision="kept",
                         grid={"rows": 1, "columns": 2, "pattern": "independent", "xgap": 0.18},
                         annotations=[_heading(0, "Loss (mean over the epoch)"), _heading(0.59, "Weighted kNN, in %")])
    figure.update_layout({axis: {"title": "epoch", "rangemode": "tozero"} for axis in ("xaxis", "xaxis2")})
    return figure


def _heading(at, text):
    return {"text": text, "x": at, "y": 1.1, "xref": "paper", "yref": "paper", "showarrow": False, "xanchor": "left"}


def fill(figure, several, histories):
    """Draws the ``histories`` of ``several`` (``plots.Seen``, at most ``MOST``); texts for the pointer are escaped."""
    texts = [html.escape(label) for label in labels(several)]
    with figure.batch_update():
        for side, (name, scale) in enumerate((("loss", 1), ("knn_top1", 100))):
            for i, trace in enumerate(figure.data[side * MOST:(side + 1) * MOST]):
                rows = [r for r in histories[i] if r[name] is not None] if i < len(several) else []
                if rows or trace.visible:
                    trace.x, trace.y = [r["epoch"] for r in rows], [scale * r[name] for r in rows]
                    trace.text, trace.visible = texts[i] if rows else "", bool(rows)
        few = max([rows[-1]["epoch"] for rows in histories if rows], default=0) <= 10
        figure.layout.xaxis.dtick = figure.layout.xaxis2.dtick = 1 if few else None
