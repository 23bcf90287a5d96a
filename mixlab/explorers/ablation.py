"""The explorer of a grid: a heat map that tells about a spot when pointed at, and opens its runs when clicked."""

import base64
import html

import numpy as np

from mixlab import plots
from mixlab.explorers.ablation_page import write_ablation_page
from mixlab.explorers.linked import in_plot
from mixlab.explorers.place import is_interactive
from mixlab.explorers.results import QUIET, WIDE
from mixlab.explorers.spots import (
    HEAD,
    Strips,
    curves_of,
    effect_in_words,
    facts_of,
    nearby,
    picture,
    spots_of,
    table_of,
)
from mixlab.files import can_be_written
from mixlab.plots.tables import html_table

HINT = "Point at a square: its runs, curves and mixtures. Click it to open a run."


def ablation(params, results):
    """The heat map of a grid with what is behind each of its squares.

    Args:
        params: ``interactive`` is read.
        results: ``plots.grid_results(...)``.
    Returns:
        widgets where a person is in Lab; else a line that says where the self-contained page was written.
    """
    from IPython.display import HTML

    if not is_interactive(params):
        if results.params.folder.is_dir() and not can_be_written(results.params.folder):
            return HTML(f"<p>{len(results.made)} runs to look into; their page is not kept.</p>")
        place = html.escape(nearby(write_ablation_page(results)))
        return HTML(f"<p>{len(results.made)} runs to look into, in one file: <code>{place}</code></p>")
    if not results.panels:
        return HTML("<p>No run of this grid is finished and evaluated yet.</p>")
    return Explorer(results).box


class Explorer:
    """Widgets for the panels of a grid: choice of panel, heat map, what a pointer is at, and the opened run."""

    def __init__(self, results):
        import ipywidgets as widgets

        from mixlab.explorers.still import Still, of_figure

        self.results, self.strips, self.seen = results, Strips(), {}
        self.spots, self.opened = [], None
        options = [(panel.title, i) for i, panel in enumerate(results.panels)]
        self.panel = widgets.Dropdown(options=options, description="panel", style=WIDE["style"],
                                      layout={"width": "60em"})
        self.figure = heat_map()
        self.told, self.facts = widgets.HTML(f"<p>{HINT}</p>"), widgets.HTML()
        self.run = widgets.Dropdown(description="run", style=WIDE["style"], layout={"width": "60em", "display": "none"})
        self.panel.observe(lambda _: self.show(), "value")
        self.run.observe(lambda _: self.open(), "value")
        self.figure.data[0].on_hover(lambda trace, points, state: self.tell(self.at(points)))
        self.figure.data[0].on_click(lambda trace, points, state: self.offer(self.at(points)))
        self.show()
        choice = [self.panel] if len(options) > 1 else []
        self.box = Still([*choice, self.figure, self.told, self.run, self.facts],
                         lambda: of_figure(plots.heat_map(results)))

    def show(self):
        """Draws the chosen panel."""
        panel = self.results.panels[self.panel.value]
        self.spots = spots_of(panel, plots.comparisons(self.results))
        scale = plots.colours_of(self.results, panel)
        fill(self.figure, panel, self.spots, (scale.vmin, scale.vmax))

    def at(self, points):
        """The spot that the pointer is at, or None."""
        if not points.xs or not points.ys:
            return None
        row, column = rows_of(self.spots)[round(points.ys[0])], round(points.xs[0])
        names = columns_of(self.spots)
        return next((s for s in self.spots if s.row == row and s.column in (None, names[column])), None)

    def tell(self, spot):
        """Shows the runs, curves and mixtures of ``spot``; what was made once is kept."""
        if spot is not None:
            if spot.title not in self.seen:
                self.seen[spot.title] = about(spot, self.strips)
            self.told.value = self.seen[spot.title]

    def offer(self, spot):
        """Opens the first run of ``spot``, and offers its others."""
        if spot is None or not spot.runs:
            return
        self.opened = spot
        self.tell(spot)
        self.run.options = [(made.run.name, i) for i, made in enumerate(spot.runs)]
        self.run.index, self.run.layout.display = 0, None
        self.open()

    def open(self):
        """Shows the summary of the chosen run."""
        if self.opened is not None and self.run.value is not None:
            self.facts.value = opened(self.opened.runs[self.run.value])


def rows_of(spots):
    return list(dict.fromkeys(spot.row for spot in spots))


def columns_of(spots):
    """Labels of the columns; one without a name where no spot has any."""
    return list(dict.fromkeys(spot.column for spot in spots if spot.column is not None)) or [None]


def heat_map():
    """An empty heat map with no button that sends it elsewhere."""
    import plotly.graph_objects as go

    trace = go.Heatmap(colorscale="cividis", xgap=2, ygap=2, hoverinfo="text", texttemplate="%{text}",
                       hoverongaps=False, colorbar={"title": "top-1 in %"})
    figure = go.FigureWidget(trace)
    figure._config = figure._config | QUIET
    figure.update_layout(template="plotly_white", margin={"l": 140, "r": 20, "t": 50, "b": 50}, dragmode=False)
    return figure


def fill(figure, panel, spots, limits):
    """Draws ``spots`` into ``figure``; a spot without a column fills its row. Labels are escaped."""
    rows, columns = rows_of(spots), columns_of(spots)
    means = np.full((len(rows), len(columns)), np.nan)
    texts = [["" for _ in columns] for _ in rows]
    for spot in spots:
        y = rows.index(spot.row)
        here = range(len(columns)) if spot.column is None else [columns.index(spot.column)]
        for x in here:
            means[y, x] = np.nan if spot.mean is None else spot.mean
            texts[y][x] = in_plot(spot.text)
    with figure.batch_update():
        trace = figure.data[0]
        trace.z, trace.text, trace.zmin, trace.zmax = means, texts, *limits
        trace.x, trace.y = list(range(len(columns))), list(range(len(rows)))
        figure.update_xaxes(tickvals=list(range(len(columns))), title=in_plot(panel.names[1]), fixedrange=True,
                            ticktext=["" if name is None else in_plot(name) for name in columns])
        figure.update_yaxes(tickvals=list(range(len(rows))), ticktext=[in_plot(row) for row in rows],
                            title=in_plot(panel.names[0]), autorange="reversed", fixedrange=True)
        figure.update_layout(title=in_plot(panel.title, 120), width=240 + 150 * max(len(columns), 2),
                             height=130 + 46 * len(rows))


def about(spot, strips):
    """HTML of what is behind a spot: effect, runs, curves and mixtures."""
    rows = html_table(HEAD, table_of(spot))
    address = picture(spot, strips)
    curves = base64.b64encode(curves_of(spot)).decode() if spot.runs else ""
    pictures = [f'<img alt="mixtures" src="{address}">' if address else "",
                f'<img alt="curves" src="data:image/png;base64,{curves}">' if curves else ""]
    title, words = html.escape(plots.tame(f"{spot.title}: {spot.text}")), html.escape(effect_in_words(spot.effect))
    return (f"<h4>{title}</h4><p>{words}</p>{rows}"
            f"<div style='display:flex;flex-direction:column;gap:6px'>{''.join(pictures)}</div>")


def opened(made):
    """HTML of the summary of one run."""
    rows = "".join(f"<tr><th style='text-align:left;padding-right:1em'>{html.escape(what)}</th>"
                   f"<td>{html.escape(plots.tame(text))}</td></tr>" for what, text in facts_of(made))
    return f"<table>{rows}</table>"
