"""Names that would be markup, script or formulas are shown as text: in widgets, pages, tables and figures.

Elsewhere: the same in a real browser (``tests/browser/test_pages_security.py``).
"""

import re
from types import FunctionType, SimpleNamespace

import hostile
import matplotlib.pyplot as plt
import numpy as np
import pytest
from hostile import EVIL, EVIL_FILE, markup_in, shown_by_markdown, texts_in, trouble_in
from matplotlib.text import Text

from mixlab import explorers, files, plots, runs
from mixlab.attention.viewer import Viewer
from mixlab.params import Compare, Visualize


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Results whose every name is hostile, made once."""
    folder, patch = tmp_path_factory.mktemp("hostile"), pytest.MonkeyPatch()
    for name in ("clouds", "evaluated", "scores", "grid", "attention"):
        (folder / name).mkdir()
    dataset, pair = hostile.attention_pair(folder / "attention", patch)
    yield SimpleNamespace(folder=folder, clouds=hostile.clouds(folder / "clouds"), dataset=dataset, pair=pair,
                          evaluations=hostile.evaluations(folder / "evaluated"), grid=hostile.grid(folder / "grid"),
                          scores=hostile.scores(folder / "scores"))
    patch.undo()
    plt.close("all")


def asked(on, **values):
    return SimpleNamespace(interactive=on, data_dir="auto", **values)


def album(shown, on):
    one = explorers.Album(shown.evaluations)
    return [one.picture(0)]


def scene(shown, on):
    one = explorers.Scene(hostile.pretrain(shown.dataset).model_copy(update={"label_similarity": "dot"}))
    return [one.picture("cutmix", 0, 3, 0.5, None, 0)]


def embedding(shown, on):
    found = explorers.embedding(asked(on), shown.clouds)
    if found is None:
        return []
    found.hover(0, 1)
    found.select(0, np.arange(30))
    return [found.box]


def attention(shown, on):
    params = Visualize(attention_images=2, interactive=on)
    found = [explorers.attention(params, shown.pair)]
    if not on:
        assert found == [None]  # headless it is a figure: see FIGURES
        return []
    from mixlab.explorers.attention_lab import Desk
    desk = Desk(Viewer(shown.pair, log=quiet), params)
    desk.receive(None, {"name": EVIL}, [memoryview(b"GIF89a")])
    return [*found, desk.widget]


def ablation(shown, on):
    found = [explorers.ablation(asked(on), shown.grid)]
    if on:
        from mixlab.explorers.ablation import Explorer
        explorer = Explorer(shown.grid)
        explorer.tell(explorer.spots[0])
        explorer.offer(explorer.spots[0])
        found.append(explorer.box)
    return found


def browser(shown, on):
    folder = shown.folder / "evaluated"
    return [explorers.run_browser(asked(on, runs_dir=str(folder)))]


def playground(shown, on):
    params = hostile.pretrain(shown.dataset).model_copy(update={"interactive": on, "label_similarity": "dot"})
    return [explorers.playground(params)]


def pages(shown, on):
    from mixlab.explorers.visualize import _places, quality_table
    file = shown.folder / EVIL_FILE
    file.touch()
    named = [cloud for cloud in shown.clouds]
    return [quality_table(named) + _places([file])]


# Every public name of ``explorers``: how to have it show hostile names, interactive or not.
SHOW = {
    "Album": album, "Scene": scene, "ablation": ablation, "attention": attention, "embedding": embedding,
    "comparison": lambda shown, on: [explorers.comparison(
        Compare(interactive=on, **({} if on else {"dataset": EVIL, "encoder": EVIL})), shown.scores)],
    "run_browser": browser, "playground": playground, "pages": pages,
    "wrong_images": lambda shown, on: [explorers.wrong_images(asked(on), shown.evaluations)],
}
PAGES = {
    "ablation_page": lambda shown: explorers.ablation_page(shown.grid),
    "attention_page": lambda shown: explorers.attention_page(shown.pair, images=2, log=quiet),
    "embedding_page": lambda shown: explorers.embedding_page(shown.clouds, EVIL),
}
WRITERS = {"write_ablation_page", "write_attention_page", "write_embedding_page"}  # of the pages above
THROUGH = {"clouds", "maps", "side_by_side", "looks", "localisation"}  # pick what the others show
NAMELESS = {"is_interactive", "live_curve"}


def test_every_public_explorer_is_shown_hostile_names():
    assert set(explorers.__all__) == set(SHOW) | set(PAGES) | WRITERS | THROUGH | NAMELESS


def trouble(thing):
    """Markup in text, in an ``HTML`` or ``Markdown`` output, or in a widget."""
    if isinstance(thing, str):
        return markup_in(thing)
    if hasattr(thing, "data") and isinstance(thing.data, str):
        return markup_in(thing.data)
    return trouble_in(thing)


def texts(thing):
    """Every text of one thing that is shown."""
    if hasattr(thing, "keys") and hasattr(thing, "comm"):
        return list(texts_in(thing))
    return [str(getattr(thing, "data", thing))]


ELSEWHERE = {"ablation", "attention", "embedding"}  # headless their names stand in the page or figure: PAGES, FIGURES


@pytest.mark.parametrize("on", [True, False], ids=["widgets", "headless"])
@pytest.mark.parametrize("name", SHOW)
def test_no_name_becomes_markup_in_an_explorer(shown, name, on):
    things = SHOW[name](shown, on)
    assert not [found for thing in things for found in trouble(thing)]
    named = any("x-evil" in text for thing in things for text in texts(thing))
    assert named == (on or name not in ELSEWHERE), "a name that is not shown proves nothing"
    plt.close("all")


@pytest.mark.parametrize("name", PAGES)
def test_no_name_becomes_markup_in_a_page(shown, name):
    """A page runs the scripts that its policy names by their sha256: its own one, and plotly's where it needs that."""
    page = PAGES[name](shown)
    scripts = 1 + (name == "embedding_page")
    assert not markup_in(page, scripts) and "x-evil" in page
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "http" not in policy
    assert policy.count("'sha256-") == scripts and "'unsafe-inline'" not in policy.split("style-src")[0]
    assert ("'unsafe-eval'" in policy) == (scripts == 2)


TABLES = {
    "evaluation_table": lambda shown: plots.evaluation_table(shown.evaluations),
    "grouped_table": lambda shown: plots.grouped_table(shown.scores),
    "overview": lambda shown: shown_by_markdown(plots.overview(shown.scores, shown.scores).data),
    "paper_table": lambda shown: shown_by_markdown(plots.paper_table(shown.scores, "markdown")),
    "runs_table": lambda shown: plots.runs_table(plots.survey(shown.folder / "evaluated")),
    "summary": lambda shown: plots.summary(finished(shown)).data,
}


def finished(shown):
    run = shown.pair[0]
    files.write_json(run.path / "result.json", run.result() | {
        "run": EVIL, "knn_split": EVIL, "knn_k": 5, "knn_top1": 0.5, "knn_top1_untrained": None, "train_images": 18,
        "seconds": 1.0, "device": EVIL, "threads": 1})
    return run


def test_every_table_is_shown_hostile_names():
    named = {name for name in plots.__all__ if name.endswith("table") or getattr(
        getattr(plots, name), "__module__", "") == "mixlab.plots.tables"}
    assert named | {"summary"} == set(TABLES) | {"accuracy", "markdown"}, "numbers only, and the text of a caller"


@pytest.mark.parametrize("name", TABLES)
def test_no_name_becomes_markup_in_a_table(shown, name):
    text = TABLES[name](shown)
    assert not markup_in(text) and "\u202e" not in text and (name == "overview" or "x-evil" in text)
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len({line.count("|") for line in rows}) <= 1, "a name has broken a row"


FIGURES = {
    "accuracy_bars": lambda shown: plots.accuracy_bars(shown.evaluations, shown.evaluations),
    "alpha_curves": lambda shown: plots.alpha_curves(shown.grid),
    "attention": lambda shown: plots.attention(shown.pair, images=2),
    "beside": lambda shown: plots.beside(shown.scores),
    "confused_pairs": lambda shown: plots.confused_pairs(shown.evaluations[0]),
    "confusion": lambda shown: plots.confusion(shown.evaluations[0]),
    "cost": lambda shown: plots.cost(shown.grid),
    "curves": lambda shown: plots.curves([cloud_run(shown), cloud_run(shown)]),
    "embedding": lambda shown: plots.embedding(shown.clouds),
    "embedding_epochs": lambda shown: plots.embedding_epochs(shown.clouds[0]),
    "few_labels": lambda shown: plots.few_labels(shown.evaluations),
    "gallery": lambda shown: plots.gallery(hostile.pretrain(shown.dataset)),
    "heat_map": lambda shown: plots.heat_map(shown.grid),
    "interaction": lambda shown: plots.interaction(shown.grid),
    "landscape": lambda shown: plots.landscape(shown.scores),
    "localisation": lambda shown: plots.localisation(shown.pair, [scored(), scored()]),
    "mixing_effects": lambda shown: plots.mixing_effects(shown.grid),
    "mixtures": lambda shown: plots.mixtures(hostile.pretrain(shown.dataset)),
    "overlay": lambda shown: plots.overlay(2 * plots.survey(shown.folder / "evaluated")),
    "regions": lambda shown: plots.regions(hostile.pretrain(shown.dataset).model_copy(update=REGIONS)),
    "robustness": lambda shown: plots.robustness(shown.evaluations),
    "shares": lambda shown: plots.shares(hostile.pretrain(shown.dataset), draws=40),
    "similarities": lambda shown: plots.similarities(hostile.pretrain(shown.dataset)),
    "spectrum": lambda shown: plots.spectrum(shown.evaluations),
    "views": lambda shown: plots.views(hostile.pretrain(shown.dataset)),
}
REGIONS = {"method": "regions_within", "mixer": "cutmix"}
SAYS_NO_NAME = {"accuracy_bars", "few_labels", "robustness", "spectrum", "shares", "similarities"}  # methods, numbers
TIMES = {"benchmark_growth", "benchmark_loss", "benchmark_rates", "benchmark_targets"}  # of cases that are ours
NO_PICTURE = {  # numbers, choices of results, and what draws a part of the figures above
    "accuracy", "answers_of", "beta_density", "choices", "chosen", "collect", "colours_of", "comparisons",
    "draw_curves", "effect", "effects_of", "evaluated", "evaluations_of", "example", "filtered", "grid_results",
    "images_of", "in_label", "keep_grid", "markdown", "mean_and_spread", "phi", "png", "published", "rules_of",
    "select", "spelt", "style_of", "survey", "tame", "wrong_index"}


def scored():
    """Localisation scores of one kind of map."""
    numbers = {"energy": 0.5, "energy_se": 0.1, "pointing": 0.5, "pointing_se": 0.1, "chance": 0.25, "questions": 2}
    return {"mosaics": [{"method": "activation", "layer": 4, "power": 2, **numbers}]}


def cloud_run(shown):
    run = runs.Run(shown.folder / "evaluated" / EVIL_FILE)
    (run.path / "history.jsonl").write_text('{"epoch": 0, "loss": null}\n{"epoch": 1, "loss": 1.0}\n')
    return run


def test_every_figure_is_shown_hostile_names():
    functions = {name for name in plots.__all__ if isinstance(getattr(plots, name), FunctionType)}
    assert functions == set(FIGURES) | set(TABLES) | TIMES | NO_PICTURE
    assert not (set(FIGURES) | TIMES) & NO_PICTURE


@pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")  # names so long leave no room
@pytest.mark.parametrize("name", FIGURES)
def test_no_name_becomes_a_formula_in_a_figure(shown, name):
    """``\\frac{`` between dollar signs is no formula: read as one, it stops the drawing."""
    figure = FIGURES[name](shown)
    assert plots.png(figure, dpi=30)
    named = any(re.search("x-evil|gnp.exe", text.get_text()) for text in figure.findobj(Text))
    assert named == (name not in SAYS_NO_NAME), "a name that is not shown proves nothing"
    plt.close("all")
