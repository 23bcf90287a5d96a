"""The self-contained page of a grid: the heat map as a table whose squares tell about their runs."""

import base64

from matplotlib import colormaps

from mixlab import plots
from mixlab.explorers import twin
from mixlab.explorers.spots import HEAD, Strips, curves_of, effect_in_words, facts_of, picture, spots_of, table_of
from mixlab.files import write

BODY = """<p id="measure"></p><div id="maps"></div><section id="told"><p>Point at a square (or move there with the Tab
key): its runs, curves and mixtures. Click it (or press Enter) to open a run.</p></section><section id="open"></section>
<style>table.heat{border-spacing:2px;margin:.5em 0}.heat td{padding:0}.heat button{width:100%;min-width:8.5em;
min-height:3em;border:2px solid transparent;cursor:pointer;font-size:13px}.heat button:focus,.heat button.here{
border-color:#d55e00}.heat th{font-weight:normal;text-align:right;padding:0 .6em}.heat thead th{text-align:center}
.plain td,.plain th{text-align:left;padding:.1em .9em .1em 0;font-size:13px}img{display:block;margin:.4em 0}</style>"""

SCRIPT = """
const add = (parent, tag, text) => {
  const child = parent.appendChild(document.createElement(tag));
  if (text !== undefined) child.textContent = text;
  return child;
};
const byId = name => document.getElementById(name);
const table = (parent, rows, head) => {
  const made = add(parent, "table"); made.className = "plain";
  if (head) { const line = add(made, "tr"); head.forEach(text => add(line, "th", text)); }
  rows.forEach(row => { const line = add(made, "tr"); row.forEach(text => add(line, "td", text)); });
  return made;
};
const image = (parent, address, alt) => {
  if (address) Object.assign(add(parent, "img"), {src: address, alt: alt});
};
const tell = spot => {
  const place = byId("told"); place.replaceChildren();
  add(place, "h2", `${spot.title}: ${spot.text}`).style.fontSize = "1.05em";
  add(place, "p", spot.effect);
  table(place, spot.runs, DATA.head);
  image(place, spot.mixtures, "mixtures"); image(place, spot.curves, "curves");
};
const open = spot => {
  const place = byId("open"); place.replaceChildren();
  if (!spot.facts.length) return;
  const choice = add(place, "select"); choice.setAttribute("aria-label", "run");
  spot.runs.forEach((row, i) => { const option = add(choice, "option", row[row.length - 1]); option.value = i; });
  const facts = add(place, "div");
  const show = () => { facts.replaceChildren(); table(facts, spot.facts[choice.value]); };
  choice.addEventListener("change", show); show();
};
byId("measure").textContent = DATA.measure;
DATA.panels.forEach(panel => {
  add(byId("maps"), "h2", panel.title).style.fontSize = "1.1em";
  const map = add(byId("maps"), "table"); map.className = "heat";
  const head = add(add(map, "thead"), "tr");
  add(head, "th", panel.rowName + (panel.columnName ? " \\\\ " + panel.columnName : ""));
  panel.columns.forEach(text => add(head, "th", text));
  const body = add(map, "tbody");
  panel.rows.forEach(row => {
    const line = add(body, "tr"); add(line, "th", row);
    const own = panel.spots.filter(spot => spot.row === row);
    const cells = own.some(s => s.column === null) ? own : panel.columns.map(c => own.find(s => s.column === c));
    cells.forEach(spot => {
      const cell = add(line, "td");
      if (!spot) return;
      if (spot.column === null) cell.colSpan = panel.columns.length;
      const button = add(cell, "button", spot.text);
      button.style.background = spot.colour; button.style.color = spot.ink;
      const here = () => {
        document.querySelectorAll(".here").forEach(other => other.classList.remove("here"));
        button.classList.add("here"); tell(spot);
      };
      button.addEventListener("mouseenter", here); button.addEventListener("focus", here);
      button.addEventListener("click", () => { here(); open(spot); });
    });
  });
});
"""


def ablation_page(results):
    """The page of a grid as text: no kernel, no address, plain elements that a keyboard reaches too.

    Args:
        results: ``plots.grid_results(...)``.
    """
    strips, count = Strips(), plots.comparisons(results)
    panels = [_panel(results, panel, count, strips) for panel in results.panels]
    measure = f"{results.measure}: mean ± standard deviation over seeds, n runs. {len(results.failed)} cells failed."
    return twin.page("Ablation", BODY, {"panels": panels, "measure": measure, "head": HEAD}, SCRIPT)


def write_ablation_page(results, path=None):
    """Writes ``ablation_page`` to ``path``, by default ``ablation.html`` in the grid's folder; returns the path."""
    path = path or results.params.folder / "ablation.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, ablation_page(results))
    return path


def _panel(results, panel, comparisons, strips):
    """What the script needs of one panel."""
    spots, scale = spots_of(panel, comparisons), plots.colours_of(results, panel)
    columns = list(dict.fromkeys(spot.column for spot in spots if spot.column is not None)) or [""]
    return {"title": panel.title, "rowName": panel.names[0], "columnName": panel.names[1], "columns": columns,
            "rows": list(dict.fromkeys(spot.row for spot in spots)),
            "spots": [_spot(spot, scale, strips) for spot in spots]}


def _spot(spot, scale, strips):
    colour, ink = _colours(spot.mean, scale)
    curves = f"data:image/png;base64,{base64.b64encode(curves_of(spot)).decode()}" if spot.runs else ""
    return {"row": spot.row, "column": spot.column, "title": spot.title, "text": spot.text, "colour": colour,
            "ink": ink, "effect": effect_in_words(spot.effect), "runs": table_of(spot), "curves": curves,
            "mixtures": picture(spot, strips), "facts": [facts_of(made) for made in spot.runs]}


def _colours(mean, scale):
    """Background and text colour of a square."""
    if mean is None:
        return "#eeeeee", "#555555"
    red, green, blue, _ = (int(255 * part) for part in colormaps["cividis"](scale(mean)))
    return f"rgb({red},{green},{blue})", "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 128 else "black"
