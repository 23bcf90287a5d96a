"""What a person does at the desk, for a test to do: open a notebook, run it, wait, look at it, take a picture."""

import re
import time
from pathlib import Path

ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
SECONDS = 120
# Lab's own indicator says idle before the kernel is there; cells run at that moment are lost.
IDLE = """() => {
    const context = window.jupyterapp?.shell.currentWidget?.sessionContext;
    const kernel = context?.isReady && context.session?.kernel;
    return kernel && kernel.connectionStatus === "connected" && kernel.status === "idle" && !context.pendingInput;
}"""


def open_notebook(page, name):
    """Opens ``notebooks/<name>.ipynb`` in a fresh workspace and waits for its kernel."""
    page.goto(f"/lab/workspaces/{re.sub(r'[^a-z]', '', name)}/tree/notebooks/{name}.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell")
    wait_idle(page)


def wait_idle(page, seconds=SECONDS):
    """Until the kernel of the shown notebook is idle."""
    page.wait_for_function(IDLE, timeout=seconds * 1000)


def run_all(page, seconds=SECONDS):
    """Run > Run All Cells, to the end or to the first cell that fails."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator("[data-command='runmenu:run-all']").click()
    deadline = time.monotonic() + seconds
    while waiting(page) and not errors(page):
        assert time.monotonic() < deadline, f"cells still wait after {seconds} s: {waiting(page)}"
        page.wait_for_timeout(200)
    wait_idle(page)


def contents(page):
    """The shown notebook as Lab holds it, outputs included: the same JSON that saving would write."""
    return page.evaluate("jupyterapp.shell.currentWidget.content.model.toJSON()")


def code_cells(page):
    return [cell for cell in contents(page)["cells"] if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


def waiting(page):
    """Code cells that have not run to their end."""
    return ["".join(cell["source"]) for cell in code_cells(page) if cell["execution_count"] is None]


def outputs(page):
    return [output for cell in code_cells(page) for output in cell["outputs"]]


def without_still(page):
    """Widgets that would leave nothing to see in the notebook when it is opened again or exported."""
    kinds = [o.get("data", {}).keys() for o in outputs(page)]
    shown = [i for i, data in enumerate(kinds) if "application/vnd.jupyter.widget-view+json" in data]
    assert shown, "no widget"
    return [i for i in shown if not {"image/png", "text/html"} & kinds[i + 1]]


def errors(page):
    """Messages of the cells that failed."""
    return [f"{o['ename']}: {o['evalue']}" for o in outputs(page) if o["output_type"] == "error"]


def screenshot(page, name):
    """Writes ``test-artifacts/<name>.png`` and returns its path."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
    return ARTIFACTS / f"{name}.png"
