"""Pictures of grids, on made-up runs: what stands in each square, what is compared with what, and what never is."""

import csv
import json

import matplotlib.pyplot as plt
import pytest
from fake_grid import fake_cell, fake_grid, write_state

from mixlab import plots
from mixlab.params import Ablation

AXES = {"mixer": ["mixup", "resizemix"], "alpha": [0.5, 2.0]}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def top1(cell):
    """Seeds differ by a point; mixup gains 2, 3 and 4 points with seeds 0, 1 and 2, and one more with alpha 2."""
    values = cell.resolved
    gain = {"none": 0, "mixup": 0.02 + 0.01 * cell.seed, "resizemix": -0.05}.get(values["mixer"], 0)
    return 0.3 + 0.01 * cell.seed + gain + (0.01 if values["alpha"] == 2.0 else 0)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return plots.grid_results(fake_grid(tmp_path_factory.mktemp("grid"), top1, axes=AXES, seeds=[0, 1, 2]))


def texts(figure):
    return [text.get_text() for place in (*figure.axes, figure) for text in place.texts]


def labels(ax, axis="y"):
    return [tick.get_text() for tick in getattr(ax, f"get_{axis}ticklabels")()]


def test_each_square_says_mean_spread_and_count(results):
    figure = plots.heat_map(results)
    assert texts(figure)[:4] == ["34.0\n± 2.0, n 3", "35.0\n± 2.0, n 3", "26.0\n± 1.0, n 3", "31.0\n± 1.0, n 3"]
    ax = figure.axes[0]
    assert labels(ax) == ["mixup", "resizemix", "unmixed (supcon)"] and labels(ax, "x") == ["0.5", "2"]
    widths = [patch.get_width() for patch in ax.patches]
    assert widths == [1, 1, 2, 2], "a mixer without alpha, and the unmixed run, fill their rows"
    assert "L-BFGS" in figure.get_suptitle() and "test" in figure.get_suptitle()


def test_missing_and_failed_cells_are_seen(tmp_path):
    whole = fake_grid(tmp_path / "whole", top1, axes=AXES, seeds=[0, 1])
    gone = [c.name for c in whole.cells if (c.resolved["alpha"], c.seed) in ((0.5, 0), (2.0, 0), (2.0, 1))]
    params = fake_grid(tmp_path, top1, leave=gone, axes=AXES, seeds=[0, 1])
    write_state(params.folder, params.cells[0], "failed", tmp_path / "nowhere", "out of memory")
    found = plots.grid_results(params)
    assert texts(plots.heat_map(found))[:2] == ["34.0\nn 1 of 2", "0 of 2"]
    assert found.failed == {params.cells[0].name: "out of memory"}


def test_an_empty_grid_says_so(tmp_path):
    found = plots.grid_results(fake_grid(tmp_path, top1, leave=[]).model_copy(update={"grid_dir": str(tmp_path / "x")}))
    assert not found.made
    for draw in (plots.heat_map, plots.alpha_curves, plots.mixing_effects, plots.interaction, plots.cost):
        figure = draw(found)
        assert texts(figure) and figure.axes, "a notebook shows no figure without axes"


def test_effects_are_paired_by_seed_with_students_interval(results):
    """Differences of 2, 3 and 4 points: mean 3, sd 1; t(0.975, 2) = 4.3027, for four at once t(0.99375, 2) = 8.8602."""
    (panel,) = results.panels
    assert plots.comparisons(results) == 3
    effect = plots.effects_of(panel, 4)["mixup", 0.5]
    assert (effect.n, effect.mean) == (3, pytest.approx(0.03))
    assert effect.interval == pytest.approx((0.03 - 0.043027 / 3**0.5, 0.03 + 0.043027 / 3**0.5), abs=1e-6)
    assert effect.wide == pytest.approx((0.03 - 0.088602 / 3**0.5, 0.03 + 0.088602 / 3**0.5), abs=1e-6)
    constant = plots.effects_of(panel, 1)["resizemix", None]
    assert constant.interval == pytest.approx((-0.05, -0.05)), "seeds that differ alike leave no spread"


def test_only_seeds_with_both_runs_count(tmp_path):
    whole = fake_grid(tmp_path / "whole", top1, axes=AXES, seeds=[0, 1])
    gone = [c.name for c in whole.cells if c.resolved["mixer"] == "none" and c.seed == 0]
    found = plots.grid_results(fake_grid(tmp_path, top1, leave=gone, axes=AXES, seeds=[0, 1]))
    effect = plots.effects_of(found.panels[0], 1)["mixup", 0.5]
    assert (effect.n, effect.interval, effect.wide) == (1, None, None) and effect.mean == pytest.approx(0.03)
    ax = plots.mixing_effects(found).axes[0]
    dots = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert texts(ax.figure) == ["n 1"] * 3 and {dot.get_mfc() for dot in dots} == {"none"}


def test_the_picture_of_effects_shows_both_intervals(results):
    ax = plots.mixing_effects(results).axes[0]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_linewidth() in (1, 4)]
    thin, thick = (next(line for line in lines if line.get_linewidth() == width) for width in (1, 4))
    assert thick.get_xdata() == pytest.approx([3 - 4.3027 / 3**0.5, 3 + 4.3027 / 3**0.5], abs=1e-3)
    assert thin.get_xdata()[0] < thick.get_xdata()[0] and "all 3 comparisons" in ax.get_xlabel()
    assert labels(ax) == ["mixup, alpha 0.5", "mixup, alpha 2", "resizemix"] and "supcon unmixed" in ax.get_title()


def other_images(params, cell, **values):
    """Replaces the run of a cell by one on other images."""
    path = params.folder.parent / "runs" / f"other-{cell.key}"
    fake_cell(path, cell, 0.9, params.protocol().record(), **values)
    write_state(params.folder, cell, "ok", path)


def test_other_images_are_never_averaged_nor_paired(tmp_path):
    params = fake_grid(tmp_path, top1, axes=AXES, seeds=[0, 1])
    odd = next(c for c in params.cells if c.resolved["mixer"] == "mixup" and c.seed == 0)
    other_images(params, odd, checksum="3" * 64)
    found = plots.grid_results(params)
    assert len(found.panels) == 2 and len({panel.title for panel in found.panels}) == 2
    (alone,) = (panel for panel in found.panels if len([m for g in panel.spots.values() for m in g]) == 1)
    assert alone.spots["mixup", 0.5][0].top1 == 0.9 and not plots.effects_of(alone, 1)
    assert "33333" in alone.title and len(plots.heat_map(found).axes) == 4


@pytest.mark.parametrize("name", ["dataset", "encoder", "epochs", "temperature", "method"])
def test_what_else_varies_gets_panels_of_its_own(tmp_path, name):
    values = {"dataset": ["cifar10-mini", "cifar10"], "encoder": ["resnet10", "resnet18"], "epochs": [2, 3],
              "temperature": [0.1, 0.2], "method": ["simclr", "mixsupcon"]}[name]
    base = {} if name == "epochs" else {"epochs": 2}
    found = plots.grid_results(fake_grid(tmp_path, top1, axes={name: values, **AXES}, base=base, seeds=[0]))
    assert len(found.panels) == 2
    for panel, value in zip(found.panels, values, strict=True):
        assert f"{value:g}" in panel.title if name == "temperature" else str(value) in panel.title
        assert {m.cell.resolved[name] for group in panel.spots.values() for m in group} == {value}
        (relative,) = panel.references.values()
        assert relative.cell.resolved["mixer"] == "none" and (name == "method" or relative.cell.resolved[name] == value)


def test_an_evaluation_by_another_protocol_does_not_count(tmp_path):
    params = fake_grid(tmp_path, top1, axes=AXES, seeds=[0])
    changed = params.cells[0]
    file = tmp_path / "runs" / f"run-{changed.key}" / "linear_eval.json"
    record = json.loads(file.read_text())
    record["protocol"]["seed"] = 7
    file.write_text(json.dumps(record))
    assert {c.name for c in params.cells} - {m.cell.name for m in plots.grid_results(params).made} == {changed.name}


def test_unmixed_runs_of_several_temperatures_are_not_one(tmp_path):
    found = plots.grid_results(fake_grid(tmp_path, top1, axes={"temperature": [0.1, 0.2, 0.4]}, seeds=[0, 1]))
    (panel,) = found.panels
    assert panel.names == ("mixer", "temperature") and [len(group) for group in panel.unmixed.values()] == [2, 2, 2]
    assert {column for _, column in panel.unmixed} == {0.1, 0.2, 0.4}
    ax = plots.alpha_curves(found).axes[0]
    assert len([line for line in ax.lines if line.get_linestyle() == ":"]) == 3


def test_words_vary_too(tmp_path):
    axes = {"reading": ["row", "pairs"], "label_similarity": ["dot", "cosine"]}
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=axes, seeds=[0]))
    assert found.panels[0].names == ("reading", "label_similarity")
    assert len(plots.heat_map(found).axes[0].texts) == 5
    assert "Nothing varies along a number" in texts(plots.alpha_curves(found))[0]


def test_curves_have_a_line_for_each_mixer_and_the_unmixed_band(results):
    ax = plots.alpha_curves(results).axes[0]
    curve = ax.containers[0].lines[0]
    assert list(curve.get_ydata()) == pytest.approx([34, 35])
    flat = {line.get_linestyle(): line.get_ydata()[0] for line in ax.lines if line.get_linestyle() in ("--", ":")}
    assert flat == {"--": pytest.approx(26), ":": pytest.approx(31)} and ax.get_xscale() == "log"


def test_interaction_compares_effects_of_methods(results, tmp_path):
    assert "One method only" in texts(plots.interaction(results))[0]
    axes = {"method": ["simclr", "mixsupcon"], **AXES}
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=axes, seeds=[0, 1, 2]))
    ax = plots.interaction(found).axes[0]
    for container in ax.containers:
        assert list(container.lines[0].get_ydata()) == pytest.approx([3, 4, -5])
    assert labels(ax, "x") == ["mixup, alpha 0.5", "mixup, alpha 2", "resizemix"]


def test_cost_has_a_dot_for_each_run_and_warns_of_different_machines(tmp_path):
    params = fake_grid(tmp_path, top1, axes=AXES, seeds=[0, 1])
    ax = plots.cost(plots.grid_results(params)).axes[0]
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == ".") == 8
    assert "not comparable" not in ax.get_xlabel()
    file = next((tmp_path / "runs").glob("*/result.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"threads": 2}))
    assert "not comparable" in plots.cost(plots.grid_results(params)).axes[0].get_xlabel()


def test_held_out_images_are_preferred(tmp_path):
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=AXES, seeds=[0], base={"val_fraction": 0.2}))
    assert found.on == "val" and found.made[0].top1 == pytest.approx(0.22) and "held-out" in found.measure


def test_the_table_holds_every_run_and_its_unmixed_relative(results):
    files = plots.keep_grid(results, {"heat_map": plots.heat_map(results)})
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert len(rows) == 12 and files[1].read_bytes().startswith(b"\x89PNG")
    row = next(r for r in rows if r["mixer"] == "mixup" and r["seed"] == "2" and r["alpha"] == "2.0")
    assert float(row["top1"]) - float(row["unmixed_top1"]) == pytest.approx(0.05)
    assert row["data_checksum"] == "2" * 64 and row["protocol_hash"] and row["measured_on"] == "test"


def test_a_dollar_in_a_name_opens_no_formula(tmp_path):
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=AXES, seeds=[0, 1], base={"dataset": "folder:a$b$c"}))
    for draw in (plots.heat_map, plots.mixing_effects, plots.cost, plots.alpha_curves):
        figure = draw(found)
        figure.canvas.draw()
        assert r"a\$b\$c" in figure.axes[0].get_title()


def test_rows_look_alike_in_all_panels_and_the_legend_names_each(tmp_path):
    """On CIFAR-10 only ResizeMix and CutMix are there, on CIFAR-100 Mixup and CutMix."""
    params = Ablation(axes={"dataset": ["cifar10", "cifar100"], "mixer": ["resizemix", "mixup", "cutmix"],
                            "alpha": [0.5, 2.0]}, exclude=[{"dataset": "cifar10", "mixer": "mixup"},
                                                           {"dataset": "cifar100", "mixer": "resizemix"}])
    found = plots.grid_results(fake_grid(tmp_path, top1, axes=params.axes, exclude=params.exclude))
    figure = plots.alpha_curves(found)
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"resizemix", "mixup", "cutmix", "unmixed (supcon)"}
    colours = [dict(zip(labels_of, (handle_colour(h) for h in handles), strict=True)) for handles, labels_of in
               (ax.get_legend_handles_labels() for ax in figure.axes)]
    assert colours[0]["cutmix"] == colours[1]["cutmix"] != colours[1]["mixup"]
    same = len({panel.same for panel in found.panels}) == 1
    assert figure.axes[0].get_shared_y_axes().joined(*figure.axes) == same


def handle_colour(handle):
    return handle.get_color() if hasattr(handle, "get_color") else handle.lines[0].get_color()


def test_cost_leaves_out_runs_without_seconds(tmp_path):
    params = fake_grid(tmp_path, top1, axes=AXES, seeds=[0])
    for cell in params.cells:
        if cell.resolved["mixer"] == "none":
            file = params.folder.parent / "runs" / f"run-{cell.key}" / "result.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": None}))
    (ax,) = plots.cost(plots.grid_results(params)).axes
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"mixup", "resizemix"}
