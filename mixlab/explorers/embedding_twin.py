"""The embedding explorer as one HTML file: it opens from disk, asks for nothing and needs no kernel."""

from pathlib import Path

import numpy as np
from PIL import Image

from mixlab import files
from mixlab.explorers.cards import HINT, NEIGHBOURS, STYLE
from mixlab.explorers.colouring import GREY, MOST, PALETTE, SYMBOLS, colourings, most_mistaken
from mixlab.explorers.linked import Linked, headline, in_plot, one_line, verdict
from mixlab.explorers.twin import page, sprite

SCRIPT = Path(__file__).parents[1] / "assets" / "embedding.js"
SHEET_PIXELS = 12_000_000  # in the sheet of all images; where they are more, each is made smaller
GRID = 10_000  # coordinates are rounded to this many steps across a map
LOOKS = """<style>body{max-width:1400px;margin:14px auto;padding:0 14px}
#bar{display:flex;flex-wrap:wrap;gap:6px 18px;align-items:center;margin:.3em 0}
#stage{display:flex;flex-wrap:wrap;align-items:flex-start}
#maps{flex:1000 1 520px;min-width:300px;max-width:880px}.two #maps{flex-basis:860px;max-width:none}
#card{flex:1 1 290px;min-width:270px;margin:30px 0 0 12px}.two #card{margin-top:0}#sheet{margin-top:10px}
#card canvas,#sheet canvas{background:#8882;object-fit:contain}.mixlab-head canvas{flex:none}
.mixlab-strip canvas,.mixlab-grid canvas{border:2px solid transparent;box-sizing:border-box}
.mixlab-strip canvas.mixlab-wrong,.mixlab-grid canvas.mixlab-wrong{border-color:#D55E00}
.mixlab-bars p div{display:block}#picked{vertical-align:top}
#aside{font-size:12px;opacity:.7}[hidden]{display:none!important}</style>"""
BAR = """<div id="bar"><label>colour <select id="colour"></select></label>
<label><input type="checkbox" id="only"> only mistakes</label>
<label id="classes">classes <select id="picked" multiple size="4"></select></label>
<span id="player"><button id="play">▶ play</button> <input type="range" id="epoch" min="0" step="1" aria-label="epoch">
<span id="when"></span> <span id="aside"></span></span></div>"""


def embedding_page(clouds, title):
    """The page of one cloud, or of two side by side linked by image.

    Args:
        clouds: ``projection.Cloud``, one or two of the same data set.
        title: plain text.
    Returns:
        the document as text: plotly.js (5 MB), all images in one sheet, and the rest.
    Raises:
        ParamError: no cloud, more than two, or clouds of different data sets.
    """
    linked = Linked(clouds)
    two = ' class="two"' if len(linked.clouds) > 1 else ""
    body = (f'{STYLE}{LOOKS}{BAR}<div{two}><div id="stage"><div id="maps"><div id="plot"></div></div>'
            f'<div id="card">{HINT}</div></div><div id="sheet"></div></div>')
    return page(title, body, _data(linked), SCRIPT.read_text("utf-8"), plotly=True)


def write_embedding_page(path, clouds, title):
    """Writes ``embedding_page`` to ``path``, whole or not at all; returns the path."""
    files.write(path, embedding_page(clouds, title))
    return Path(path)


def _data(linked):
    """What the script knows. An image is its position among ``numbers``, the images that any cloud has."""
    first = linked.clouds[0]
    numbers = np.unique(np.concatenate([cloud.index for cloud in linked.clouds]))
    shown = [colourings(cloud) for cloud in linked.clouds]
    return {
        "dataset": one_line(first.dataset), "split": first.split, "classes": [one_line(name) for name in first.classes],
        "titles": [title for title in shown[0] if all(title in each for each in shown)],
        "epochs": sorted({epoch for cloud in linked.clouds for epoch in cloud.epochs}),
        "palette": PALETTE, "symbols": SYMBOLS, "grey": GREY, "most": MOST, "picked": most_mistaken(first),
        "template": _template(), "sheet": _sheet(linked, numbers),
        "clouds": [_cloud(cloud, name, numbers, each)
                   for cloud, name, each in zip(linked.clouds, linked.names(), shown, strict=True)]}


def _cloud(cloud, name, numbers, shown):
    """One cloud: a value for each point, coordinates as whole numbers."""
    low, high = cloud.maps.min((0, 1)), cloud.maps.max((0, 1))
    steps = np.round((cloud.maps - low) / np.maximum(high - low, 1e-9) * GRID).astype(int)  # (E, N, 2)
    pad = int(0.04 * GRID)
    return {
        "name": one_line(name, 120), "run": one_line(cloud.run.name, 120), "headline": headline(cloud),
        "verdict": verdict(cloud),
        "epochs": [int(epoch) for epoch in cloud.epochs], "ranges": [[-pad, GRID + pad]] * 2,
        "maps": [{"x": at[:, 0].tolist(), "y": at[:, 1].tolist()} for at in steps],
        "images": np.searchsorted(numbers, cloud.index).tolist(), "labels": _listed(cloud.labels),
        "predictions": _listed(cloud.predictions), "k": cloud.neighbours.shape[1],
        "purity": None if cloud.purity is None else np.round(100 * cloud.purity).astype(int).tolist(),
        "neighbours": cloud.neighbours[:, :NEIGHBOURS].tolist(),
        "colourings": [{"title": one.title, "values": one.values.tolist(), "names": [one_line(n) for n in one.names],
                        "shown": [in_plot(n, 24) for n in one.names], "colours": one.colours}
                       for one in shown.values()]}


def _listed(values):
    return None if values is None else values.tolist()


def _sheet(linked, numbers):
    """The images of ``numbers`` in one sheet, each at most so large that the sheet stays small."""
    _, height, width, _ = linked.clouds[0].pixels.shape
    scale = min(1, (SHEET_PIXELS / (len(numbers) * height * width)) ** 0.5)
    size = max(int(width * scale), 1), max(int(height * scale), 1)
    pixels = np.zeros((len(numbers), size[1], size[0], 3), np.uint8)
    for cloud in linked.clouds:
        at = np.searchsorted(numbers, cloud.index)
        pixels[at] = cloud.pixels if scale == 1 else [_smaller(one, size) for one in cloud.pixels]
    columns = int(np.ceil(len(numbers) ** 0.5))
    return {"source": sprite(pixels, columns, "WEBP"), "columns": columns, "size": size, "numbers": numbers.tolist()}


def _smaller(pixels, size):
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _template():
    """plotly's white template, as the widgets use it: white paper, dark letters."""
    return {"layout": {"paper_bgcolor": "white", "plot_bgcolor": "white", "font": {"color": "#2a3f5f"}}}
