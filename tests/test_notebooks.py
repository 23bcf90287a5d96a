"""Every notebook follows the rules, runs headless through papermill at tiny size, and refuses what it should."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import notebook_rules as rules
import pytest
import yaml
from nbconvert import HTMLExporter, ScriptExporter

from mixlab.explorers import place

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PRESETS = sorted((ROOT / "params").glob("*/*.yaml"))
SECONDS = 300  # a notebook at tiny size that takes longer hangs


def stem(path):
    return path.stem


def read(path):
    return nbformat.read(path, as_version=4)


def tiny(name):
    return ROOT / "tests" / "tiny" / f"{name}.yaml"


def papermill(name, folder, *arguments, before=()):
    """Runs a notebook as a person's shell would; returns the finished process, its output lies in ``out.ipynb``."""
    own = {key: str(folder / key.lower()) for key in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"} | own
    path = [str(ROOT / "tests" / "no_network"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment |= {"PYTHONPATH": os.pathsep.join(path), "MIXLAB_NETWORK_LOG": str(folder / "asked.txt")}
    command = [*before, sys.executable, "-m", "papermill", ROOT / "notebooks" / f"{name}.ipynb", folder / "out.ipynb",
               "-k", "python3", "--no-progress-bar", "--stdout-file", "-", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)


def tiny_arguments(name, runs_dir):
    """The tiny parameters, and a folder for the runs that the notebook makes or reads, if it does."""
    place = ["-p", "runs_dir", runs_dir] if "runs_dir" in rules.parameters(read(find(name))) else []
    return "-f", tiny(name), *place


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """The tiny pretraining, done once: the finished process, and the folder with its notebook and its runs."""
    folder = tmp_path_factory.mktemp("pretrained")
    return papermill("pretrain", folder, *tiny_arguments("pretrain", folder / "runs")), folder


def find(name):
    return next(path for path in NOTEBOOKS if path.stem == name)


def outputs(path):
    return [output for cell in rules.code_cells(read(path)) for output in cell.outputs]


def stream(path, name):
    return "".join(output.text for output in outputs(path) if output.output_type == "stream" and output.name == name)


def test_there_are_notebooks():
    assert "pretrain" in map(stem, NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stem)
def test_notebook_follows_the_rules(path):
    nbformat.validate(read(path))
    assert not rules.problems(read(path))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=stem)
def test_notebook_is_clean_for_ruff(path):
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", path], cwd=ROOT, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", PRESETS + [tiny(path.stem) for path in NOTEBOOKS],
                         ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_parameter_file_fits_its_notebook(path):
    """Papermill injects a misspelt key without a word; its head shows the command that uses it."""
    name = path.stem if path.parent.name == "tiny" else path.parent.name
    unknown = set(yaml.safe_load(path.read_text())) - set(rules.parameters(read(find(name))))
    assert not unknown
    head = path.read_text().split("\n\n")[0]
    assert f"papermill notebooks/{name}.ipynb out.ipynb -f {path.relative_to(ROOT)}" in head


def check_a_headless_run(done, folder):
    """Exit code 0, no error, no warning, at least one picture, and nothing that only a live kernel could show."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "asked.txt").exists(), "the kernel asked another machine for something"
    assert "unknown parameter" not in done.stderr
    shown = outputs(folder / "out.ipynb")
    assert not [output for output in shown if output.output_type == "error"]
    assert [output for output in shown if "image/png" in output.get("data", {})], "no picture in the notebook"
    assert not [output for output in shown if "application/vnd.jupyter.widget-view+json" in output.get("data", {})]
    assert "Warning" not in stream(folder / "out.ipynb", "stderr")


def test_pretrain_runs_headless_and_leaves_its_record(pretrained):
    """A result, a row per epoch, a printed line for each, and the place where it all lies."""
    done, folder = pretrained
    check_a_headless_run(done, folder)
    (result,) = folder.glob("runs/*/result.json")
    assert json.loads(result.read_text())["status"] == "ok"
    rows = [json.loads(line) for line in (result.parent / "history.jsonl").read_text().splitlines()]
    epochs = yaml.safe_load(tiny("pretrain").read_text())["epochs"]
    assert [row["epoch"] for row in rows] == list(range(epochs + 1))
    lines = [line for line in done.stdout.splitlines() if re.match(r"epoch +\d+", line)]
    assert len(lines) == len(rows), done.stdout
    assert result.parent.name in json.dumps(outputs(folder / "out.ipynb")), "where the result lies is not said"


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if path.stem != "pretrain"], ids=stem)
def test_notebook_runs_headless(path, pretrained, tmp_path):
    """One that looks at finished runs is given the tiny pretraining's."""
    runs_dir = pretrained[1] / "runs"
    check_a_headless_run(papermill(path.stem, tmp_path, *tiny_arguments(path.stem, runs_dir)), tmp_path)


WIDGET = "application/vnd.jupyter.widget-view+json"


def test_papermill_from_a_cell_of_lab_draws_pictures(tmp_path, monkeypatch):
    """It inherits the name that Lab gave its own kernel, and nobody looks on all the same."""
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/desk.ipynb")
    check_a_headless_run(papermill("mixers", tmp_path, *tiny_arguments("mixers", tmp_path)), tmp_path)


def kernel_says(code, **environment):
    """What ``code`` prints in a kernel whose starter is this process, as a server's is."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", env=os.environ | environment)
    said = []
    try:
        client.execute_interactive(code, timeout=SECONDS, output_hook=lambda message: said.append(message["content"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(content.get("text", "") for content in said)


@pytest.mark.parametrize(("inherited", "interactive"), [(None, True), ("/notebooks/other.ipynb", True),
                                                        ("/notebooks/desk.ipynb", False)])
def test_a_kernel_is_a_person_s_where_its_starter_named_the_notebook(monkeypatch, inherited, interactive):
    """A starter of another name is a Lab that was itself started from a cell; of the same, what runs in a cell."""
    asked = "from types import SimpleNamespace as N; from mixlab.explorers.place import is_interactive as i\n"
    monkeypatch.setattr(place, "_known_to_starter", lambda: inherited)
    monkeypatch.setenv("JPY_SESSION_NAME", "/notebooks/desk.ipynb")
    assert place.is_interactive(SimpleNamespace(interactive="auto")) is interactive
    if inherited is None:  # this process was started without the name, so the kernel below is as Lab's own
        answer = kernel_says(asked + "print(i(N(interactive='auto')))", JPY_SESSION_NAME="/notebooks/desk.ipynb")
        assert answer == "True\n"


@pytest.mark.parametrize("name", ["mixers", "pretrain"])
def test_widgets_leave_a_still_for_who_opens_the_notebook_later(name, tmp_path):
    """In an export, or without a kernel, the widget is gone; what stands beside it is shown."""
    done = papermill(name, tmp_path, *tiny_arguments(name, tmp_path / "runs"), "-p", "interactive", "True")
    assert done.returncode == 0, done.stdout + done.stderr
    book = read(tmp_path / "out.ipynb")
    book.metadata.pop("widgets", None)  # papermill stores the widgets' state, too; Lab does only where it is asked to
    shown = [o.get("data", {}) for cell in rules.code_cells(book) for o in cell.outputs]
    stills = [still for data, still in itertools.pairwise(shown) if WIDGET in data]
    assert stills and not [data.keys() for data in stills if not {"image/png", "text/html"} & data.keys()]
    page, _ = HTMLExporter().from_notebook_node(book)
    pictures = [data.get("image/png") or data["text/html"].split("base64,")[1] for data in stills]
    assert not [picture for picture in pictures if picture[:200] not in page]


@pytest.mark.parametrize(("kernelspec", "said"), [
    ({"name": ".venv", "display_name": ".venv"}, "No such kernel named .venv"),
    (None, "No kernel name found in notebook")])
def test_papermill_needs_k_python3_where_an_editor_saved_its_own_kernel(tmp_path, kernelspec, said):
    """The words that README quotes are papermill's own, and its advice helps."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    book.metadata.update({} if kernelspec is None else {"kernelspec": kernelspec})
    nbformat.write(book, tmp_path / "saved.ipynb")
    command = [sys.executable, "-m", "papermill", tmp_path / "saved.ipynb", tmp_path / "out.ipynb"]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode and said in refused.stderr and f"`{said}`" in (ROOT / "README.md").read_text()
    assert subprocess.run([*command, "-k", "python3"], capture_output=True).returncode == 0
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True)
    assert "-k python3" in shown.stdout


def test_a_notebook_exports_to_a_script(tmp_path):
    for path in NOTEBOOKS:
        script, resources = ScriptExporter().from_filename(str(path))
        assert resources["output_extension"] == ".py" and ast.parse(script)


@pytest.mark.parametrize("name", ["linear_eval", "visualize"])
def test_finished_runs_on_a_read_only_disk_are_shown(name, pretrained, tmp_path, monkeypatch):
    """Nothing but the working folder can be written, as on a mounted disk with a home that is not one's own."""
    shutil.copytree(pretrained[1] / "runs", tmp_path / "disk" / "runs")
    folders = [tmp_path / "disk", *(folder for folder in (tmp_path / "disk").rglob("*") if folder.is_dir())]
    before = sorted(map(str, (tmp_path / "disk").rglob("*")))
    for folder in folders:
        folder.chmod(0o555)
    monkeypatch.setenv("HOME", str(tmp_path / "disk"))
    root = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if os.geteuid() == 0 else []
    if root and not shutil.which(root[0]):
        pytest.skip("root can write everywhere, and setpriv of util-linux, which changes that, is not there")
    try:
        check_a_headless_run(
            papermill(name, tmp_path, *tiny_arguments(name, tmp_path / "disk" / "runs"), before=root), tmp_path)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert sorted(map(str, (tmp_path / "disk").rglob("*"))) == before
    assert "can't be written" in (tmp_path / "out.ipynb").read_text()


REFUSED = {
    "an unknown name": (("-p", "methd", "simclr"),
                        [r"methd: a known parameter; got 'simclr' \(str\)\. Did you mean \"method\""]),
    "text for a number": (("-p", "epochs", '"7"'), [r"epochs: a whole number >= 0.*; got '\"7\"' \(str\)\."]),
    "several at once": (("-p", "temperature", "0", "-p", "method", "simclrr", "-p", "bath_size", "8"),
                        [r"temperature: .*number > 1e-06.*; got 0 \(int\)\.",
                         r"method: one of .*simclr.*; got 'simclrr' \(str\)\. Did you mean \"simclr\"",
                         r"bath_size: .*; got 8 \(int\)\. Did you mean \"batch_size\""]),
}


@pytest.mark.parametrize(("arguments", "messages"), REFUSED.values(), ids=REFUSED)
def test_pretrain_refuses_before_any_work(arguments, messages, tmp_path):
    done = papermill("pretrain", tmp_path, *arguments, "-p", "runs_dir", tmp_path / "runs")
    assert done.returncode != 0
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr).split("ParamError: ")[-1].strip().splitlines()
    assert len(said) == len(messages), done.stderr
    assert not [message for message in messages if not any(re.match(message, line) for line in said)], said
    assert not (tmp_path / "runs").exists()
