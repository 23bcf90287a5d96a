"""A real JupyterLab and a real headless Chromium, both shut off from everything but this machine."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
import pytest
import yaml
from desk import screenshot
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
LOCAL = {"127.0.0.1", "localhost"}
QUIET = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-quic", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
START_SECONDS = 90

# What Lab would otherwise ask, hide or remember. Cells outside the window stay in the page, so that a test finds them.
SETTINGS = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def pytest_collection_modifyitems(items):
    """Everything in this folder needs a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A copy of the project's notebooks, at tiny size, in a folder of its own; runs end up there too."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "notebooks").mkdir()
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        tiny = yaml.safe_load((ROOT / "tests" / "tiny" / source.with_suffix(".yaml").name).read_text())
        book = parameterize_notebook(load_notebook_node(str(source)), tiny or {})
        nbformat.write(book, folder / "notebooks" / source.name)
    pretrain_once(folder)
    return folder


def pretrain_once(folder):
    """A finished run for the notebooks that read one; its seed is not that of the pretrain notebook's own."""
    tiny = (ROOT / "tests" / "tiny" / "pretrain.yaml").read_text()
    (folder / "tiny.yaml").write_text(f"{tiny}seed: 1\n")
    command = [sys.executable, "-m", "mixlab.train", "tiny.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def lab(project):
    """The address of a JupyterLab that serves ``project``, and the token that opens it."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token, log = secrets.token_hex(16), project / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={project}",
               "--LabApp.expose_app_in_browser=True", "--LabApp.collaborative=False", "--allow-root"]
    with open(log, "w") as file:
        server = subprocess.Popen(command, cwd=project, env=surroundings(project, token), stdout=file, stderr=file)
    try:
        wait_for(f"http://127.0.0.1:{port}/api", server, log)
        yield f"http://127.0.0.1:{port}", token
    finally:
        server.terminate()
        server.wait(20)


def surroundings(project, token):
    """The environment of a Lab without anybody's own settings, news or saved workspaces."""
    own = {name: project / "jupyter" / name.lower() for name in (
        "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR")}
    for name, values in SETTINGS.items():
        write_json(own["JUPYTERLAB_SETTINGS_DIR"] / f"{name}.jupyterlab-settings", values)
    write_json(own["JUPYTER_CONFIG_DIR"] / "labconfig" / "page_config.json",
               {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    kept = {name: value for name, value in os.environ.items() if name not in ("MPLBACKEND", "JPY_SESSION_NAME")}
    return kept | {name: str(path) for name, path in own.items()} | {"JUPYTER_TOKEN": token}


def write_json(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def wait_for(address, server, log):
    """Until the server answers; a server that died or stays silent fails with its own words."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            return urllib.request.urlopen(address, timeout=5).read()
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium of the system; without one these tests skip."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"needs a Chromium on the PATH, found none of {', '.join(names)}; e.g. apt-get install chromium")
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=QUIET + root)
        yield browser
        browser.close()


@pytest.fixture
def refused():
    """Addresses outside this machine that the page asked for, none of which was let through."""
    return []


@pytest.fixture
def page(chromium, lab, refused, request):
    """A fresh page, logged in to Lab; leaves a picture of its end, and fails if it asked for anything elsewhere."""
    address, token = lab
    context = chromium.new_context(base_url=address, viewport={"width": 1400, "height": 1000}, service_workers="block")
    context.route("**/*", lambda route: guard(route, refused))
    context.route_web_socket(lambda url: urlsplit(url).hostname not in LOCAL, lambda ws: refused.append(ws.url))
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"/login?token={token}")
    yield page
    screenshot(page, request.node.name)
    context.close()
    assert not refused, "the page asked for addresses outside this machine"


def guard(route, refused):
    """Lets a request to this machine through; records and refuses any other."""
    url = urlsplit(route.request.url)
    if url.hostname in LOCAL or url.scheme in ("file", "data", "blob"):
        return route.continue_()
    refused.append(route.request.url)
    return route.abort()
