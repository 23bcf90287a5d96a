"""Notebooks in a real JupyterLab, as a person sees them: widgets that answer, pictures, nothing from outside."""

import nbformat
import pytest
from desk import errors, open_notebook, outputs, run_all, screenshot, without_still
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

WIDGETS = """
import ipywidgets as widgets
import plotly.graph_objects as go
slider = widgets.IntSlider(description="points", min=1, max=9, value=3)
figure = go.FigureWidget(go.Scatter(x=[0, 1, 2], y=[0, 1, 4], mode="markers"))
said = widgets.Label("3 points")
def move(change):
    figure.data[0].x, figure.data[0].y = list(range(change.new)), [i * i for i in range(change.new)]
    said.value = f"{change.new} points"
slider.observe(move, "value")
widgets.VBox([slider, said, figure])
"""


@pytest.fixture
def notebook(project):
    """Writes a notebook of the given code cells into the served folder and returns its name."""
    def write(name, *sources):
        book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        book.cells = [new_markdown_cell(f"# {name}"), *map(new_code_cell, sources)]
        nbformat.write(book, project / "notebooks" / f"{name}.ipynb")
        return name
    return write


def test_widgets_and_figures_answer(page, notebook):
    """The stack under every explorer: a slider moved by key reaches the kernel, and the plot in the page follows."""
    open_notebook(page, notebook("widgets", WIDGETS))
    run_all(page)
    assert not errors(page)
    markers = page.locator(".js-plotly-plot .scatterlayer .point")
    markers.nth(2).wait_for()
    page.locator(".widget-slider .noUi-handle").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("4 points", exact=True).wait_for()
    markers.nth(3).wait_for()
    assert markers.count() == 4
    assert screenshot(page, "widgets").stat().st_size > 10_000


def test_a_failing_cell_is_noticed(page, notebook):
    open_notebook(page, notebook("failing", "1", "1 / 0", "print('never')"))
    run_all(page)
    assert errors(page) == ["ZeroDivisionError: division by zero"]


def test_nothing_outside_this_machine_is_reached(page, refused):
    """The guard itself: a picture from elsewhere is refused and reported."""
    page.set_content("<img src='http://example.com/picture.png'>")
    page.wait_for_function("document.images[0].complete")
    assert refused == ["http://example.com/picture.png"]
    refused.clear()


def test_mixers_notebook_in_lab(page):
    """The front door: every cell runs, and the playground's mixture follows the share that a person sets."""
    open_notebook(page, "mixers")
    run_all(page)
    assert not errors(page) and not without_still(page)
    share = page.locator(".widget-slider", has_text="share λ")
    share.scroll_into_view_if_needed()
    screenshot(page, "mixers")
    share.locator(".noUi-handle").focus()
    for key, equal in (("End", 0), ("Home", 1)):  # a share of 1 is the first image, a share of 0 the second
        page.keyboard.press(key)
        page.wait_for_function("""which => {
            const src = name => document.querySelector(`.widget-html img[alt="${name}"]`)?.src;
            const [first, second] = [...document.querySelectorAll(".widget-html img")];
            return src("mixture") === [first, second][which].src && first.src !== second.src;
        }""", arg=equal)


def test_a_notebook_opened_again_without_its_kernel_shows_stills(page):
    """While the widgets answer, the still beside them is hidden; when they are gone, it is there."""
    open_notebook(page, "mixers")
    run_all(page)
    page.locator(".widget-slider").first.wait_for()
    still = page.locator(".jp-OutputArea-output figure img[alt='mixture']:not(.widget-html *)")
    assert still.count() == 1 and not still.is_visible()
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    page.evaluate("jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.goto("/lab/workspaces/again/tree/notebooks/mixers.ipynb?reset")
    page.get_by_text("model not found").wait_for()
    still.scroll_into_view_if_needed()
    assert still.is_visible() and not page.locator(".widget-slider").count()
    screenshot(page, "opened_again")


def test_pretrain_notebook_in_lab(page):
    """Training with a person looking on: a bar and a curve that move, beside the line per epoch."""
    open_notebook(page, "pretrain")
    run_all(page)
    assert not errors(page) and not without_still(page)
    page.get_by_text("epoch 2", exact=True).wait_for()
    printed = "".join("".join(output["text"]) for output in outputs(page) if output["output_type"] == "stream")
    assert printed.count("epoch ") >= 3
    curve = page.locator(".widget-image")
    curve.scroll_into_view_if_needed()
    assert curve.evaluate("image => image.complete && image.naturalWidth > 300")
    screenshot(page, "pretrain")


def test_compare_notebook_in_lab(page):
    """The published landscape: a filter thins the plot, and nothing offers to upload it."""
    open_notebook(page, "compare")
    run_all(page)
    assert not errors(page) and not without_still(page)
    points = page.locator(".scatterlayer .point")
    points.first.wait_for()
    page.locator(".widget-dropdown", has_text="evaluation").locator("select").select_option("all")
    page.wait_for_timeout(1500)
    before = points.count()
    page.locator(".widget-dropdown", has_text="method").locator("select").select_option("SimCLR")
    page.wait_for_function("count => document.querySelectorAll('.scatterlayer .point').length < count", arg=before)
    buttons = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title || '')")
    assert not [title for title in buttons if "cloud" in title.lower() or "share" in title.lower()]
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    screenshot(page, "compare")


def test_linear_eval_notebook_in_lab(page):
    """A run evaluated before a person's eyes: pictures, a table, and the images that it takes for something else."""
    open_notebook(page, "linear_eval")
    run_all(page, seconds=240)
    assert not errors(page) and not without_still(page)
    pictures = [o for o in outputs(page) if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3
    explorer = page.locator(".widget-vbox").last
    explorer.scroll_into_view_if_needed()
    of_all = explorer.locator("img").evaluate_all("images => images.map(image => image.src)")
    assert of_all
    screenshot(page, "linear_eval")
    explorer.locator(".widget-dropdown select").nth(1).select_option(label="cat")
    page.wait_for_function("""before => {
        const shown = [...document.querySelectorAll(".widget-vbox img")].map(image => image.src);
        return shown.length && JSON.stringify(shown) !== JSON.stringify(before);
    }""", arg=of_all)
    assert "cat →" in explorer.inner_text() and "dog →" not in explorer.inner_text()


def test_benchmark_notebook_in_lab(page):
    """Every part is measured, and a picture of the measurements is shown."""
    open_notebook(page, "benchmark")
    run_all(page, seconds=240)
    assert not errors(page)
    assert [o for o in outputs(page) if "image/png" in o.get("data", {})]
