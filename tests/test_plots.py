"""Pictures: every one is made, of any data; labels are shown as they are; notebooks of results run from end to end."""

import ast
import json
import warnings
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from fake_results import fake_run
from PIL import Image

from mixlab import explorers, plots
from mixlab.errors import DataError
from mixlab.params import LinearEval, Mixers, Pretrain
from mixlab.plots import style
from mixlab.plots.evaluated import by_setting, measures
from mixlab.runs import Run
from mixlab.train import train

ROOT = Path(__file__).parents[1]
HOSTILE = "a$b$ <script>"  # as a formula and as HTML this is a mistake
BLANK = 1500  # bytes of a PNG with hardly anything on it


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def drawn(figure):
    """The figure as PNG, made without a warning; fails where nothing is on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = plots.png(figure)
    assert len(content) > BLANK
    return content


def texts(figure):
    return [t.get_text() for t in figure.findobj(plt.Text)]


# --- images


def folder_of(path, names):
    """A data set of tiny noise images, some in each of ``names`` (or without labels)."""
    draw = np.random.Generator(np.random.Philox(0))
    for split in ("train", "test"):
        for name in names or [""]:
            (path / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(4):
                pixels = draw.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path / split / name / f"{i}.png")
    return f"folder:{path}"


@pytest.fixture(scope="module")
def hostile_folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("hostile"), ("a$b$ script", "_c^{", "plain"))


@pytest.fixture(scope="module")
def unlabelled_folder(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("unlabelled"), ())


OF_IMAGES = {"views": plots.views, "mixtures": plots.mixtures, "gallery": plots.gallery,
             "similarities": plots.similarities}


@pytest.mark.parametrize("picture", OF_IMAGES.values(), ids=OF_IMAGES)
@pytest.mark.parametrize("make", [Mixers, Pretrain])
def test_pictures_of_images(picture, make):
    mixer = {"mixer": "resizemix"} if make is Mixers else {"mixer": "none", "method": "supcon"}
    drawn(picture(make.check(**mixer)))


def test_shares_of_a_mixer():
    drawn(plots.shares(Mixers.check(mixer="mixup", alpha=0.3), draws=50))


@pytest.mark.parametrize("name", ["views", "mixtures", "gallery"])
def test_class_names_are_shown_as_they_are(name, hostile_folder):
    params = Mixers.check(dataset=hostile_folder, image_size=8, mixer="mixup")
    figure = OF_IMAGES[name](params)
    drawn(figure)
    assert any(r"a\$b\$ script" in text for text in texts(figure))


@pytest.mark.parametrize(("values", "mean"), [
    ({"mixer": "saliencymix"}, 0.62), ({"mixer": "pick", "pick_from": ["saliencymix", "resizemix"]}, 0.69),
    ({"mixer": "pick", "pick_from": ["mixup", "resizemix"]}, 0.63), ({"mixer": "mixup", "lam_per": "batch"}, 0.5)])
def test_shares_are_those_of_real_images_and_of_many_batches(values, mean):
    """On blank images SaliencyMix's boxes lie in a corner, mean share 0.87; one batch has one pick, or one share."""
    figure = plots.shares(Mixers.check(**values))
    heights = np.array([bar.get_height() for bar in figure.axes[1].patches])
    assert heights.sum() == 4000
    assert heights @ (np.arange(40) + 0.5) / 40 / 4000 == pytest.approx(mean, abs=0.04)
    assert (heights > 0).sum() > 15


def test_letters_without_a_font_are_spelt_and_said_once(monkeypatch, capsys):
    monkeypatch.setitem(plt.rcParams, "font.family", ["DejaVu Sans"])
    style._say_spelling.cache_clear()
    figure, ax = plt.subplots()
    ax.set(title=style.verbatim("猫 é α→ $x$\n犬"), xlabel=style.short("猫犬"))
    drawn(figure)
    assert (ax.get_title(), ax.get_xlabel()) == (r"\u732b é α→ \$x\$" "\n" r"\u72ac", r"\u732b\u72ac")
    assert capsys.readouterr().out.count("no font here has") == 1


def test_an_installed_east_asian_font_is_asked_after_the_usual_one(monkeypatch):
    monkeypatch.setitem(plt.rcParams, "font.family", ["sans-serif"])
    monkeypatch.setattr(style.font_manager, "get_font_names", lambda: ["Yu Gothic", "DejaVu Sans", "Noto Sans CJK SC"])
    style._add_fallbacks()
    style._add_fallbacks()
    assert plt.rcParams["font.family"] == ["sans-serif", "Noto Sans CJK SC", "Yu Gothic"]


def test_long_class_names_are_shortened_and_take_no_room(tmp_path):
    assert style.short("a" * 24) == "a" * 24 and style.short("a" * 25) == "a" * 23 + "…"
    long, short = (folder_of(tmp_path / name[:5], (name, "plain")) for name in ("a rather long name " * 9, "short"))
    figures = [plots.mixtures(Mixers.check(dataset=one, image_size=8, mixer="mixup")) for one in (long, short)]
    boxes = []
    for figure in figures:
        drawn(figure)
        renderer = figure.canvas.get_renderer()
        heads = [ax.title.get_window_extent(renderer) for ax in figure.axes[:5]]
        boxes.append([ax.get_window_extent(renderer).width for ax in figure.axes[:5]])
        assert all(a.x1 < b.x0 for a, b in pairwise(heads)), "no header reaches into the next"
    np.testing.assert_allclose(*boxes, atol=1)
    assert any("a rather long name a ra…" in text for text in texts(figures[0]))


@pytest.mark.parametrize("name", ["views", "gallery"])
def test_images_without_labels(name, unlabelled_folder):
    drawn(OF_IMAGES[name](Pretrain.check(dataset=unlabelled_folder, image_size=8, method="simclr", mixer="mixup",
                                         train_size=4, batch_size=4), **({"images": 4} if name == "views" else {})))


# --- training


@pytest.fixture
def trained(tmp_path):
    """Two finished runs with names that would be formulas and tags."""
    rows = [{"epoch": 0, "loss": None, "knn_top1": 0.2}, {"epoch": 1, "loss": 5.0},
            {"epoch": 2, "loss": 4.0, "knn_top1": 0.3}]
    found = []
    for name in (HOSTILE, "x_$_|"):
        run = tmp_path / name
        run.mkdir()
        (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (run / "params.json").write_text(json.dumps(Pretrain().resolved() | {"dataset": f"folder:{HOSTILE}"}))
        (run / "result.json").write_text(json.dumps({
            "status": "ok", "knn_split": "test", "knn_k": 5, "knn_top1": 0.3, "knn_top1_untrained": None,
            "train_images": 9, "seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"mixlab": "0"}}))
        found.append(Run(run))
    return found


def test_curves_of_several_runs_with_any_name(trained):
    figure = plots.curves(trained)
    drawn(figure)
    assert not [text for text in figure.legends[0].get_texts() if "script" in text.get_text()
                and text.get_text() != HOSTILE.replace("$", r"\$")]
    drawn(plots.curves(trained[:1]))


def test_the_summary_is_escaped(trained):
    for run in trained:
        text = plots.summary(run).data
        assert "<script>" not in text and "not measured" in text
        assert all(line.count("|") - line.count(r"\|") == 3 for line in text.split("\n"))


# --- evaluations


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    """Two methods of two seeds, an untrained encoder and a control."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        fake_run(folder, "supcon", seed=seed, level=0.4)
        fake_run(folder, "mixsupcon", seed=seed, level=0.45)
    fake_run(folder, "simclr", epochs=0, level=0.2)
    fake_run(folder, "cross_entropy", level=0.5)
    return plots.evaluated(folder)


def of(evaluations, method):
    return [one for one in evaluations if one.record["method"] == method]


OF_EVALUATIONS = {"spectrum": plots.spectrum, "robustness": plots.robustness, "few_labels": plots.few_labels,
                  "accuracy_bars": lambda shown: plots.accuracy_bars(shown, shown)}


@pytest.mark.parametrize("picture", OF_EVALUATIONS.values(), ids=OF_EVALUATIONS)
@pytest.mark.parametrize("count", [1, 6])
def test_pictures_of_evaluations(picture, count, evaluations):
    drawn(picture(evaluations[:count]))


def test_bars_show_mean_spread_floor_and_reference(evaluations):
    shown = of(evaluations, "supcon") + of(evaluations, "mixsupcon")
    figure = plots.accuracy_bars(shown, evaluations)
    ax = next(ax for ax in figure.axes if ax.get_title() == "kNN, k 200")
    widths = [bar.get_width() for bar in ax.patches]
    values = [100 * measures(one)["kNN, k 200", "encoder"] for one in of(evaluations, "supcon")]
    assert widths[0] == pytest.approx(np.mean(values)) and len(widths) == 4
    (floor,), (control,) = of(evaluations, "simclr"), of(evaluations, "cross_entropy")
    vertical = {line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1 and line.get_ls() in "--:"}
    assert {100 * measures(one)["kNN, k 200", "encoder"] for one in (floor, control)} <= vertical
    assert "cross-entropy control: 1 run" in texts(figure)


def test_an_absent_floor_or_reference_is_said(evaluations):
    shown = of(evaluations, "supcon")
    words = texts(plots.accuracy_bars(shown, shown))
    assert "untrained encoder (floor): none evaluated, so no line" in words
    assert "cross-entropy control: none evaluated, so no line" in words


def test_the_run_itself_may_know_its_floor(tmp_path):
    run = fake_run(tmp_path, "supcon")
    (run / "result.json").write_text(json.dumps({"status": "ok", "knn_split": "test", "knn_k": 200,
                                                 "knn_top1_untrained": 0.123}))
    (one,) = plots.evaluated(tmp_path)
    assert one.untrained_knn == {("kNN, k 200", "encoder"): 0.123}
    words = texts(plots.accuracy_bars([one], [one]))
    assert "untrained encoder (floor): as the run recorded it, kNN, k 200 only" in words
    (run / "result.json").write_text(json.dumps({"status": "ok", "knn_split": "val", "knn_k": 200,
                                                 "knn_top1_untrained": 0.123}))
    assert one.untrained_knn == {}, "a validation split is another protocol"
    (run / "result.json").write_text(json.dumps({"status": "ok", "knn_split": "test", "knn_k": 200,
                                                 "train_images": 7, "knn_top1_untrained": 0.123}))
    assert one.untrained_knn == {}, "so is another number of images"


def test_a_fine_tuned_or_smaller_run_is_no_reference(tmp_path):
    fake_run(tmp_path, "cross_entropy", init_from="x")
    fake_run(tmp_path, "cross_entropy", train_size=500)
    shown = fake_run(tmp_path, "supcon")
    everything = plots.evaluated(tmp_path)
    like = [one for one in everything if one.run.path == shown]
    assert "cross-entropy control: none evaluated, so no line" in texts(plots.accuracy_bars(like, everything))
    assert {one.method for one in everything} == {"supcon", "cross_entropy", "cross_entropy (fine-tuned from x)"}


def test_seeds_share_a_label_and_settings_do_not(tmp_path):
    for seed in (0, 1):
        fake_run(tmp_path, "supcon", seed=seed)
    fake_run(tmp_path, "supcon", lr=0.3)
    fake_run(tmp_path, "supcon", epochs=9)
    groups = by_setting(plots.evaluated(tmp_path))
    assert sorted(map(len, groups.values())) == [1, 1, 2] and len(set(groups)) == 3
    assert sum("9 epochs" in label for label in groups) == 1


def test_other_protocols_are_other_bars_and_lines(tmp_path):
    """Seeds evaluated in two ways are not averaged, and a floor of another protocol is none."""
    for seed, lr in enumerate((0.1, 0.5)):
        fake_run(tmp_path, "supcon", seed=seed, protocol={"probe_lr": lr})
    fake_run(tmp_path, "simclr", epochs=0, level=0.2, protocol={"probe_lr": 0.5})
    fake_run(tmp_path, "cross_entropy", level=0.5, protocol={"probe_epochs": 7})
    everything = plots.evaluated(tmp_path)
    shown = sorted(of(everything, "supcon"), key=lambda one: one.record["seed"])
    assert list(by_setting(shown)) == ["supcon, probe_lr 0.1", "supcon, probe_lr 0.5"]
    assert "cifar10-mini, probe_lr 0.5<" in plots.evaluation_table(shown)
    assert "probe_lr" not in plots.evaluation_table(shown[:1])
    runs = explorers.wrong_images(LinearEval(interactive=True), shown).children[0]
    assert [name.split(", ")[-1] for name, _ in runs.options] == ["probe_lr 0.1", "probe_lr 0.5"]
    words = texts(plots.accuracy_bars(shown, everything))
    assert "untrained encoder (floor): none evaluated, so no line" in words
    assert "cross-entropy control: none evaluated, so no line" in words
    figure = plots.accuracy_bars(shown[::-1], everything)
    assert "untrained encoder (floor): 1 run" in texts(figure)
    dashed = [line.get_ydata().tolist() for line in figure.axes[0].lines if line.get_ls() == "--"]
    assert dashed == [[-0.5, 0.5]], "the line crosses the bars of its own protocol only"


def test_evaluations_of_one_run_by_equal_rules_are_one_bar(tmp_path):
    run = fake_run(tmp_path, "supcon")
    record = json.loads((run / "linear_eval.json").read_text())
    (run / "linear_eval-00000000.json").write_text(json.dumps(record))
    record |= {"probes": [], "robustness": [], "geometry": {}, "few_labels": record["few_labels"][:1]}
    (run / "linear_eval.json").write_text(json.dumps(record | {"protocol": record["protocol"] | {"probes": []}}))
    newest, earlier = plots.evaluated(tmp_path)
    ((one,),) = by_setting([newest, earlier]).values()
    assert measures(one) == measures(earlier) and len(one.record["few_labels"]) == 2
    assert one.record["robustness"] == earlier.record["robustness"] and one.file == newest.file
    assert newest.record["probes"] == [] and earlier.arrays() == {}, "nothing stored is changed"
    assert plots.chosen([newest.run], [earlier.record]) == [earlier]


def test_what_was_not_measured_is_said(tmp_path):
    run = fake_run(tmp_path, "supcon")
    record = json.loads((run / "linear_eval.json").read_text())
    record |= {"robustness": [], "few_labels": [], "geometry": {}, "probes": [], "predictions_of": None}
    (run / "linear_eval.json").write_text(json.dumps(record))
    shown = plots.evaluated(tmp_path)
    for name, what in (("robustness", "Robustness"), ("few_labels", "Few labels"), ("spectrum", "Geometry")):
        figure = OF_EVALUATIONS[name](shown)
        drawn(figure)
        assert any(text.startswith(f"{what} w") for text in texts(figure))
    drawn(OF_EVALUATIONS["accuracy_bars"](shown))
    assert "kNN" in plots.confusion(shown[0]).axes[0].get_title()


def test_confusion_counts_every_test_image(evaluations):
    one = of(evaluations, "supcon")[0]
    figure = plots.confusion(one)
    drawn(figure)
    shares = figure.axes[0].images[0].get_array()
    labels, predictions, names = plots.answers_of(one)
    assert shares.shape == (10, 10) and np.allclose(shares.sum(axis=1), 100)
    cats = predictions[labels == names.index("cat")]
    assert shares[3, 5] == pytest.approx(100 * (cats == names.index("dog")).mean())


def test_confused_pairs_show_the_images_that_were_mistaken(evaluations):
    one = of(evaluations, "supcon")[0]
    figure = plots.confused_pairs(one, pairs=2, images=3)
    drawn(figure)
    label = figure.axes[0].get_ylabel()
    true, said = label.split("\n")[0].split(" → ")
    labels, predictions, names = plots.answers_of(one)
    wrong = plots.wrong_index(one, names.index(true), names.index(said))
    assert label.endswith(f"\n{len(wrong)} of {(labels == names.index(true)).sum()}")
    counts = [(labels == t) & (predictions == p) for t in range(10) for p in range(10) if t != p]
    assert len(wrong) == max(map(np.sum, counts))
    pixels, trouble = plots.images_of(one)
    assert not trouble and np.array_equal(figure.axes[0].images[0].get_array(), pixels[wrong[0]])


def test_many_classes_and_hostile_names(tmp_path):
    fake_run(tmp_path, "supcon", dataset="cifar100")
    fake_run(tmp_path, "supcon", dataset=f"folder:{HOSTILE}", name="plain")
    for one in sorted(plots.evaluated(tmp_path), key=lambda one: one.run.name == "plain"):
        drawn(plots.confusion(one))
        drawn(plots.accuracy_bars([one], [one]))
    figure = plots.confused_pairs(one)
    drawn(figure)
    assert any(text.startswith("The images cannot be shown: ") for text in texts(figure)), "a folder that is not there"
    table = plots.evaluation_table(plots.evaluated(tmp_path))
    assert "<script>" not in table and "a$b$ &lt;script&gt;" in table


def test_images_of_another_test_set_are_not_shown(tmp_path):
    run = fake_run(tmp_path, "supcon")
    record = json.loads((run / "linear_eval.json").read_text())
    (run / "linear_eval.json").write_text(json.dumps(record | {"data_checksum": {"train": "", "test": "other"}}))
    pixels, why = plots.images_of(plots.evaluated(tmp_path)[0])
    assert pixels is None and "not the one that was evaluated" in why


def test_an_evaluation_without_predictions_is_named(tmp_path):
    run = fake_run(tmp_path, "supcon")
    (run / "embeddings.npz").unlink()
    with pytest.raises(DataError, match=r"linear_eval.json: stored predictions; got none"):
        plots.confusion(plots.evaluated(tmp_path)[0])


def test_a_perfect_run_has_no_pairs(tmp_path):
    fake_run(tmp_path, "supcon", level=1.0)
    figure = plots.confused_pairs(plots.evaluated(tmp_path)[0])
    assert any("every test image was recognised" in text for text in texts(figure))


# --- the explorer of wrong images


def test_picking_runs_and_classes_changes_table_and_images(evaluations):
    shown = evaluations[:3]
    runs, table, which, classes, view = explorers.wrong_images(LinearEval(interactive=True), shown).children
    true, said = classes.children
    assert table.value.count("<tr>") == 2 and view.value.count("<img") == 40
    runs.value = (0, 1, 2)
    assert table.value.count("<tr>") == 4 and len(which.options) == 3
    before, true.value = view.value, 3
    assert view.value != before and "cat →" in view.value and "dog →" not in view.value
    said.value = 4
    assert f"{len(plots.wrong_index(shown[0], 3, 4))} of 1000 test images" in view.value
    before, which.value = view.value, 2
    assert view.value != before
    runs.value = ()
    assert table.value.count("<tr>") == 1 and view.value == ""


def test_headless_the_explorer_is_the_table(evaluations):
    shown = explorers.wrong_images(LinearEval(interactive=False), evaluations)
    assert shown.data == plots.evaluation_table(evaluations)


# --- the notebook


def cells(name):
    return json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]


def code(name):
    return ["".join(cell["source"]) for cell in cells(name) if cell["cell_type"] == "code"]


def test_the_parameters_cell_is_the_model():
    written = {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse(code("linear_eval")[0]).body}
    assert LinearEval.check(**written) == LinearEval() and list(written) == list(LinearEval.model_fields)


@pytest.mark.parametrize("name", ["linear_eval", "compare"])
def test_notebooks_of_results_are_short(name):
    assert len(cells(name)) <= 15


def test_the_notebook_runs_from_a_real_run_to_every_picture(tmp_path, hostile_folder):
    torch.set_num_threads(1)
    params = Pretrain.check(method="supcon", epochs=0, dataset=hostile_folder, image_size=8, batch_size=4,
                            runs_dir=str(tmp_path))
    run = train(params, on_epoch=lambda row: None)
    tiny = LinearEval.from_yaml(ROOT / "tests" / "tiny" / "linear_eval.yaml").model_dump()
    namespace = {"In": []}
    exec(code("linear_eval")[0], namespace)
    namespace |= tiny | {"runs_dir": str(tmp_path), "interactive": False}
    for cell in code("linear_eval")[1:]:
        exec(cell, namespace)
    assert [one.run.name for one in namespace["shown"]] == [run.name]
    assert len(plt.get_fignums()) == 6
    for number in plt.get_fignums():
        drawn(plt.figure(number))
    record = json.loads((run.path / "linear_eval.json").read_text())
    assert record["status"] == "ok" and {e["probe"] for e in record["probes"]} == {"sgd", "lbfgs"}


@pytest.mark.parametrize(("values", "wrong"), [
    ({"method": "regions_between"}, None), ({"method": "regions_within"}, None),
    ({"method": "regions_within", "profile": "as_released"}, "2 join")])
def test_region_methods_show_which_pairs_attract(values, wrong):
    figure = plots.regions(Pretrain.check(**values))
    title = figure.axes[1].get_title()
    assert "pairs that attract" in title and (wrong or "each shows one image") in title
    plt.close(figure)


def test_other_methods_have_no_regions_to_show():
    assert plots.regions(Pretrain.check(method="moco")) is None


def test_pictures_of_images_without_labels(tmp_path):
    """A folder without class subfolders, for SimCLR: every picture of the pretrain notebook."""
    generator = np.random.Generator(np.random.Philox(key=0))
    for i in range(60):
        Image.fromarray(generator.integers(256, size=(32, 32, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    params = Pretrain.check(method="simclr", mixer="cutmix", dataset=f"folder:{tmp_path}", batch_size=4)
    for draw in (plots.views, plots.mixtures, plots.similarities):
        plt.close(draw(params))


def test_views_are_those_of_the_method():
    """The control sees weak views, the contrastive methods strong ones: the pictures differ."""
    shown = []
    for method in ("cross_entropy", "supcon"):
        figure = plots.views(Pretrain.check(method=method), images=1, repeats=1)
        shown.append(np.asarray(figure.axes[1].images[0].get_array()))
        plt.close(figure)
    assert np.abs(shown[0] - shown[1]).max() > 0.05
