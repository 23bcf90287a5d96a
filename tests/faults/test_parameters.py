"""Rows 44 to 53 of the fault catalogue: parameters by file, by papermill and by hand; and a kernel that dies."""

import dataclasses
import json
import math
import typing
from pathlib import Path

import notebook_rules as rules
import pytest
from forks import record, the_run, values, write_yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mixlab import data, params, runs
from mixlab.encoders import ENCODERS
from mixlab.errors import DataError, ParamError
from mixlab.files import load_yaml
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params import Pretrain
from mixlab.params.base import Params, allowed
from mixlab.train import main, train

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "pretrain.ipynb"
REFUSED = "A parameter given a value it must refuse: refused by name, with what is allowed and what came"


def refused(**given):
    with pytest.raises(ParamError) as caught:
        Pretrain.check(**given)
    return str(caught.value)


@pytest.mark.parametrize(("wrong", "right"), [("temperatur", "temperature"), ("batchsize", "batch_size"),
                                              ("Epochs", "epochs"), ("mixr", "mixer")])
def test_row_44_an_unknown_name_in_a_file_is_answered_with_the_nearest(images, tmp_path, capsys, wrong, right):
    """Nothing is begun; papermill itself would only warn."""
    yaml = write_yaml(tmp_path / "p.yaml", values(images, tmp_path / "runs", **{wrong: 3}))
    assert main([yaml]) == 2 and not (tmp_path / "runs").exists()
    assert f'{wrong}: a known parameter; got 3 (int). Did you mean "{right}".' in capsys.readouterr().err


@pytest.mark.parametrize(("given", "kind"), [
    ({"batch_size": "256"}, "str"), ({"batch_size": 256.0}, "float"), ({"epochs": True}, "bool"),
    ({"lr": "0.1"}, "str"), ({"lr": None}, "NoneType"), ({"lr": [0.1]}, "list"), ({"fresh": 1}, "int"),
    ({"method": 3}, "int"), ({"lr_decay_epochs": 3}, "int"), ({"seed": False}, "bool")])
def test_row_45_a_value_of_another_type_is_refused_and_never_guessed_at(given, kind):
    name, value = next(iter(given.items()))
    text = refused(**given)
    assert text.startswith(f"{name}: ") and repr(value) in text and f"({kind})" in text and "\n" not in text


@pytest.mark.parametrize(("text", "complaint"), [
    ("lr: 1e-3", r"line 1.*1e-3 would be read as text; write 0\.001"),
    ("epochs: 3\nlr: 2E5", r"line 2.*2E5 would be read as text; write 200000\.0 or 2\.0e5")])
def test_row_46_an_exponent_without_a_point_is_refused_with_what_to_write(tmp_path, text, complaint):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ParamError, match=complaint):
        Pretrain.from_yaml(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text("lr: 1.0e-3")
    assert Pretrain.from_yaml(tmp_path / "p.yaml").lr == 1e-3
    assert "lr: a number" in refused(lr="1e-3") and "1.0e-3" in refused(lr="1e-3")


@pytest.mark.parametrize(("text", "complaint"), [
    ("a: 1\nepochs: 010", "line 2.*010"),
    ("fresh: on", "line 1.*on would be read as True"),
    ("fresh: no", "line 1.*no would be read as False"),
    ("lr: 1.0\nlr: 2.0", "line 1.*lr stands more than once"),
    ("lr: &x 1.0\nepochs: *x", "line 2.*aliases"),
    ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2.*aliases"),
    ("\tlr: 1.0", "line 1"),
    ("epochs: 1_000", "1_000"),
    ("when: 2026-01-01", "quote it"),
    ("1: 2", "must be text"),
    ("", "lines of the form name: value"),
    ("- lr", "lines of the form name: value"),
    ("a: !!python/object/apply:os.system [ls]", "cannot be read"),
    ("x" * 70000, "at most"),
    (b"lr: \xff\xfe", "cannot be read as parameters"),
])
def test_row_47_yaml_that_could_be_misread_is_refused_with_its_line(tmp_path, text, complaint):
    (tmp_path / "p.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamError, match=complaint):
        load_yaml(tmp_path / "p.yaml")


@pytest.mark.parametrize(("parameter", "known"), [("method", METHODS), ("mixer", MIXERS), ("encoder", ENCODERS),
                                                  ("dataset", data.DATASETS)])
def test_row_48_a_name_in_another_spelling_lists_the_allowed_with_the_nearest(parameter, known):
    for name in known:
        for variant in (name.upper(), name.replace("_", "-").title() + ".", f"{name}x"):
            if variant not in known:
                text = refused(**{parameter: variant})
                assert f"{parameter}: " in text and f"got {variant!r} (str)" in text, variant
                assert all(other in text for other in known), "all that is allowed"
        assert f'Did you mean "{name}"' in refused(**{parameter: name.swapcase() + "-"})


@pytest.mark.parametrize(("given", "both"), [
    ({"method": "regions_within", "mixer": "manifold"}, ("mixer", "regions_within")),
    ({"method": "regions_between", "mixer": "mixup"}, ("mixer", "regions_between")),
    ({"warmup_epochs": 9, "epochs": 5}, ("warmup_epochs", "epochs (5)")),
    ({"method": "byol", "queue_size": 4096}, ("queue_size", "byol")),
    ({"method": "supcon", "queue_size": 4096}, ("queue_size", "supcon")),
    ({"mixer": "none", "method": "supcon", "alpha": 1.0}, ("alpha", "mixer none"))])
def test_row_49_a_contradiction_is_one_message_naming_both_parameters(given, both):
    text = refused(**given)
    assert "\n" not in text and all(part in text for part in both), text


def test_row_49_a_method_that_needs_labels_refuses_images_without(images, tmp_path, monkeypatch):
    whole = data.load(f"folder:{images}", image_size=16)
    bare = dataclasses.replace(whole, labels=None, classes=(), checksum="")
    monkeypatch.setattr(data, "load", lambda *_, **__: bare)
    with pytest.raises(DataError, match="labelled images, because method mixsupcon needs labels.*method simclr"):
        train(Pretrain.check(**values(images, tmp_path)), log=print)
    assert not list(tmp_path.iterdir())


def notebook(cell, *tags):
    book = new_notebook(cells=[new_markdown_cell("# A title"), new_code_cell(cell)])
    book.cells[1].metadata["tags"] = list(tags)
    return book


class Namespace(dict):
    """A kernel's variables after running ``cells``."""

    def __init__(self, *cells):
        super().__init__(In=["", *cells])
        for cell in cells:
            exec(cell, self)


@pytest.mark.parametrize(("cell", "tags"), [
    ("epochs = 2  # passes", ()), ("epochs = 2  # passes = epochs", ("parameters",)),
    ("epochs = 1 + 1  # passes", ("parameters",))], ids=["no tag", "a second equals sign", "an expression"])
def test_row_50_an_edited_parameters_cell_is_found_and_still_checked_when_it_runs(cell, tags):
    """The first line of defence is the rule that every notebook of ours is tested by; the second needs no tags."""
    assert list(rules.parameters_are_plain(notebook(cell, *tags)))
    assert Pretrain.from_namespace(Namespace(cell, "x = 1")).epochs == 2
    with pytest.raises(ParamError, match="epochs: a whole number"):
        Pretrain.from_namespace(Namespace(cell.replace("2", "'2'").replace("1 + 1", "'2'")))


def test_row_50_two_tagged_cells_are_found():
    book = notebook("epochs = 2  # passes", "parameters")
    book.cells.append(book.cells[1])
    assert list(rules.parameters_are_plain(book)) == ["2 cells tagged parameters, not 1", "set twice: epochs"]


HOSTILE = ["x'; import os; os.system('touch {marker}') #", 'x"; open("{marker}", "w") #', "a\nopen('{marker}', 'w')",
           "{{open('{marker}', 'w')}}", "\\'; open('{marker}', 'w') #", "\u202e'''; open('{marker}', 'w')"]


@pytest.mark.parametrize("text", HOSTILE)
def test_row_51_text_of_a_parameter_is_data_whatever_it_holds(tmp_path, text):
    """As papermill injects it: the value arrives as it was, nothing ran, and no name of it leaves the folder."""
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    marker = tmp_path / "marker"
    value = f"folder:{text.replace('{marker}', str(marker))}"
    book = parameterize_notebook(load_notebook_node(str(NOTEBOOK)), {"dataset": value})
    cells = [c.source for c in book.cells if {"parameters", "injected-parameters"} & set(c.metadata.get("tags", []))]
    assert len(cells) == 2
    checked = Pretrain.from_namespace(Namespace(*cells))
    assert checked.dataset == value and not marker.exists()
    name = runs.run_name({"dataset": value, "method": "../..", "mixer": "/", "encoder": "~", "seed": 0})
    assert not set(name) & set("/\\'\"\n;~\u202e") and name not in (".", "..")
    with pytest.raises(ParamError, match="init_from: "):
        runs.find("../../etc", tmp_path, "init_from")
    assert not marker.exists()


@pytest.mark.faults
def test_row_52_of_a_killed_kernel_the_run_directory_tells_the_truth(forks, images, tmp_path):
    """papermill writes "completed" beside every cell; the run says unfinished, and goes on."""
    import nbformat
    import papermill

    yaml = write_yaml(tmp_path / "tiny.yaml", values(images, tmp_path / "runs"))
    code = ("import os\nfrom mixlab.params import Pretrain\nfrom mixlab.train import train\n"
            f"train(Pretrain.from_yaml({yaml!r}), on_epoch=lambda row: row['epoch'] == 1 and os.kill(os.getpid(), 9))")
    book = notebook("epochs = 2  # passes", "parameters")
    book.cells.append(new_code_cell(code))
    nbformat.write(book, tmp_path / "in.ipynb")
    with pytest.raises(Exception, match="(?i)kernel died|dead"):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", kernel_name="python3",
                                   progress_bar=False)
    told = [c.metadata.papermill.status for c in nbformat.read(tmp_path / "out.ipynb", 4).cells]
    run = the_run(tmp_path / "runs")
    assert "failed" not in told and run.state() == "unfinished" and not run.finished()
    code, output = forks.run(yaml=yaml)
    assert code == 0 and "Continuing" in output
    whole = write_yaml(tmp_path / "whole.yaml", values(images, tmp_path / "whole"))
    assert forks.run(yaml=whole)[0] == 0
    assert record(run)[0][:2] == record(the_run(tmp_path / "whole"))[0][:2] and run.finished()


MODELS = [model for model in vars(params).values() if isinstance(model, type) and issubclass(model, Params)]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]


def kinds(annotation):
    """The plain types that an annotation is made of."""
    args = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return {type(a) for a in args}
    if typing.get_origin(annotation) is typing.Annotated:
        return kinds(args[0])
    if typing.get_origin(annotation) is list:
        return {list}
    return set().union(*map(kinds, args)) if args else {annotation}


def invalid_values(model, name):
    """Values that no parameter of this type and range may take."""
    accepts = kinds(model.model_fields[name].annotation)
    yield from (None, ("x",), b"text")
    if dict not in accepts:
        yield {"a": 1}
    if bool not in accepts:
        yield True
    if list not in accepts:
        yield ["auto"]
    if not accepts & {int, float}:
        yield from (3, 0.5)
    else:
        yield from ("256", "1e-3", "nope", math.nan, math.inf, -math.inf, -1e30, 1e30)
    if int in accepts and float not in accepts:
        yield from (256.0, 1.5)
    if typing.get_origin(model.model_fields[name].annotation) is typing.Literal:
        yield from ("Nope", "", "nope\n<script>")


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{m.__name__}.{n}" for m, n in FIELDS])
def test_row_53_every_parameter_refuses_what_it_must(model, name, tally):
    for value in invalid_values(model, name):
        with pytest.raises(ParamError) as caught:
            model.check(**{name: value})
        first = str(caught.value).split("\n")[0]
        formed = first.startswith(f"{name}: {allowed(model, name)[:12]}")
        tally(REFUSED, formed and (f"({type(value).__name__})." in first or type(value) in (list, tuple)), first)


def test_row_53_every_notebook_has_its_parameters_checked():
    """No model is forgotten: each notebook's check names one of them."""
    named = {c for path in NOTEBOOK.parent.glob("*.ipynb") for cell in json.loads(path.read_text())["cells"]
             for c in (m.__name__ for m in MODELS) if f"{c}.from_namespace(globals())" in "".join(cell["source"])}
    assert len(named) == len(list(NOTEBOOK.parent.glob("*.ipynb")))
