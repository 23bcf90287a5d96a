"""Names that would be markup, script, formulas or turns of direction, and what looks for them in what is shown."""

import dataclasses
import re
from html.parser import HTMLParser

import attention_runs
from fake_clouds import fake_cloud
from fake_grid import fake_grid
from fake_results import fake_run

from mixlab import data, plots
from mixlab.params import Compare, Pretrain

# Breaks out of text, of attributes in either quotes, of a title, a style, a script and a table row; sets a marker.
EVIL = ("'\"><x-evil onpointerdown=\"pwned=1\"><a href=\"javascript:pwned=1\">go</a></title></style></script>"
        "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>$\\frac{$&lt;|`*[a](javascript:pwned=1)\n"
        "\u202egnp.exe")
EVIL_FILE = EVIL.replace("</", "<").replace("/", "")  # what a file system takes

# By which a script would make markup, or code, of a text.
READS_HTML = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|setHTML|srcdoc|createContextualFragment|DOMParser|"
                        r"document\.write|\beval\(|new Function|\bon\w+ *= *[\"']")


class Scan(HTMLParser):
    """Reads HTML as a browser does; ``found`` holds the tags and attributes that no text of ours brings."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.scripts = [], 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.scripts += tag == "script"
        self.found += [tag] * (tag in ("x-evil", "a", "iframe", "object", "embed", "form", "link", "base"))
        for name, value in attributes:
            if name.startswith("on") or (name in ("src", "href", "action") and not (value or "").startswith("data:")):
                self.found.append(f"{tag} {name}={value}")


def markup_in(text, scripts=0):
    """What a name has brought into HTML ``text``; a page of ours has ``scripts`` of its own."""
    scan = Scan(text)
    return scan.found + [f"{scan.scripts} scripts"] * (scan.scripts != scripts)


def shown_by_markdown(text):
    """Markdown's own escapes as HTML sees them, where ``\\<`` is a letter."""
    return re.sub(r"\\([\\<>&|*_`~$\[\]])", lambda found: f"&#{ord(found[1])};", text)


def strings(value):
    """Every text inside dicts, lists and tuples."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


def widgets_in(widget):
    """The widget and all inside it."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets_in(child)


def texts_in(widget):
    """Every text that a widget and all inside it send to the browser, and what their plotly figures draw."""
    for one in widgets_in(widget):
        for name in one.keys:
            yield from strings(getattr(one, name))
        if hasattr(one, "to_plotly_json"):
            yield from strings(one.to_dict())


def trouble_in(widget):
    """What a name has brought into a widget: markup where HTML is read, tags where plotly reads a few, and scripts of
    ours that make markup of what they are given."""
    found = []
    for one in widgets_in(widget):
        if type(one).__name__ in ("HTML", "HTMLMath"):
            found += markup_in(one.value)
        if hasattr(one, "_esm") and not hasattr(one, "to_plotly_json") and READS_HTML.search(str(one._esm)):
            found.append(f"{type(one).__name__}: its script reads HTML")
        if getattr(one, "description_allow_html", False):
            found.append(f"{type(one).__name__}: reads HTML in its description")
        if hasattr(one, "to_plotly_json"):
            drawn = strings(one.to_dict())
            found += [text for text in drawn if re.search("<x-evil|<a |<img|<script", text) or "\u202e" in text]
    return found


# Results with such names

def images():
    """The mini test set with hostile class names."""
    mini = data.load("cifar10-mini", split="test")
    return dataclasses.replace(mini, labels=mini.labels % 3, classes=(EVIL, EVIL[::-1], "plain"))


def clouds(folder):
    """Two clouds of runs with hostile names."""
    mini = images()
    return [fake_cloud(folder, mini, 40, seed, (0, 1), name=f"{seed}{EVIL_FILE}") for seed in (0, 1)]


def evaluations(folder):
    fake_run(folder, "supcon", dataset=f"folder:{EVIL}", name=EVIL_FILE)
    found = plots.evaluated(folder)
    return [dataclasses.replace(one, record=one.record | {"marks": [EVIL], "dataset": EVIL}) for one in found]


def scores(folder):
    fake_run(folder, "supcon", name="plain")
    found = plots.collect(Compare(runs_dir=str(folder), reports_dir=str(folder)))
    own = [score for score in found if score.is_ours]
    return [dataclasses.replace(s, method=EVIL, source=EVIL, caveat=EVIL, dataset=EVIL, encoder=EVIL) for s in own]


def grid(folder):
    axes = {"method": ["simclr", "mixsupcon"], "mixer": ["mixup", "cutmix"], "alpha": [0.5, 1.0]}
    return plots.grid_results(fake_grid(folder, lambda cell: 0.4, axes=axes, seeds=[0], base={
        "dataset": f"folder:{EVIL}"}))


def attention_pair(folder, patch):
    """Two finished runs with hostile names on a folder whose classes have hostile names."""
    patch.setattr(attention_runs, "CLASSES", (EVIL_FILE, EVIL_FILE[::-1], "plain"))
    dataset = attention_runs.folder_of_pictures(folder / "pictures")
    return dataset, [_renamed(attention_runs.finished_run(folder / "runs", dataset, "cross_entropy", seed), seed)
                     for seed in (0, 1)]


def _renamed(run, seed):
    return dataclasses.replace(run, path=run.path.rename(run.path.with_name(f"{seed}{EVIL_FILE}")))


def pretrain(dataset):
    return Pretrain.check(dataset=dataset, image_size=attention_runs.SIZE, batch_size=8, method="supcon",
                          mixer="mixup", interactive=False)
