"""The README: every relative link leads somewhere, every file it names is there, every promise names its tests."""

import ast
import csv
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README)))
TEST = r"\[`(test_\w+)`\]\((tests/[\w/]+\.py)\)"
TABLE = README.split("| promise | kept by |\n|---|---|\n")[1].split("\n\n")[0]
PROMISES = dict(re.findall(r"^\| (.+?) \| (.*) \|$", TABLE, re.MULTILINE))


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:notebooks|params)/[\w./-]+\.(?:ipynb|yaml)", README))))
def test_a_file_named_in_a_command_is_there(name):
    assert (ROOT / name).is_file()


def test_the_number_of_published_numbers_is_that_of_the_file():
    rows = list(csv.DictReader((ROOT / "mixlab" / "assets" / "published.csv").open(newline="", encoding="utf-8")))
    memory = sum(row["source_kind"] == "memory" for row in rows)
    assert f"{len(rows) - memory} published numbers (and {memory} quoted from memory" in README


@cache
def functions_of(file):
    return {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("name", "file"), sorted(set(re.findall(TEST, README))))
def test_a_named_test_is_in_its_file(name, file):
    assert name in functions_of(file)


@pytest.mark.parametrize("promise", PROMISES)
def test_a_promise_names_tests_and_nothing_else(promise):
    assert re.fullmatch(rf"{TEST}(, {TEST})*", PROMISES[promise])


def test_the_promises_are_there():
    assert len(PROMISES) >= 20 and len(re.findall("`test_", README)) == len(re.findall(TEST, README))


def test_the_table_of_faults_is_the_measured_one():
    measured = (ROOT / "reports" / "faults.md").read_text().split("## Mutants")[0]
    rows = [line for line in measured.splitlines() if line.startswith("|")]
    assert len(rows) > 12 and "\n".join(rows) in README
    assert all(row.split("|")[-3].strip() == row.split("|")[-2].strip() for row in rows[2:]), "all was held"


def test_papermill_fills_in_single_braces_of_a_path_and_leaves_double_ones(tmp_path, monkeypatch):
    from click.testing import CliRunner
    from papermill.cli import papermill

    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(papermill, [str(ROOT / "notebooks" / "pretrain.ipynb"), "out-{seed}-{{x}}.ipynb",
                                          "--prepare-only", "--no-progress-bar", "-p", "seed", "3"])
    assert done.exit_code == 0 and [file.name for file in tmp_path.iterdir()] == ["out-3-{x}.ipynb"]
