"""The plotly figure of an embedding explorer: one map beside another, and what a pointer does on them."""

import anywidget
import numpy as np
import plotly.graph_objects as go
from traitlets import Int, observe

from mixlab.explorers.linked import headline, in_plot, verdict
from mixlab.explorers.results import QUIET

BUTTONS = ["toImage", "autoScale2d", "zoomIn2d", "zoomOut2d"]
CONFIG = QUIET | {"modeBarButtonsToRemove": BUTTONS, "doubleClick": "reset", "displayModeBar": True,
                  "typesetMath": False}
AXIS = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "showline": True, "mirror": True,
        "linecolor": "#ccc"}
FAINT, RING = 0.12, 11  # opacity of what is not selected; pixels from a ring to its centre, as far as they are known
HEIGHTS, NARROW = (560, 440), 860  # pixels: of a map alone, of a row of two; where two no longer fit side by side

WATCH = """
function render({ model, el }) {
  const watch = new ResizeObserver(() => {
    model.set("width", Math.round(el.clientWidth));
    model.save_changes();
  });
  watch.observe(el);
  return () => watch.disconnect();
}
export default { render };
"""


class Width(anywidget.AnyWidget):
    """An empty line that knows how wide it is: a figure under it learns how much room it has, which it can't tell."""

    _esm = WATCH
    width = Int(0).tag(sync=True)


class Figure(go.FigureWidget):
    """A FigureWidget that draws once for what a pointer did, not once for each trace, and keeps no drawn loops.

    A loop that stays would choose anew whatever comes to lie in it.
    """

    @observe("_js2py_pointsCallback")
    def _handler_js2py_pointsCallback(self, change):
        happened = change["new"] or {}
        if happened.get("event_type") == "plotly_selected" and not happened.get("selector"):
            self._js2py_pointsCallback = None  # not a person's doing, but the loop that was taken away
            return
        with self.batch_update():
            super()._handler_js2py_pointsCallback(change)

    @observe("_js2py_relayout")
    def _handler_js2py_relayout(self, change):
        drawn = ((change["new"] or {}).get("relayout_data") or {}).pop("selections", None)
        super()._handler_js2py_relayout(change)
        if drawn:  # with it goes what it chose, so that is said again
            self._send_relayout_msg({"selections": []})
            self._send_restyle_msg({"selectedpoints": [trace.selectedpoints for trace in self.data]},
                                   [*range(len(self.data))])


class Panes:
    """A FigureWidget with a pane for each cloud, and in each pane ``slots`` traces, one for an entry of the legend.

    Traces are only ever filled anew, never added or removed, and axes are set once for a map: no dot moves but when
    its epoch or its map changes.
    """

    def __init__(self, linked, slots):
        self.linked, self.slots = linked, slots
        self.figure = Figure([_trace(pane, slot) for pane in range(len(linked.clouds))
                                       for slot in range(slots)])
        self.figure._config = self.figure._config | CONFIG
        self.width, self.rows = Width(), 1
        self.figure.update_layout(template="plotly_white", dragmode="lasso", hovermode="closest",
                                  margin={"l": 8, "r": 8, "t": 34, "b": 34}, hoverdistance=12, uirevision="kept",
                                  legend={"itemsizing": "constant", "title": {}, "tracegroupgap": 0},
                                  newselection={"line": {"color": "#444", "width": 1, "dash": "solid"}})
        self.members = [[np.zeros(0, np.int64)] * slots for _ in linked.clouds]
        self.points = [None] * len(linked.clouds)
        self.heads()
        self.width.observe(lambda change: self.fit(change.new), "width")

    def heads(self):
        """Titles, and axes that hold every epoch of the map."""
        layout, count, titles = self.figure.layout, len(self.linked.clouds), []
        layout.height = HEIGHTS[count - 1] * self.rows
        for pane, cloud in enumerate(self.linked.clouds):
            end, (across, down) = str(pane + 1) if pane else "", _domains(pane, count, self.rows)
            below = {"text": verdict(cloud), "font": {"size": 11, "color": "#666"}, "standoff": 6}
            ranges = extent(cloud.maps)
            layout[f"xaxis{end}"] = AXIS | {"range": ranges[0], "domain": across, "title": below, "anchor": f"y{end}"}
            layout[f"yaxis{end}"] = AXIS | {"range": ranges[1], "domain": down, "anchor": f"x{end}"}
            titles.append(_headline(cloud, across[0], down[1]))
        layout.annotations = titles

    def fit(self, width):
        """Fills the width that there is: two maps stand beside each other, or one above the other in little of it."""
        if width < 1:  # nobody sees it
            return
        rows = len(self.linked.clouds) if width < NARROW else 1
        with self.figure.batch_update():
            self.figure.layout.width = width
            if rows != self.rows:
                self.rows = rows
                self.heads()

    def trace(self, pane, slot):
        return self.figure.data[pane * self.slots + slot]

    def show(self, points, marks, members, title, chosen):
        """Draws everything anew: ``points`` (N, 2) and ``members`` for each pane, ``marks`` for all of them."""
        self.points, self.members = points, [m + [np.zeros(0, np.int64)] * (self.slots - len(m)) for m in members]
        with self.figure.batch_update():
            self.figure.layout.legend.title = {"text": in_plot(title), "font": {"size": 12}}
            for pane in range(len(points)):
                for slot in range(self.slots):
                    self._fill(pane, slot, marks[slot] if slot < len(marks) else None)
            self._place(points)
            self._choose(chosen)

    def _fill(self, pane, slot, mark):
        """Name and looks of one trace; with one mark too few for it, it disappears.

        What the legend hides stays hidden while it goes by the same name.
        """
        trace = self.trace(pane, slot)
        trace.showlegend = mark is not None and pane == 0
        if mark is None:
            trace.visible = False
            return
        name = in_plot(mark[1], 24)
        trace.visible = "legendonly" if (trace.visible, trace.name) == ("legendonly", name) else True
        trace.name, trace.marker.color, trace.marker.symbol = (name, *mark[2:])

    def move(self, points):
        """Other positions for the same dots; nothing else changes."""
        with self.figure.batch_update():
            self.figure.layout.shapes = ()
            self._place(points)

    def _place(self, points):
        self.points = points
        for pane, coordinates in enumerate(points):
            for slot, members in enumerate(self.members[pane]):
                trace, here = self.trace(pane, slot), coordinates[members]
                trace.x, trace.y = np.ascontiguousarray(here[:, 0]), np.ascontiguousarray(here[:, 1])

    def choose(self, chosen):
        """Makes all but the ``chosen`` images faint, in every pane; with none chosen, all are shown in full."""
        with self.figure.batch_update():
            self._choose(chosen)

    def _choose(self, chosen):
        for pane, cloud in enumerate(self.linked.clouds):
            for slot, members in enumerate(self.members[pane]):
                inside = np.flatnonzero(np.isin(cloud.index[members], chosen)) if len(chosen) else None
                self.trace(pane, slot).selectedpoints = inside if inside is None else inside.tolist()

    def ring(self, image):
        """Rings ``image`` in every pane that shows it, and leads a line from it to each of its true neighbours."""
        shapes = []
        for pane in range(len(self.points)):
            for place in self.linked.places(pane, [image]).tolist():
                at, near = self.points[pane], self.linked.clouds[pane].neighbours[place]
                end = str(pane + 1) if pane else ""
                shapes += _rings(at[place].tolist(), at[near].tolist(), self._radii(pane), end)
        self.figure.layout.shapes = shapes

    def _radii(self, pane):
        """How far RING pixels reach on the axes of ``pane``, zoomed as they are."""
        end, columns = str(pane + 1) if pane else "", len(self.points) // self.rows
        pixels = (max(self.width.width, 300) - 140) / columns, HEIGHTS[len(self.points) - 1] - 70
        ranges = (self.figure.layout[f"{axis}axis{end}"].range for axis in "xy")
        return [RING * abs(high - low) / size for (low, high), size in zip(ranges, pixels, strict=True)]

    def on_hover(self, act):
        """``act(pane, place)`` when a pointer rests on a dot."""
        for pane in range(len(self.points)):
            for slot in range(self.slots):
                self.trace(pane, slot).on_hover(
                    lambda _, points, __, pane=pane, slot=slot: self._hovered(act, pane, slot, points.point_inds))

    def _hovered(self, act, pane, slot, inside):
        if inside and inside[0] < len(self.members[pane][slot]):
            act(pane, int(self.members[pane][slot][inside[0]]))

    def on_selection(self, act):
        """``act(pane, places)`` when a loop or box was drawn, and with no places when it was taken back."""
        found = {}

        def take(pane, slot, inside):
            # plotly reports trace by trace, each once and the last one last.
            members = self.members[pane][slot]
            found[pane, slot] = members[[i for i in inside if i < len(members)]]
            if (pane, slot) == (len(self.points) - 1, self.slots - 1):
                by_pane = [np.concatenate([found.pop((p, s), np.zeros(0, np.int64)) for s in range(self.slots)])
                           for p in range(len(self.points))]
                act(max(range(len(by_pane)), key=lambda p: len(by_pane[p])), max(by_pane, key=len))

        for pane in range(len(self.points)):
            for slot in range(self.slots):
                trace = self.trace(pane, slot)
                trace.on_selection(lambda _, points, __, p=pane, s=slot: take(p, s, points.point_inds))
                trace.on_deselect(lambda _, points, p=pane, s=slot: take(p, s, []))


def _trace(pane, slot):
    end = str(pane + 1) if pane else ""
    return go.Scattergl(mode="markers", hoverinfo="none", visible=False, legendgroup=str(slot), xaxis=f"x{end}",
                        yaxis=f"y{end}", marker={"size": 5, "opacity": 0.8, "line": {"width": 0}},
                        selected={"marker": {"opacity": 0.95}}, unselected={"marker": {"opacity": FAINT}})


def extent(maps):
    """Ranges of x and y that hold all of ``maps`` (E, N, 2), with a margin."""
    low, high = maps.min((0, 1)), maps.max((0, 1))
    pad = np.maximum((high - low) * 0.04, 1e-6)
    return [[float(low[i] - pad[i]), float(high[i] + pad[i])] for i in (0, 1)]


def _domains(pane, count, rows):
    """Where on the paper a pane lies, across and down."""
    if count == 1:
        return [0, 1], [0, 1]
    near, far = [0, 0.49], [0.51, 1]
    return (near if pane == 0 else far, [0, 1]) if rows == 1 else ([0, 1], [0.54, 1] if pane == 0 else [0, 0.46])


def _headline(cloud, left, top):
    return {"text": headline(cloud), "x": left, "y": top, "xref": "paper", "yref": "paper", "xanchor": "left",
            "yanchor": "bottom", "showarrow": False, "font": {"size": 12}}


def _rings(at, to, radii, end):
    """A line from ``at`` to each of ``to``, and an ellipse around ``at``, in the units of the axes.

    plotly could keep the size in pixels, but misplaces what is drawn as a loop while such a shape is shown.
    """
    (x, y), (wide, high), where = at, radii, {"xref": f"x{end}", "yref": f"y{end}"}
    lines = " ".join(f"M {x:.6g},{y:.6g} L {a:.6g},{b:.6g}" for a, b in to)
    return [where | {"type": "path", "path": lines, "line": {"color": "#000", "width": 1}, "opacity": 0.6},
            where | {"type": "circle", "x0": x - wide, "x1": x + wide, "y0": y - high, "y1": y + high,
                     "line": {"color": "#000", "width": 2}}]
