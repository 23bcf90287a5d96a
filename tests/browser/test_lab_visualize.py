"""The run browser and the visualize notebook in a real JupyterLab: picked by mouse, followed live, looked at."""

import json

import nbformat
import pytest
from desk import errors, open_notebook, run_all, screenshot, without_still
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mixlab import runs

BROWSE = """
from types import SimpleNamespace
from mixlab import explorers
explorers.run_browser(SimpleNamespace(runs_dir="browsed", interactive=True))
"""
# Points of each visible curve of the loss, from the figure as the page holds it.
CURVES = """() => {
    const figure = document.querySelector(".js-plotly-plot");
    return (figure?.data || []).filter(t => t.visible === true && t.xaxis === "x").map(t => t.x.length);
}"""


@pytest.fixture
def browsed(project):
    """Three runs in a folder of their own, one with a name that a page must not take for markup; and a notebook."""
    folder = project / "browsed"
    for name, seed, rows in (("plain", 0, 4), ("second", 1, 6), ("<b>bold $x$", 2, 8)):
        (folder / name).mkdir(parents=True)
        values = {"method": "supcon", "mixer": "none", "epochs": 7, "seed": seed}
        (folder / name / "params.json").write_text(json.dumps(values))
        lines = [{"epoch": e, "loss": 3 / (e + 1), "knn_top1": 0.1 * e} for e in range(rows)]
        (folder / name / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / name / "result.json").write_text(json.dumps({"status": "ok"}))
    (folder / "spoilt").mkdir()
    (folder / "spoilt" / "params.json").write_text("{")
    book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    book.cells = [new_markdown_cell("# Runs"), new_code_cell(BROWSE)]
    nbformat.write(book, project / "notebooks" / "browsed.ipynb")
    return folder


def wait_for_curves(page, lengths):
    """Until the page shows curves of these numbers of points, in any order."""
    page.wait_for_function(f"wanted => JSON.stringify(({CURVES})().sort()) === JSON.stringify(wanted)",
                           arg=sorted(lengths))


def test_run_browser_follows_picks_and_a_live_run(page, browsed):
    """Curves follow what a person picks and a run that another process writes; damage and markup are shown as text."""
    open_notebook(page, "browsed")
    run_all(page)
    assert not errors(page) and not without_still(page)
    listed = page.locator(".mixlab-runs select option")
    wait_for_curves(page, [4, 6, 8])
    assert listed.count() == 4 and page.locator(".mixlab-runs option", has_text="damaged").count() == 1
    assert page.locator(".mixlab-runs option", has_text="<b>bold $x$").count() == 1
    page.locator(".mixlab-runs option", has_text="second").click()
    wait_for_curves(page, [6])
    page.locator(".mixlab-runs option", has_text="plain").click(modifiers=["Control"])
    wait_for_curves(page, [4, 6])
    page.wait_for_function("""() => {
        const figure = document.querySelector(".js-plotly-plot");
        return Math.abs(figure._fullLayout.width - figure.closest(".widget-vbox").clientWidth) < 40;
    }""")
    screenshot(page, "run_browser")
    live = runs.create(browsed, {"dataset": "d", "method": "simclr", "mixer": "none", "encoder": "resnet10", "seed": 3},
                       {"method": "simclr", "epochs": 9, "seed": 3})
    with runs.locked(live):
        page.locator(".mixlab-runs option", has_text="running").click()
        for epoch in range(1, 4):
            runs.record_row(live, {"epoch": epoch, "loss": 1.0 / epoch, "knn_top1": 0.2})
            wait_for_curves(page, [epoch])
    page.wait_for_function("""() => {
        const picked = document.querySelector(".mixlab-runs select").selectedOptions;
        return picked.length === 1 && picked[0].text.startsWith("unfinished");
    }""")  # the writer is gone: the list says so, and what was picked stays picked
    screenshot(page, "run_browser_live")


def test_visualize_notebook_in_lab(page, project):
    """Every cell runs; runs, maps and attention are live explorers, and the pages lie in the run."""
    open_notebook(page, "visualize")
    run_all(page, seconds=240)
    assert not errors(page) and not without_still(page)
    plots = page.locator(".js-plotly-plot")
    plots.nth(2).wait_for()  # curves, one map, two maps side by side
    assert plots.count() == 3
    chosen = page.locator(".mixlab-runs option:checked")
    assert chosen.count() >= 1
    for file in ("embedding.html", "attention.html"):
        assert list(project.glob(f"runs/*/{file}")), file
    for width, height in ((1400, 900), (1000, 700)):
        page.set_viewport_size({"width": width, "height": height})
        for number in range(3):
            plots.nth(number).scroll_into_view_if_needed()
            page.wait_for_timeout(300)
            screenshot(page, f"visualize-{number + 1}-{width}")
            right = plots.nth(number).evaluate("p => [p, p.parentElement].map(e => e.getBoundingClientRect().right)")
            assert right[0] <= right[1] + 1 and right[0] <= width, "the figure is wider than its place"
        for part in (".mixlab-runs", ".mixlab-card", ".attention"):
            shown = page.locator(part).first
            shown.scroll_into_view_if_needed()
            page.wait_for_timeout(300)
            screenshot(page, f"visualize{part.replace('.', '-')}-{width}")
            assert 100 < shown.evaluate("e => e.getBoundingClientRect().right") <= width, f"{part} is cut off"
