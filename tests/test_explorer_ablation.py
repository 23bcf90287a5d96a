"""The explorer of a grid: widgets that tell about a square and open its runs, and the page that does so alone."""

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_grid import fake_grid

from mixlab import explorers, plots
from mixlab.explorers.ablation import Explorer
from mixlab.explorers.spots import Strips, effect_in_words, nearby, spots_of

AXES = {"mixer": ["mixup", "resizemix"], "alpha": [0.5, 2.0]}


def top1(cell):
    return 0.3 + 0.01 * cell.seed + {"none": 0, "mixup": 0.02}.get(cell.resolved["mixer"], 0.04)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return plots.grid_results(fake_grid(tmp_path_factory.mktemp("grid"), top1, axes=AXES, seeds=[0, 1]))


def point(row, column):
    return SimpleNamespace(ys=[row], xs=[column])


def test_pointing_tells_about_the_square(results):
    explorer = Explorer(results)
    explorer.tell(explorer.at(point(0, 1)))
    told = explorer.told.value
    assert "mixup, alpha 2" in told and "32.5 ± 0.7, n 2" in told and "+2.0 points to unmixed, 2 paired seeds" in told
    assert told.count("<tr>") == 3 and told.count("data:image/png;base64,") == 2
    for column in (0, 1):
        explorer.tell(explorer.at(point(1, column)))
        assert "resizemix" in explorer.told.value, "it fills its row"
    explorer.tell(explorer.at(point(2, 0)))
    assert "unmixed (supcon)" in explorer.told.value and "points to" not in explorer.told.value
    assert explorer.at(SimpleNamespace(ys=[], xs=[])) is None


def test_clicking_opens_a_run_and_offers_the_others(results):
    explorer = Explorer(results)
    assert explorer.run.layout.display == "none"
    explorer.offer(explorer.at(point(0, 0)))
    first, second = (name for name, _ in explorer.run.options)
    assert explorer.run.layout.display is None and first in explorer.facts.value and second not in explorer.facts.value
    explorer.run.value = 1
    assert second in explorer.facts.value and "linear_eval.ipynb" in explorer.facts.value


def test_the_map_shows_every_square_and_can_send_nothing(results):
    figure = Explorer(results).figure
    trace = figure.data[0]
    assert trace.z.shape == (3, 2) and trace.z[1].tolist() == pytest.approx([34.5, 34.5])
    assert [row[0] for row in trace.text] == ["32.5 ± 0.7, n 2", "34.5 ± 0.7, n 2", "30.5 ± 0.7, n 2"]
    assert figure._config["showSendToCloud"] is False


def test_several_panels_are_chosen(tmp_path):
    axes = {"method": ["simclr", "mixsupcon"], **AXES}
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=axes, seeds=[0]))
    explorer = Explorer(found)
    explorer.panel.value = 1
    assert "mixsupcon" in explorer.figure.layout.title.text and "mixsupcon" in explorer.at(point(0, 0)).title


def test_headless_it_writes_one_page_that_asks_for_nothing(results):
    shown = explorers.ablation(SimpleNamespace(interactive=False), results)
    file = results.params.folder / "ablation.html"
    assert nearby(file) in shown.data
    page = file.read_text()
    assert not re.findall(r"https?:|//[a-z]+\.", page)
    assert page.count("data:image/png;base64,") == 8 and "mixup, alpha 0.5" in page
    assert "95 % interval of this one alone" in page and "for all 3 comparisons at once" in page


def test_a_grid_that_cannot_be_written_is_shown_all_the_same(tmp_path, capsys, modes_count):
    """A finished grid on a disk mounted read-only, only looked at: table, figures and page are said not to be kept."""
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=AXES, seeds=[0]))
    folder = found.params.folder
    before = sorted(folder.rglob("*"))
    folder.chmod(0o555)
    assert plots.keep_grid(found, {"heat_map": plots.heat_map(found)}) == []
    assert capsys.readouterr().out == f"Note: {folder} can't be written: table, figures and page are not kept.\n"
    assert "their page is not kept" in explorers.ablation(SimpleNamespace(interactive=False), found).data
    folder.chmod(0o755)
    assert sorted(folder.rglob("*")) == before


def test_an_effect_is_told_with_the_interval_that_holds_for_all_comparisons():
    """Student's factors for two degrees of freedom: 4.3027 for 5 %, 7.6488 for a third of it (Bonferroni)."""
    pairs = [(SimpleNamespace(top1=0.3 + d), SimpleNamespace(top1=0.3)) for d in (0.01, 0.02, 0.03)]
    assert effect_in_words(plots.effect(pairs, 3)) == (
        "+2.0 points to unmixed, 3 paired seeds; 95 % interval of this one alone -0.5 to +4.5, which holds 0, for all "
        "3 comparisons at once -2.4 to +6.4, which holds 0.")
    assert effect_in_words(plots.effect(pairs)).endswith("; 95 % interval -0.5 to +4.5, which holds 0.")
    near = [(SimpleNamespace(top1=0.3 + d), SimpleNamespace(top1=0.3)) for d in (0.015, 0.02, 0.025)]
    text = effect_in_words(plots.effect(near, 3))
    assert "alone +0.8 to +3.2, which misses 0, for all 3 comparisons at once -0.2 to +4.2, which holds 0" in text


def test_the_page_of_the_small_study_says_what_its_table_does():
    """Every square's effect, by both intervals, made again from ``results.csv``."""
    folder = Path(__file__).parents[1] / "reports" / "small-study"
    rows = list(csv.DictReader((folder / "results.csv").open(newline="")))
    groups = {}
    for row in rows:
        if row["unmixed_top1"]:
            pair = (SimpleNamespace(top1=float(row["top1"])), SimpleNamespace(top1=float(row["unmixed_top1"])))
            groups.setdefault((row["mixer"], f"{float(row['alpha']):g}" if row["alpha"] else None), []).append(pair)
    text = (folder / "ablation.html").read_text().split("const DATA = ")[1].split("\n")[0].removesuffix(";")
    (panel,) = json.loads(text)["panels"]
    told = {(spot["row"], spot["column"]): spot["effect"] for spot in panel["spots"] if spot["effect"]}
    assert told == {spot: effect_in_words(plots.effect(pairs, len(groups))) for spot, pairs in groups.items()}
    assert len(told) == 16 and all("for all 16 comparisons at once" in effect for effect in told.values())


def test_without_runs_both_say_so(tmp_path):
    params = fake_grid(tmp_path, top1, axes=AXES, seeds=[0]).model_copy(update={"grid_dir": str(tmp_path / "none")})
    found = plots.grid_results(params)
    assert "No run" in explorers.ablation(SimpleNamespace(interactive=True), found).data
    assert "<h1>Ablation</h1>" in explorers.ablation_page(found)


EVIL = "folder:</script><script>alert(1)</script>$x$\"'"


def test_names_never_become_markup(tmp_path):
    """A folder may be called anything; its images are not there either, so there are no mixtures, and no error."""
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=AXES, seeds=[0], base={"dataset": EVIL}))
    page = explorers.ablation_page(found)
    assert "<script>alert" not in page and page.count("</script>") == 1 and "\\u003cscript\\u003ealert" in page
    explorer = Explorer(found)
    explorer.tell(explorer.at(point(0, 0)))
    explorer.offer(explorer.at(point(0, 0)))
    for text in (explorer.told.value, explorer.facts.value):
        assert "<script>" not in text and "&lt;script&gt;" in text
    title = explorer.figure.layout.title.text
    assert "<script>" not in title and "&#60;script&#62;" in title and "$" not in title
    assert explorer.told.value.count("data:image") == 1


def test_mixtures_are_those_of_the_squares_mixer(results):
    strips, spots = Strips(), spots_of(results.panels[0], 1)
    mixed, again, other, plain = (strips.strip(spots[i]) for i in (0, 0, 2, 3))
    assert mixed.shape == (64, 8 * 64, 3) and (mixed == again).all()
    assert (mixed != plain).any() and (mixed != other).any()


def test_paths_name_no_machine(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.chdir(tmp_path / "notebooks")
    assert nearby(tmp_path / "runs" / "x") == "runs/x"
    assert nearby(tmp_path.parent / "y") == str(tmp_path.parent / "y")
