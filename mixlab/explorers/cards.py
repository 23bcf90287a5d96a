"""What is said about images: the card of one, and the sheet of many, as HTML that any page can hold."""

import html

import numpy as np

from mixlab.explorers.colouring import GREY, MOST, mark, mistakes
from mixlab.explorers.linked import in_html, one_line
from mixlab.explorers.twin import png

SHOWN = 96  # images of a selection at once
NEIGHBOURS = 8  # in the strip of a card
BARS = 12  # classes in a histogram; the others share the last line
SPLITS = {"test": "test", "val": "validation"}
STYLE = """<style>
.mixlab-card,.mixlab-sheet{font:13px/1.4 var(--jp-ui-font-family,system-ui,sans-serif);
color:var(--jp-ui-font-color1,#222)}
.mixlab-card img,.mixlab-sheet img{image-rendering:pixelated;object-fit:contain;background:#8882}
.mixlab-card{display:flex;flex-wrap:wrap;gap:10px 24px}.mixlab-card section{flex:1 1 270px}
.mixlab-card h4{font-size:15px;margin:0}
.mixlab-head{display:flex;gap:12px;align-items:flex-start}.mixlab-soft{opacity:.7;font-size:12px}
.mixlab-strip{display:flex;flex-wrap:wrap;gap:6px 2px;margin-top:4px}
.mixlab-strip figure{margin:0;width:62px;font-size:10px;line-height:1.2;text-align:center;overflow-wrap:anywhere}
.mixlab-strip img{width:48px;height:48px;border:2px solid transparent;box-sizing:border-box}
.mixlab-wrong,.mixlab-strip img.mixlab-wrong{border-color:#D55E00;color:#D55E00}
.mixlab-sheet{display:flex;flex-wrap:wrap;gap:8px 24px;align-items:flex-start}
.mixlab-grid{display:flex;flex-wrap:wrap;gap:3px;flex:1 1 420px}.mixlab-grid img{width:42px;height:42px;
border:2px solid transparent;box-sizing:border-box}.mixlab-grid img.mixlab-wrong{border-color:#D55E00}
.mixlab-bars{flex:0 1 300px;min-width:240px}.mixlab-bars div{display:flex;gap:6px;align-items:center;font-size:12px}
.mixlab-bars span:first-child{flex:0 0 92px;text-align:right;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.mixlab-bars i{height:11px;min-width:1px;display:block}</style>"""
HINT = ('<div class="mixlab-card mixlab-soft">Point at a dot: its image comes here, with the images that the '
        "encoder holds most similar. Draw a loop around dots to see what they have in common.</div>")


class Pictures:
    """The images of a cloud as data addresses, each made when it is first asked for."""

    def __init__(self, cloud):
        self.pixels, self.made = cloud.pixels, {}

    def __getitem__(self, place):
        if place not in self.made:
            self.made[place] = png(self.pixels[place])
        return self.made[place]


def card(linked, pictures, image):
    """The card of ``image``: itself, its label, and what each cloud that has it says about it."""
    which, place = linked.first_with(image)
    name = _class_name(linked.clouds[which], linked.clouds[which].labels, place)
    sections = [_opinion(linked, w, int(p), pictures[w]) for w in range(len(linked.clouds))
                for p in linked.places(w, [image])]
    head = (f'<div class="mixlab-head"><img src="{pictures[which][place]}" alt="{html.escape(one_line(name))}" '
            f'style="width:128px;height:128px"><div><h4>{in_html(name)}</h4>'
            f'<div class="mixlab-soft">{SPLITS.get(linked.clouds[which].split, "")} image {image}</div></div></div>')
    return f'<div class="mixlab-card" data-image="{image}">{head}{"".join(sections)}</div>'


def _class_name(cloud, values, place):
    return "no label" if values is None else cloud.classes[values[place]]


def _opinion(linked, which, place, pictures):
    """Prediction, purity and true neighbours of one image in one cloud."""
    cloud, lines = linked.clouds[which], []
    if len(linked.clouds) > 1:
        lines.append(f'<div class="mixlab-soft">{in_html(linked.names()[which])}</div>')
    if cloud.predictions is not None:
        wrong = cloud.labels is not None and cloud.predictions[place] != cloud.labels[place]
        name, sign = in_html(cloud.classes[cloud.predictions[place]]), {True: " ✗", False: " ✓"}[bool(wrong)]
        sign = "" if cloud.labels is None else sign
        lines.append(f'<div>kNN says <b{_mark(wrong)}>{name}{sign}</b></div>')
    if cloud.purity is not None:
        lines.append(f"<div>{100 * cloud.purity[place]:.0f} % of its {cloud.neighbours.shape[1]} nearest share its "
                     "label</div>")
    return f'<section>{"".join(lines)}{_strip(cloud, place, pictures)}</section>'


def _mark(wrong):
    return ' class="mixlab-wrong"' if wrong else ""


def _strip(cloud, place, pictures):
    """The nearest images in feature space, those of another class framed."""
    tiles = []
    for other in cloud.neighbours[place][:NEIGHBOURS].tolist():
        name = _class_name(cloud, cloud.labels, other)
        wrong = cloud.labels is not None and cloud.labels[other] != cloud.labels[place]
        caption = in_html(name, 20) if cloud.labels is not None else ""
        tiles.append(f'<figure><img{_mark(wrong)} src="{pictures[other]}" alt="{html.escape(one_line(name))}">'
                     f"<figcaption>{caption}</figcaption></figure>")
    return (f'<div class="mixlab-soft">nearest in feature space</div><div class="mixlab-strip">{"".join(tiles)}'
            "</div>")


def sheet(linked, which, pictures, places):
    """The images at ``places`` of cloud ``which``: how many of each class, and as many images as fit, by class."""
    cloud = linked.clouds[which]
    if not len(places):
        return ""
    ordered = places if cloud.labels is None else places[np.argsort(cloud.labels[places], kind="stable")]
    shown = ordered[np.linspace(0, len(ordered) - 1, min(SHOWN, len(ordered))).round().astype(int)]
    tiles = "".join(_tile(cloud, place, pictures) for place in shown.tolist())
    bars = "" if cloud.labels is None else _histogram(cloud, cloud.labels[places])
    return (f'<div class="mixlab-sheet" data-count="{len(places)}"><div class="mixlab-bars">'
            f'{_counts(linked, which, places, len(shown))}{bars}</div><div class="mixlab-grid">{tiles}</div></div>')


def _tile(cloud, place, pictures):
    label, text = _class_name(cloud, cloud.labels, place), ""
    wrong = (m := mistakes(cloud)) is not None and m[place]
    if cloud.predictions is not None:
        text = f", kNN says {cloud.classes[cloud.predictions[place]]}"
    title = html.escape(one_line(f"{label}{text}", 120))
    return f'<img{_mark(wrong)} src="{pictures[place]}" alt="{title}" title="{title}">'


def _counts(linked, which, places, shown):
    """How many images, and how many of them each run takes for something else."""
    images, lines = linked.clouds[which].index[places], [f"<b>{len(places):,} images</b>, {shown} shown"]
    for w, cloud in enumerate(linked.clouds):
        found = linked.places(w, images)
        if cloud.labels is None or cloud.predictions is None or not len(found):
            continue
        share = (cloud.predictions[found] != cloud.labels[found]).mean()
        whose = f' <span class="mixlab-soft">{in_html(linked.names()[w])}</span>' if len(linked.clouds) > 1 else ""
        lines.append(f"{100 * share:.0f} % mistaken{whose}")
    return f"<p style='margin:0 0 6px'>{'<br>'.join(lines)}</p>"


def _histogram(cloud, labels):
    """A bar for each class, the longest first, in the colour that the class has on the map."""
    counts = np.bincount(labels, minlength=len(cloud.classes))
    order = [int(c) for c in np.argsort(-counts, kind="stable") if counts[c]]
    rows = [(cloud.classes[c], counts[c], mark(c)[0] if len(cloud.classes) <= MOST else GREY) for c in order[:BARS]]
    if order[BARS:]:
        rows.append((f"{len(order) - BARS} more", counts[order[BARS:]].sum(), GREY))
    longest = max(count for _, count, _ in rows)
    return "".join(f'<div><span>{in_html(name, 24)}</span><i style="width:{130 * count / longest:.0f}px;'
                   f'background:{colour}"></i><span>{count:,}</span></div>' for name, count, colour in rows)
