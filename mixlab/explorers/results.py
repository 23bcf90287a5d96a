"""Explorers of stored results: evaluated runs with their wrong images, and our scores beside published ones."""

import base64
import html
import io
import textwrap

from PIL import Image

from mixlab import plots
from mixlab.explorers.place import is_interactive

SIDE = 64  # pixels a side of a picture
SHOWN = 40  # wrong images at once
QUIET = {"showSendToCloud": False, "displaylogo": False, "plotlyServerURL": ""}
WIDE = {"style": {"description_width": "6em"}, "layout": {"width": "22em"}}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "star", "cross", "x", "pentagon", "hexagram",
           "hourglass", "bowtie", "triangle-left", "triangle-right", "star-square", "star-diamond", "diamond-tall",
           "diamond-wide", "hexagon", "octagon", "triangle-ne", "triangle-sw", "star-triangle-up", "circle-cross")


def wrong_images(params, evaluations):
    """Runs to pick, their table, and the test images that one of them gets wrong, by true and predicted class.

    Args:
        params: ``interactive`` and ``data_dir`` are read.
        evaluations: (``plots.Evaluated``), at least one.
    Returns:
        widgets where a person is in Lab, else the table as HTML.
    """
    if not is_interactive(params):
        from IPython.display import HTML
        return HTML(plots.evaluation_table(evaluations))
    import ipywidgets as widgets

    from mixlab.explorers.still import Still, of_html

    names = [(f"{one.run.name}, on {one.dataset}{plots.rules_of(one, evaluations)}", i)
             for i, one in enumerate(evaluations)]
    runs = widgets.SelectMultiple(options=names, value=[0], rows=max(2, min(8, len(names))), description="runs",
                                  style=WIDE["style"], layout={"width": "60em"})
    shown = widgets.Dropdown(description="images of", **WIDE | {"layout": {"width": "60em"}})
    true, predicted = (widgets.Dropdown(description=text, **WIDE) for text in ("true class", "taken for"))
    table, view = widgets.HTML(), widgets.HTML()
    album = Album(evaluations, params.data_dir)

    def pick(_=None):
        table.value = plots.evaluation_table([evaluations[i] for i in runs.value])
        offer(shown, [names[i] for i in runs.value])

    def name_classes(_=None):
        for control in (true, predicted) if shown.value is not None else ():
            offer(control, [("any", None), *album.classes(shown.value)])

    def look(_=None):
        view.value = "" if shown.value is None else album.picture(shown.value, true.value, predicted.value)

    for control, act in ((runs, pick), (shown, name_classes), (shown, look), (true, look), (predicted, look)):
        control.observe(act, "value")
    for act in (pick, name_classes, look):
        act()
    return Still([runs, table, shown, widgets.HBox([true, predicted]), view], lambda: of_html(table.value, view.value))


def offer(dropdown, options):
    """Gives ``dropdown`` new options and chooses the first; left to itself it may choose none."""
    dropdown.options = options
    dropdown.index = 0 if options else None


class Album:
    """The wrong images of several evaluations as HTML; images are loaded once for each evaluation."""

    def __init__(self, evaluations, data_dir="auto"):
        self.evaluations, self.data_dir, self.loaded = evaluations, data_dir, {}

    def classes(self, which):
        """Pairs (name, number) of the classes."""
        return [(name, i) for i, name in enumerate(plots.answers_of(self.evaluations[which])[2])]

    def images(self, which):
        if which not in self.loaded:
            self.loaded[which] = plots.images_of(self.evaluations[which], self.data_dir)
        return self.loaded[which]

    def picture(self, which, true=None, predicted=None):
        """HTML of the images of class ``true`` that were taken for ``predicted``; None is any class."""
        one, (pixels, trouble) = self.evaluations[which], self.images(which)
        if pixels is None:
            return f"<p>{html.escape(plots.tame(trouble))}</p>"
        index, (labels, predictions, names) = plots.wrong_index(one, true, predicted), plots.answers_of(one)
        tiles = [_tile(pixels[i], f"{names[labels[i]]} → {names[predictions[i]]}") for i in index[:SHOWN]]
        count = f"{len(index)} of {len(labels)} test images, {min(len(index), SHOWN)} shown"
        return (f"<p>{count}</p><div style='display:flex;flex-wrap:wrap;gap:8px;max-height:34em;overflow:auto'>"
                f"{''.join(tiles)}</div>")


def _tile(pixels, caption):
    """A picture with hard pixel edges and its caption, as HTML."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    source, text = base64.b64encode(buffer.getvalue()).decode(), html.escape(plots.tame(caption))
    return (f"<figure style='margin:0;width:{SIDE + 16}px'><img src='data:image/png;base64,{source}' alt=\"{text}\" "
            f"style='width:{SIDE}px;height:{SIDE}px;image-rendering:pixelated'>"
            f"<figcaption style='font-size:10px;line-height:1.2'>{text}</figcaption></figure>")


def comparison(params, scores):
    """Filters over all scores, with a table grouped by protocol and a scatter of accuracy against epochs.

    Args:
        params: ``interactive`` and the filters to start with, which are also those of the headless table.
        scores: ``plots.collect(...)``.
    Returns:
        widgets where a person is in Lab, else the table as HTML.
    """
    if not is_interactive(params):
        from IPython.display import HTML
        return HTML(plots.grouped_table(plots.filtered(params, scores)))
    import ipywidgets as widgets

    from mixlab.explorers.still import Still, of_html

    extra = {"dataset": [], "encoder": ["auto", "all"], "evaluation": ["all"], "method": ["all"]}
    filters = {name: widgets.Dropdown(options=[*first, *plots.choices(scores, name)], description=name, **WIDE)
               for name, first in extra.items()}
    for name, value in _start(params, scores).items():
        filters[name].value = value
    figure, table = scatter(), widgets.HTML()

    def update(_=None):
        asked = params.model_copy(update={name: control.value for name, control in filters.items()})
        kept = plots.filtered(asked, scores)
        table.value = plots.grouped_table(kept)
        fill(figure, kept)

    for control in filters.values():
        control.observe(update, "value")
    update()
    rows = [widgets.HBox(list(filters.values())[i:i + 2]) for i in (0, 2)]
    return Still([*rows, figure, table], lambda: of_html(table.value))


def _start(params, scores):
    """The filters to start with: those of ``params``, but one data set, for one plot can't show two without a mark."""
    given = {name: getattr(params, name) for name in ("dataset", "encoder", "evaluation", "method")}
    given = {name: plots.spelt(value, plots.choices(scores, name)) for name, value in given.items()}
    if given["dataset"] in ("auto", "all"):
        given["dataset"] = next((s.dataset.split(",")[0] for s in scores if s.is_ours), "cifar10")
    return given


def scatter():
    """An empty plot of accuracy against epochs, a trace and symbol per protocol, no button that sends it elsewhere."""
    import plotly.graph_objects as go

    traces = [go.Scatter(mode="markers", visible=False, hovertemplate="%{text}<extra></extra>") for _ in SYMBOLS]
    figure = go.FigureWidget(traces)
    figure._config = figure._config | QUIET
    figure.update_layout(width=900, height=520, margin={"l": 60, "r": 20, "t": 20, "b": 50}, showlegend=True,
                         template="plotly_white", legend={"orientation": "h", "y": -0.15})
    figure.update_xaxes(title="epochs of pre-training", type="log", dtick=1)
    figure.update_yaxes(title="top-1 accuracy in %")
    return figure


def fill(figure, scores):
    """Draws ``scores`` into ``figure``; the texts that a pointer brings up are escaped."""
    drawn = [s for s in scores if s.epochs]
    several = len({s.encoder for s in drawn}) > 1
    kinds = [f"{s.encoder}: {s.protocol}" if several else s.protocol for s in drawn]
    names = list(dict.fromkeys(kinds))
    with figure.batch_update():
        for i, dots in enumerate(figure.data):
            here = names[i::len(SYMBOLS)]
            dots.name = html.escape(" / ".join(here))
            _draw(dots, SYMBOLS[i], [s for s, kind in zip(drawn, kinds, strict=True) if kind in here])


def _draw(dots, symbol, scores):
    """One trace: scores that share a symbol."""
    styles = [plots.style_of(s) for s in scores]
    dots.x, dots.y, dots.text = [s.epochs for s in scores], [s.value for s in scores], [_hover(s) for s in scores]
    dots.marker.symbol = [symbol + ("-open" if style["mfc"] == "none" else "") for style in styles]
    dots.marker.color = [s["mec"] if s["mfc"] == "none" else s["mfc"] for s in styles]
    dots.marker.size = [1.6 * s["ms"] for s in styles]
    dots.marker.line = {"width": [1.5 if s.is_ours else 0 for s in scores], "color": "black"}
    dots.visible = bool(scores)


def _hover(score):
    lines = [f"{score.method}, {score.mixer}, {score.encoder}", f"{plots.accuracy(score)} %", score.protocol,
             *textwrap.wrap(score.source, 70), *textwrap.wrap(score.caveat, 70)]
    return "<br>".join(html.escape(plots.tame(line)) for line in lines if line)
