"""The rules for notebooks let a good one through and find every breach in a bad one."""

import notebook_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PARAMETERS = "epochs = 2  # passes over the data, from 0\nlr = 0.1  # peak learning rate, above 0"
CELLS = {
    "title": "# A notebook with a title and a first sentence",
    "parameters": PARAMETERS,
    "why it checks": "The next cell checks every parameter first.",
    "check": "import mixlab\np = mixlab.check(globals())",
    "what to see": "Look for what the picture shows here.",
    "show": "mixlab.show(p)",
}
CODE = ("parameters", "check", "show")


def good(**changes):
    """A notebook that breaks no rule, with the source of some cells changed."""
    book = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}, "language_info": {
        "name": "python", "file_extension": ".py", "mimetype": "text/x-python", "nbconvert_exporter": "python"}})
    book.cells = [(new_code_cell if name in CODE else new_markdown_cell)(source)
                  for name, source in (CELLS | changes).items()]
    book.cells[1].metadata["tags"] = ["parameters"]
    return book


def changed(change):
    book = good()
    change(book)
    return book


BAD = {
    "a magic": (rules.is_plain_python, good(show="%matplotlib inline")),
    "a long cell": (rules.is_short, good(show="\n".join(["mixlab.show(p)"] * 11))),
    "too many cells": (rules.is_short, changed(lambda b: b.cells.extend([new_markdown_cell("more")] * 11))),
    "a function": (rules.has_no_logic, good(show="def f():\n    pass")),
    "a loop": (rules.has_no_logic, good(show="for x in p:\n    x")),
    "a lambda": (rules.has_no_logic, good(show="f = lambda: 1")),
    "a foreign import": (rules.imports_little, good(show="from torch import nn")),
    "a foreign import of a part": (rules.imports_little, good(show="import sklearn.manifold")),
    "no text": (rules.explains_before_it_runs, changed(lambda b: b.cells.pop(4))),
    "hardly any text": (rules.explains_before_it_runs, good(**{"what to see": "Look."})),
    "no parameters": (rules.parameters_are_plain, changed(lambda b: rules.code_cells(b)[0].metadata.clear())),
    "parameters later": (rules.parameters_are_plain, changed(lambda b: b.cells.insert(1, new_code_cell("1")))),
    "a parameter without meaning": (rules.parameters_are_plain, good(parameters="epochs = 2")),
    "a hash in text only": (rules.parameters_are_plain, good(parameters="name = 'a # b'")),
    "a second equals sign": (rules.parameters_are_plain, good(parameters="epochs = 2  # = passes")),
    "a computed parameter": (rules.parameters_are_plain, good(parameters="epochs = 2 * 3  # passes")),
    "two on a line": (rules.parameters_are_plain, good(parameters="epochs = 2; lr = 1  # both")),
    "an annotation": (rules.parameters_are_plain, good(parameters="epochs: int = 2  # passes")),
    "a statement": (rules.parameters_are_plain, good(parameters=PARAMETERS + "\nprint(epochs)  # shown")),
    "the same name twice": (rules.parameters_are_plain, good(parameters=PARAMETERS + "\nlr = 0.2  # again")),
    "a check of two lines": (rules.checks_parameters_next, good(check="p = mixlab.check(globals())\nq = 1")),
    "no check": (rules.checks_parameters_next, good(check="import mixlab")),
    "a kernel of one's own": (rules.names_the_kernel, changed(lambda b: b.metadata.kernelspec.update(name="mine"))),
    "no word on its language": (rules.says_its_language, changed(lambda b: b.metadata.pop("language_info"))),
    "a language without a file's ending": (
        rules.says_its_language, changed(lambda b: b.metadata.language_info.pop("file_extension"))),
    "an output": (rules.is_stored_clean, changed(lambda b: b.cells[-1].outputs.append(new_output("stream")))),
    "a count": (rules.is_stored_clean, changed(lambda b: b.cells[-1].update(execution_count=3))),
    "papermill's notes": (rules.is_stored_clean, changed(lambda b: b.metadata.update(papermill={}))),
}


def test_the_rules_let_a_good_notebook_through():
    assert not rules.problems(good())


@pytest.mark.parametrize(("rule", "book"), BAD.values(), ids=BAD)
def test_the_rules_find(rule, book):
    assert list(rule(book))


def test_every_rule_has_its_breach():
    assert {rule for rule, _ in BAD.values()} == set(rules.RULES)
