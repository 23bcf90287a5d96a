"""Rows 44 to 53 of the fault catalogue: parameters by file, by papermill and by hand; and a kernel that dies."""

import dataclasses
import json
import math
import re
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
from mixlab.verify import select

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "pretrain.ipynb"
MODELS = [model for model in vars(params).values() if isinstance(model, type) and issubclass(model, Params)]
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]
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


@pytest.mark.parametrize(("text", "written"), [
    ("1e-3", "0.001"), ("2E5", "200000.0"), ("1.e3", "1000.0"), ("1.0e3", "1000.0"), (".5e0", "0.5"),
    ("1e-30", "1.0e-30"), ("-1e999", "-.inf"), ("+.5", "0.5"), ("09", "9")])
def test_row_46_an_exponent_without_a_point_is_refused_with_what_to_write(tmp_path, text, written):
    """Which is then read as it is written."""
    (tmp_path / "p.yaml").write_text(f"epochs: 3\nlr: {text}")
    with pytest.raises(ParamError, match=re.escape(f"(line 2: {text} would be read as text; write {written})")):
        Pretrain.from_yaml(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text(f"lr: {written}")
    assert load_yaml(tmp_path / "p.yaml") == {"lr": float(text)}
    for text, written in (("1e-3", "1.0e-3"), ("1e9", "1.0e+9"), ("5.e2", "5.0e+2")):
        assert "lr: a number" in refused(lr=text) and f"Write it without quotes: {written}." in refused(lr=text)


@pytest.mark.parametrize(("text", "complaint"), [
    ("a: 1\nepochs: 010", "line 2.*010"),
    ("fresh: on", "line 1.*on would be read as True"),
    ("fresh: no", "line 1.*no would be read as False"),
    ("lr: 1.0\nlr: 2.0", "line 1.*lr stands more than once"),
    ("lr: &x 1.0\nepochs: *x", "line 2.*aliases"),
    ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "line 2.*aliases"),
    ("\tlr: 1.0", "line 1"),
    ("epochs: 1_000", "1_000"),
    ("seed: 1\nlr: 1:30.5", "line 2: 1:30.5 would not be read as written"),
    ("lr: 1_0.5", "line 1: 1_0.5 would not be read as written"),
    ("when: 2026-01-01", "quote it"),
    ("1: 2", "must be text"),
    ("", "lines of the form name: value"),
    ("- lr", "lines of the form name: value"),
    ("a: !!python/object/apply:os.system [ls]", "cannot be read"),
    ("x" * 70000, "at most"),
    (b"lr: \xff\xfe", "line 1: the byte 0xff is not UTF-8.*Save the file as UTF-8"),
    (b"seed: 1\n\nmethod: caf\xe9", "line 3: the byte 0xe9"),
])
def test_row_47_yaml_that_could_be_misread_is_refused_with_its_line(tmp_path, text, complaint):
    (tmp_path / "p.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ParamError, match=complaint):
        load_yaml(tmp_path / "p.yaml")


def test_row_47_numbers_spelt_plainly_are_read_as_written(tmp_path):
    for text in ("0.5", ".5", "5.", "+1.5", "-0.0", "1.5e+3", "1.0E-3", ".inf", "-.INF", "12"):
        (tmp_path / "p.yaml").write_text(f"lr: {text}")
        assert load_yaml(tmp_path / "p.yaml")["lr"] == float(text.replace(".inf", "inf").replace(".INF", "inf"))


IMPOSSIBLE = {"a\0b": "without a zero byte", "x" * 256: "at most 255 in each part", "é" * 128: "at most 255",
              "x/" * 2048 + "y": "less than 4,096 bytes", "~nobody-of-that-name/x": "nobody's home"}


@pytest.mark.parametrize("text", IMPOSSIBLE, ids=IMPOSSIBLE.values())
def test_row_51_text_that_can_be_no_path_is_refused_by_name(images, tmp_path, text, capsys):
    """Folders with the other parameters; data sets and runs when they are looked up, before any work."""
    for model, name in [(model, name) for model, name in FIELDS if name.endswith("_dir")]:
        with pytest.raises(ParamError, match=f"^{name}: .*{IMPOSSIBLE[text]}"):
            model.check(**{name: text})
    for changed in ({"dataset": f"folder:{text}"}, {"init_from": text}, {"runs_dir": text}):
        yaml = write_yaml(tmp_path / "p.yaml", values(images, tmp_path / "runs") | changed)
        assert main([yaml]) == 2 and not list((tmp_path / "runs").rglob("*.json"))
        told = capsys.readouterr().err
        assert told.startswith(f"{next(iter(changed))}: ") and IMPOSSIBLE[text] in told and "Errno" not in told
    for look in (lambda: data.load("cifar10-mini", text), lambda: select(text, tmp_path), lambda: load_yaml(text)):
        with pytest.raises(ParamError, match=IMPOSSIBLE[text]):
            look()


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
def test_row_52_of_a_killed_kernel_the_run_directory_tells_the_truth(forks, images, tmp_path, monkeypatch):
    """papermill writes "completed" beside every cell; the run says unfinished, and goes on to the same weights."""
    import nbformat
    import papermill

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as the processes that it is compared with
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
    assert record(run) == record(the_run(tmp_path / "whole")) and run.finished()


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
