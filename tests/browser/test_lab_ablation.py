"""The ablation in a real JupyterLab and its page on its own: pointing at a square tells, clicking it opens a run."""

import nbformat
import pytest
from desk import errors, open_notebook, run_all, screenshot, without_still
from fake_grid import fake_grid
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from mixlab import explorers, plots

GIVEN = {"axes": {"mixer": ["mixup", "resizemix"], "alpha": [0.5, 2.0]}, "seeds": [0, 1]}


def top1(cell):
    gain = {"none": 0, "mixup": 0.02}.get(cell.resolved["mixer"], 0.04)
    return 0.3 + 0.01 * cell.seed + gain + (0.01 if cell.resolved["alpha"] == 2.0 else 0)


@pytest.fixture
def made(tmp_path):
    """The parameters of a grid whose runs are made up."""
    return fake_grid(tmp_path, top1, **GIVEN)


def square(page, row, column, rows=3, columns=2):
    """Where a square of the heat map is on the screen."""
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    return box["x"] + box["width"] * (column + 0.5) / columns, box["y"] + box["height"] * (row + 0.5) / rows


def test_ablation_notebook_in_lab(page, project, made):
    given = GIVEN | {"grid_dir": made.grid_dir, "runs_dir": made.runs_dir, "look_only": True}
    book = parameterize_notebook(load_notebook_node(str(project / "notebooks" / "ablation.ipynb")), given)
    nbformat.write(book, project / "notebooks" / "ablation-made.ipynb")
    open_notebook(page, "ablation-made")
    run_all(page)
    assert not errors(page) and not without_still(page)
    page.locator(".jp-RenderedImage img").nth(4).wait_for(state="attached")  # five figures
    page.locator(".js-plotly-plot .heatmaplayer image").first.wait_for(state="attached")
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    page.mouse.move(*square(page, 0, 0))
    page.mouse.move(*square(page, 0, 1), steps=4)
    page.get_by_role("heading", name="mixup, alpha 2 (mixsupcon on").wait_for()
    told = page.locator(".widget-html", has_text="mixup, alpha 2 (mixsupcon on")
    assert told.locator("img").count() == 2 and told.locator("tr").count() == 3
    page.mouse.move(*square(page, 1, 1), steps=4)
    page.get_by_role("heading", name="resizemix (mixsupcon on").wait_for()
    page.mouse.move(*square(page, 0, 1), steps=4)
    # plotly looks where the pointer is every 50 ms: a click right after a move is told of the square before
    page.get_by_role("heading", name="mixup, alpha 2 (mixsupcon on").wait_for()
    page.mouse.down()
    page.mouse.up()
    cell = next(c for c in made.cells if (c.resolved["alpha"], c.seed) == (2.0, 0))
    page.locator(".widget-html", has_text="linear_eval.ipynb").get_by_text(f"run-{cell.key}", exact=True).wait_for()
    assert page.locator(".widget-dropdown:visible", has_text="run").locator("option").count() == 2
    page.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    screenshot(page, "ablation")


def test_the_page_of_a_grid_stands_alone(page, made):
    page.goto(explorers.write_ablation_page(plots.grid_results(made)).as_uri())
    squares = page.locator(".heat button")
    assert squares.count() == 4
    squares.nth(1).hover()
    assert page.locator("#told h2").inner_text().startswith("mixup, alpha 2") and page.locator("#told img").count() == 2
    squares.nth(1).focus()
    page.keyboard.press("Tab")
    assert page.locator("#told h2").inner_text().startswith("resizemix")
    page.keyboard.press("Enter")
    assert "linear_eval.ipynb" in page.locator("#open").inner_text()
    page.locator("#open select").select_option("1")
    cell = next(c for c in made.cells if c.resolved["mixer"] == "resizemix" and c.seed == 1)
    assert f"run-{cell.key}" in page.locator("#open div").inner_text()
