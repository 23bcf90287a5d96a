"""The README: every relative link leads somewhere, every file it names is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
LINKS = sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)\)", README)))


@pytest.mark.parametrize("link", LINKS)
def test_a_link_leads_somewhere(link):
    assert (ROOT / link).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?:notebooks|params)/[\w./-]+\.(?:ipynb|yaml)", README))))
def test_a_file_named_in_a_command_is_there(name):
    assert (ROOT / name).is_file()
