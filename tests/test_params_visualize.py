"""What ``visualize.ipynb`` accepts: its ranges are those of the parts it calls, and refusals name what to do."""

import ast
import json
import typing
from pathlib import Path

import pytest

from mixlab import attention, projection
from mixlab.errors import ParamError
from mixlab.explorers.visualize import TITLES
from mixlab.files import write_json
from mixlab.params import Visualize, visualize
from mixlab.plots.embedding import COLOURINGS

ROOT = Path(__file__).parents[1]


def literals(name):
    """The values that are spelt out for a parameter, ``auto`` apart."""
    annotation = Visualize.model_fields[name].annotation
    found = [a for part in (annotation, *typing.get_args(annotation)) for a in typing.get_args(part)]
    return {a for a in found if isinstance(a, str | int)} - {"auto"}


def test_what_is_spelt_out_is_what_the_parts_know():
    assert literals("projection") == set(projection.PROJECTIONS)
    assert visualize.POWERS == attention.POWERS
    assert literals("layer") == set(projection.LAYERS)
    assert literals("colour") == set(COLOURINGS) == set(TITLES)
    assert literals("attention_method") == set(attention.KINDS)


def test_defaults_pass_and_are_small():
    params = Visualize.check()
    assert (params.run, params.layer, params.reports_dir, params.points) == ("latest", "encoder", "none", 10_000)


@pytest.mark.parametrize(("values", "message"), [
    ({"run": []}, r"run: at least one run; got \[\] \(list\)\. Name one, or use latest\."),
    ({"run": ""}, r"run: text of length >= 1 or a list, each text.*; got '' \(str\)"),
    ({"run": [3]}, r"run: text"),
    ({"projection": "tnse"}, r"projection: .*tsne.*; got 'tnse' \(str\)\. Did you mean \"tsne\"\."),
    ({"points": 10}, r"points: a whole number >= 50 and <= 100000; got 10 \(int\)\."),
    ({"points": "500"}, r"points: .*Write it without quotes: 500\."),
    ({"attention_power": 3}, r"attention_power: one of 1, 2, 4; got 3 \(int\)\."),
    ({"attention_power": True}, r"attention_power: a whole number >= 1 and <= 4; got True \(bool\)\."),
    ({"attention_power": 4, "attention_method": "class"}, r"attention_power: 2, because attention_method class has no"),
    ({"opacity": 1.5}, r"opacity: a number >= 0 and <= 1; got 1.5 \(float\)\."),
    ({"colur": "label"}, r"colur: a known parameter; got 'label' \(str\)\. Did you mean \"colour\"\."),
])
def test_what_cannot_be_meant_is_refused(values, message):
    with pytest.raises(ParamError, match=message):
        Visualize.check(**values)


def test_all_problems_come_at_once():
    with pytest.raises(ParamError) as refused:
        Visualize.check(points=1, seed=-1, attention_power=4, attention_method="similarity")
    assert [line.split(":")[0] for line in str(refused.value).split("\n")] == ["points", "seed", "attention_power"]


def make(folder, name, status):
    run = folder / name
    run.mkdir(parents=True)
    write_json(run / "params.json", {"seed": 0})
    write_json(run / "result.json", {"status": status, "finished_at": float(len(name))})


def test_runs_are_meant_by_name_by_pattern_and_as_a_list(tmp_path):
    for name, status in (("a-1", "ok"), ("a-22", "ok"), ("a-333", "failed"), ("b-4444", "ok")):
        make(tmp_path, name, status)
    said = []

    def meant(run):
        return [one.name for one in Visualize.check(run=run, runs_dir=str(tmp_path)).runs(said.append)]

    assert meant("latest") == ["b-4444"] and meant("a-*") == ["a-1", "a-22"] and meant(["b-*", "a-1"]) == ["b-4444",
                                                                                                       "a-1"]
    assert len(said) == 1 and "a-333 is failed" in said[0]
    with pytest.raises(ParamError, match="run: latest, demo, a run directory, or one of the 4 names.*Did you mean"):
        meant("a-2")
    with pytest.raises(ParamError, match="make one with: make pretrain"):
        Visualize.check(runs_dir=str(tmp_path / "empty")).runs()


def test_the_parameters_cell_is_the_model():
    cells = json.loads((ROOT / "notebooks" / "visualize.ipynb").read_text())["cells"]
    cell = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    written = {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse(cell).body}
    assert Visualize.check(**written) == Visualize() and list(written) == list(Visualize.model_fields)


@pytest.mark.parametrize("file", sorted((ROOT / "params" / "visualize").glob("*.yaml")), ids=lambda f: f.name)
def test_every_recipe_is_accepted_and_says_what_it_needs(file):
    Visualize.from_yaml(file)
    head = [line for line in file.read_text().split("\n") if line.startswith("#")]
    assert any("Needs:" in line and "Takes:" in line for line in head)
