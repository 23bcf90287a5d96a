"""Pages and live widgets of hostile names in a real browser: they show text, run no script and ask for nothing."""

from pathlib import Path

import hostile
import nbformat
import pytest
from desk import errors, open_notebook, run_all
from nbformat.v4 import new_code_cell, new_notebook

from mixlab import explorers
from mixlab.explorers import twin

MARK = "window.pwned"
TAGS = "x-evil, a[href^=javascript], img[onerror]"
# Explorers of hostile names as a notebook shows them.
LIVE = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from types import SimpleNamespace
import hostile
import numpy as np
from mixlab import explorers
folder = Path("hostile").resolve()
(folder / "evaluated").mkdir(parents=True)
explorer = explorers.embedding(SimpleNamespace(interactive=True), hostile.clouds(folder))
explorer.hover(0, 1)
explorer.select(0, np.arange(30))
hostile.evaluations(folder / "evaluated")
runs = explorers.run_browser(SimpleNamespace(interactive=True, runs_dir=str(folder / "evaluated")))
"""


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Every page that mixlab writes, of results whose every name is hostile."""
    folder, patch = tmp_path_factory.mktemp("pages"), pytest.MonkeyPatch()
    for name in ("clouds", "grid", "attention"):
        (folder / name).mkdir()
    _, pair = hostile.attention_pair(folder / "attention", patch)
    explorers.write_embedding_page(folder / "embedding.html", hostile.clouds(folder / "clouds"), hostile.EVIL)
    explorers.write_attention_page(folder / "attention.html", pair, images=2, log=quiet)
    explorers.write_ablation_page(hostile.grid(folder / "grid"), folder / "ablation.html")
    patch.undo()
    return folder


def use(page, name):
    """Brings up what the page tells when it is used."""
    if name == "ablation":
        page.locator("table.heat button").first.click()
        page.locator("#told h2").wait_for()
    elif name == "attention":
        page.locator("#map").select_option("similarity")
        page.locator("#grid canvas, #grid img").first.wait_for()
    else:
        page.wait_for_function("document.querySelectorAll('#plot .main-svg').length > 0")
        box = page.locator("#plot").bounding_box()
        for part in (0.3, 0.4, 0.5, 0.6):
            page.mouse.move(box["x"] + part * box["width"], box["y"] + part * box["height"])


@pytest.mark.parametrize("name", ["embedding", "attention", "ablation"])
def test_hostile_names_run_nothing_in_a_page(page, refused, files, name):
    told = []
    page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    page.goto((files / f"{name}.html").as_uri())
    use(page, name)
    assert page.evaluate(f"typeof {MARK}") == "undefined" and not told and not refused
    assert page.locator(TAGS).count() == 0
    assert "x-evil" in page.content()


def test_hostile_names_run_nothing_in_lab(page, refused, project):
    """In a notebook no policy stops them: class and run names in card, sheet, plot, list and table."""
    told = []
    page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    book.cells = [new_code_cell(LIVE), new_code_cell("explorer"), new_code_cell("runs")]
    nbformat.write(book, project / "notebooks" / "hostile.ipynb")
    open_notebook(page, "hostile")
    run_all(page)
    assert not errors(page)
    page.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 3")
    for place in (".mixlab-card", ".js-plotly-plot text", ".mixlab-runs option", ".jp-OutputArea td"):
        page.locator(place).filter(has_text="x-evil").first.wait_for(state="attached")
    page.locator(".mixlab-card").first.click()
    assert page.evaluate(f"typeof {MARK}") == "undefined" and not told and not refused
    output = page.locator(".jp-OutputArea")
    assert output.locator(TAGS).count() == 0 and output.first.locator("script").count() == 0


def test_the_policy_stops_what_a_name_could_bring(page, refused, tmp_path):
    """Were a name ever to become markup, the page would still run only the scripts it was made with."""
    body = (f"<img src=x onerror='{MARK}=1'><script>{MARK}=2</script><p id=p onclick='{MARK}=3'>p</p>"
            f"<a id=a href='javascript:{MARK}=4'>a</a><script src='http://192.0.2.1/x.js'></script>"
            "<img src='http://192.0.2.1/x.png'><form action='http://192.0.2.1/'><input id=b type=submit></form>")
    (tmp_path / "page.html").write_text(twin.page("t", body, {"x": 1}, "document.title = `ran ${DATA.x}`;"))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("document.title === 'ran 1'")
    for name in "pab":
        page.evaluate("id => document.getElementById(id).click()", name)
    page.wait_for_timeout(300)
    assert page.evaluate(f"typeof {MARK}") == "undefined" and not refused
    assert page.url.startswith("file:")
