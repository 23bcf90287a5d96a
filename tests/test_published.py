"""Published numbers: the file is whole and says what it should; comparisons keep unlike protocols apart."""

import ast
import csv
import io
import json
import re
import typing
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from fake_results import fake_run

from mixlab import evaluate, explorers, plots
from mixlab.errors import ParamError
from mixlab.methods import METHODS
from mixlab.params import Compare
from mixlab.plots.ours import ours, reported
from mixlab.plots.published import ASSET, CHOSEN_ON, EVALUATIONS, KINDS, SELECTIONS, grouped, published
from mixlab.plots.tables import FORMS

ROOT = Path(__file__).parents[1]
ROWS = list(csv.DictReader(ASSET.open(newline="", encoding="utf-8")))
COLUMNS = ["method", "mixer", "encoder", "epochs", "batch_size", "dataset", "evaluation", "feature_layer", "knn_k",
           "knn_temperature", "selection", "chosen_on", "value", "spread", "seeds", "source", "source_kind", "caveat"]
WHOLE = re.compile(r"[1-9]\d*")
INTEGERS, LAYERS = ("epochs", "batch_size", "knn_k", "seeds"), ("encoder", "projection", "")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def breaches(row):
    """What is wrong with a row of the file, in words."""
    rules = {
        "columns": list(row) == COLUMNS and None not in row.values(),
        "stray spaces": all(row[name].strip() == row[name] for name in COLUMNS),
        "a name is missing": all(row[name] for name in ("method", "mixer", "encoder", "dataset", "source")),
        "dataset": row["dataset"] in ("cifar10", "cifar100", "stl10"),
        "evaluation": row["evaluation"] in EVALUATIONS, "selection": row["selection"] in SELECTIONS,
        "chosen_on": row["chosen_on"] in CHOSEN_ON,
        "an epoch of the test set": row["selection"] != "max_over_epochs_on_test" or row["chosen_on"] == "test",
        "source_kind": row["source_kind"] in KINDS[:-1], "feature_layer": row["feature_layer"] in LAYERS,
        "whole numbers": all(not row[name] or WHOLE.fullmatch(row[name]) for name in INTEGERS),
        "value": re.fullmatch(r"\d\d\.\d\d?", row["value"]) and 50 <= float(row["value"]) <= 99,
        "spread": not row["spread"] or 0 <= float(row["spread"]) <= 1,
        "k without kNN": row["evaluation"] == "knn" or not row["knn_k"] + row["knn_temperature"],
        "temperature": not row["knn_temperature"] or (row["knn_k"] and 0 < float(row["knn_temperature"]) <= 1),
        "a layer of a supervised row": row["evaluation"] != "supervised" or not row["feature_layer"],
        "an unmarked plot or memory": row["source_kind"] not in ("memory", "plot") or row["caveat"],
    }
    return [name for name, holds in rules.items() if not holds]


def test_every_row_fits_the_schema():
    assert len(ROWS) > 350
    assert not [(number, found) for number, row in enumerate(ROWS, start=2) if (found := breaches(row))]


@pytest.mark.parametrize("change", [
    {"value": "0.91"}, {"value": "9l.0"}, {"spread": "5"}, {"epochs": "1000.0"}, {"dataset": "CIFAR-10"},
    {"evaluation": "linear"}, {"selection": "best"}, {"chosen_on": "val"}, {"source": ""}, {"caveat": " x"},
    {"knn_temperature": "20"},
    {"source_kind": "ours"}, {"feature_layer": "head"}], ids=str)
def test_the_schema_finds_a_slip(change):
    row = next(row for row in ROWS if row["knn_temperature"])
    assert not breaches(row) and breaches(row | change)


def test_no_row_stands_twice():
    """The same run of the same source, spelt twice; a user's two runs are told apart by their caveats."""
    keys = [tuple(row[n] for n in COLUMNS if n not in ("value", "spread", "seeds")) for row in ROWS]
    assert len(set(keys)) == len(keys)


KNOWN = [
    (dict(method="SimCLR", source="vturrisi/solo-learn README", dataset="cifar10"), 90.74),
    (dict(method="SupCon", source="vturrisi/solo-learn README", dataset="cifar100"), 70.38),
    (dict(method="W-MSE", source="vturrisi/solo-learn README", dataset="cifar100"), 61.33),
    (dict(method="SimSiam", source="lightly docs benchmarks", epochs="200", batch_size="512"), 76.4),
    (dict(method="BYOL", source="lightly docs benchmarks", epochs="800"), 91.0),
    (dict(method="SimCLR", source="dkobak/simclr-cifar10 README", encoder="resnet18", epochs="1000",
          evaluation="linear_augmented"), 91.9),
    (dict(method="SimCLR", source="dkobak/simclr-cifar10 README", epochs="100", evaluation="linear_cached"), 85.6),
    (dict(method="MoCo (symmetric)", source="facebookresearch/moco colab/moco_cifar10_demo.ipynb", epochs="400"), 88.5),
    (dict(method="MoCo v2 + AdaInf", source="PKU-ML/adainf README"), 94.19),
    (dict(method="DCL", source="raminnakhli/Decoupled-Contrastive-Learning README", dataset="cifar100",
          batch_size="256"), 61.92),
    (dict(method="BYOL", source="mix-ssl (Leveraging Image Mixtures ...), Table 1"), 94.20),
    (dict(mixer="cutmix", method="MoCo (asymmetric)"), 91.31),
    (dict(mixer="unmix", method="MoCo (symmetric)", dataset="cifar100"), 68.83),
    (dict(mixer="unmix", method="SwAV", epochs="600", dataset="cifar10"), 92.0),
    (dict(method="Mixed Barlow Twins", encoder="resnet50", evaluation="knn", dataset="cifar100"), 64.32),
    (dict(method="SupCon", source="HobbitLong/SupContrast README", dataset="cifar10"), 96.0),
    (dict(method="SupCon", source="HobbitLong/SupContrast issue 38", batch_size="1024"), 75.27),
    (dict(method="eps-SupInfoNCE", dataset="cifar10"), 96.14),
    (dict(method="UniCon", encoder="resnet18"), 79.2),
    (dict(method="GenSCL", dataset="cifar100"), 82.8),
    (dict(method="MixSupCon", dataset="cifar10"), 96.7),
    (dict(mixer="none", evaluation="supervised", epochs="200", dataset="cifar10"), 94.87),
    (dict(mixer="cutmix", evaluation="supervised", epochs="800", dataset="cifar100"), 78.17),
    (dict(mixer="samix", evaluation="supervised", epochs="1200", dataset="cifar100"), 82.41),
    (dict(method="EMP-SSL (20 patches)", epochs="30", dataset="cifar10"), 93.1),
    (dict(method="EMP-SSL (200 patches)", epochs="30", dataset="cifar10"), 93.4),
    (dict(method="EMP-SSL (200 patches)", epochs="30", dataset="cifar100"), 73.3),
    (dict(method="SIGReg", dataset="cifar10"), 91.02),
    (dict(method="LeJEPA", dataset="cifar100"), 70.0),
]


@pytest.mark.parametrize(("where", "value"), KNOWN, ids=lambda v: "-".join(v.values())[:60] if type(v) is dict else "")
def test_known_values(where, value):
    """Copied by hand from the sources a second time."""
    (row,) = [row for row in ROWS if where.items() <= row.items()]
    assert float(row["value"]) == value


def found(**where):
    return [row for row in ROWS if where.items() <= row.items()]


def test_who_chose_by_the_test_images_is_marked():
    """Once: a number whose epoch was chosen so has its own mark already."""
    marks = {(s.selection, s.chosen_on): s.mark for s in published(include_memory=True) if s.source_kind != "plot"}
    assert marks["unknown", "test"] == "?§" and marks["max_over_epochs_on_test", "test"] == "†"
    assert all("§" not in mark for (_, chosen_on), mark in marks.items() if chosen_on != "test")
    assert {row["method"] for row in found(chosen_on="test", selection="unknown")} == {"SIGReg", "VICReg (eb_jepa)"}
    assert "§ hyper-parameters chosen on the test set" in plots.tables.marks()


def test_suspect_numbers_carry_their_caveat():
    assert "not reproduced" in found(method="LeJEPA")[0]["caveat"]
    assert all("ensemble" in row["caveat"] for row in ROWS if row["method"].startswith("EMP-SSL"))
    assert "do not use" in found(value="94.20")[0]["caveat"]
    assert all("copied" in found(value=v, source="mix-ssl (Leveraging Image Mixtures ...), Table 1")[0]["caveat"]
               for v in ("88.42", "91.34"))
    assert len(found(method="MixSupCon")) == 2
    assert all("deleted" in row["caveat"] and "do not quote" in row["caveat"] for row in found(method="MixSupCon"))
    assert all("read off" in row["caveat"] for row in found(source_kind="plot"))


def test_every_source_of_the_survey_is_there():
    counts = {"vturrisi/solo-learn README": 32, "lightly docs benchmarks": 33, "dkobak/simclr-cifar10 README": 13,
              "raminnakhli/Decoupled-Contrastive-Learning README": 24, "PKU-ML/adainf README": 12,
              "facebookresearch/moco colab/moco_cifar10_demo.ipynb": 7, "szq0214/Un-Mix README": 8,
              "szq0214/Un-Mix UnMix_SwAV/for_CIFAR/README": 20, "wgcban/mix-bt README": 8,
              "HobbitLong/SupContrast README": 6, "hannaiiyanggit/UniCon README": 4,
              "kiimmm/GenSCL figures/results.png": 8,
              "Westlake-AI/openmixup docs/en/mixup_benchmarks/Mixup_cifar.md": 110}
    assert {source: len(found(source=source)) for source in counts} == counts


def test_numbers_from_memory_are_left_out_unless_asked_for():
    assert not [s for s in published() if s.source_kind == "memory"]
    memory = [s for s in published(include_memory=True) if s.source_kind == "memory"]
    assert len(memory) == 28 and all("do not quote" in s.caveat for s in memory)


def test_a_group_holds_one_data_set_encoder_and_protocol():
    for group in grouped(published()).values():
        fields = {(s.dataset, s.encoder, s.evaluation, s.knn_k, s.knn_temperature) for s in group}
        assert len(fields) == 1 and [s.value for s in group] == sorted((s.value for s in group), reverse=True)
        layers = {s.feature_layer for s in group}
        assert "projection" not in layers or layers == {"projection"}


def test_labels_and_choices_on_the_test_set_are_marked():
    by_method = {s.method: s for s in published()}
    assert by_method["SupCon"].used_labels and by_method["GenSCL + KD"].used_labels
    assert by_method["Cross-entropy"].used_labels and not by_method["SimCLR + AdaInf"].used_labels
    lightly = next(s for s in published() if s.source.startswith("lightly"))
    assert lightly.mark == "†" and "†" in plots.accuracy(lightly) and plots.style_of(lightly)["mfc"] == "none"


# --- ours


@pytest.fixture
def runs_dir(tmp_path):
    fake_run(tmp_path, "supcon", seed=0)
    fake_run(tmp_path, "supcon", seed=1)
    fake_run(tmp_path, "supcon", seed=0, lr=0.2)
    fake_run(tmp_path, "simclr", epochs=0)
    fake_run(tmp_path, "cross_entropy", train_size=500)
    return tmp_path


def test_seeds_are_averaged_and_other_settings_are_not(runs_dir):
    scores = ours(plots.evaluated(runs_dir))
    knn = [s for s in scores if (s.method, s.knn_k, s.feature_layer) == ("supcon", 200, "encoder")]
    assert sorted(s.seeds for s in knn) == [1, 2]
    two = next(s for s in knn if s.seeds == 2)
    names = two.source.split(", ")
    first, second = (100 * json.loads((runs_dir / n / "linear_eval.json").read_text())["knn"][0]["top1"] for n in names)
    assert two.value == pytest.approx((first + second) / 2)
    assert two.spread == pytest.approx(abs(first - second) / 2**0.5)


def test_ours_say_what_sets_them_apart(runs_dir):
    scores = ours(plots.evaluated(runs_dir))
    assert {s.dataset for s in scores if s.method == "cross_entropy"} == {"cifar10-mini, 500 training images"}
    assert {s.evaluation for s in scores if s.method == "cross_entropy"} >= {"supervised", "linear_cached"}
    untrained = [s for s in scores if s.epochs == 0]
    assert untrained and all("untrained" in s.caveat and not s.used_labels for s in untrained)
    assert {s.selection for s in scores} == {"last"}


def used(scores):
    return {s.source: s.used_labels for s in scores}


def test_labels_are_marked_where_a_method_or_what_it_started_from_used_them(tmp_path):
    """By the facts of the methods, through any number of starts; an encoder that was never trained used none."""
    names, folder = {}, tmp_path / "runs"

    def add(name, method, expected, **values):
        names[fake_run(folder, method, name=name, **values).name] = expected
    for method, known in METHODS.items():
        add(f"own {method}", method, known.needs_labels)
    add("empty", "supcon", False, epochs=0)
    add("from supcon", "simclr", True, init_from="own supcon")
    add("from its child", "byol", True, init_from="from supcon", epochs=0)
    add("from simclr", "simclr", False, init_from="own simclr")
    add("from empty", "simclr", False, init_from="empty")
    add("guided", "simclr", True, mixer="attentivemix", guide_from="own gensupcon")
    add("from a lost one", "simclr", True, init_from="gone")
    scores = ours(plots.evaluated(folder))
    assert used(scores) == names
    assert all(("is not known" in s.caveat) == (s.source == "from a lost one") for s in scores)
    for s in scores:
        assert ("ᴸ" in plots.grouped_table([s]).split("<p")[0]) == s.used_labels
        floor, labelled = (plots.style_of(replace(s, source_kind="ours"))["mfc"] == plots.COLOURS[i] for i in (7, 1))
        assert labelled == s.used_labels and floor == (s.source == "empty")


def test_the_table_of_results_knows_of_labels_too(tmp_path):
    for name, start, known in (("told", "a", False), ("old", "b", None), ("plain", "none", None)):
        run = fake_run(tmp_path / "runs", "simclr", name=name, init_from=start)
        result = {"status": "ok"} | ({} if known is None else {"labels_used": known})
        (run / "result.json").write_text(json.dumps(result))
    few = fake_run(tmp_path / "runs", "gensupcon", label_fraction=0.1)
    evaluate.write_report(tmp_path / "runs", tmp_path / "results.csv")
    scores = reported(tmp_path / "results.csv", ())
    assert used(scores) == {"told": False, "old": True, "plain": False, few.name: True}
    assert {s.source for s in scores if "not known" in s.caveat} == {"old"}
    assert {s.dataset for s in scores if s.source == few.name} == {
        "cifar10-mini, encoder trained with 10 % of the labels"}


def test_a_share_of_the_labels_is_that_of_the_training(tmp_path):
    """kNN and probes of such a run are given all labels, and say so; its own classifier is not."""
    fake_run(tmp_path, "cross_entropy", label_fraction=0.1)
    (one,) = plots.evaluated(tmp_path)
    assert one.dataset == "cifar10-mini, encoder trained with 10 % of the labels"
    for s in ours([one]):
        assert ("with all labels" in s.caveat) == (s.evaluation != "supervised")


def test_a_transfer_is_never_beside_the_data_sets_own(tmp_path):
    run = fake_run(tmp_path, "supcon")
    record = json.loads((run / "linear_eval.json").read_text())
    (run / "linear_eval-cifar100.json").write_text(json.dumps(record | {"dataset": "cifar100"}))
    assert {s.dataset for s in ours(plots.evaluated(tmp_path))} == {
        "cifar10-mini", "cifar100, encoder from cifar10-mini"}


def test_an_unfinished_evaluation_is_no_score_and_a_damaged_one_is_named(tmp_path):
    run = fake_run(tmp_path, "supcon")
    (run / "linear_eval.json").write_text('{"status": "running"}')
    assert plots.evaluated(tmp_path) == []
    (run / "linear_eval.json").write_text("{")
    with pytest.warns(UserWarning, match="linear_eval.json: is not readable"):
        assert plots.evaluated(tmp_path) == []
    (run / "linear_eval.json").write_text('{"status": "ok", "run": "x"}')
    with pytest.warns(UserWarning, match="linear_eval.json: is of another mixlab, without method"):
        assert plots.evaluated(tmp_path) == []


def test_the_table_of_results_speaks_for_runs_that_are_gone(runs_dir, tmp_path):
    """As ``python -m mixlab.evaluate --report`` writes it; runs that are still there are not counted twice."""
    reports = tmp_path / "reports"
    evaluate.write_report(runs_dir, reports / "results.csv")
    here, gone = Compare(runs_dir=str(runs_dir), reports_dir=str(reports)), Compare(
        runs_dir=str(tmp_path / "none"), reports_dir=str(reports))
    assert [s for s in plots.collect(here) if s.is_ours] == ours(plots.evaluated(runs_dir))
    scores = [s for s in plots.collect(gone) if s.is_ours]
    assert all("results.csv" in s.caveat for s in scores)
    assert {s.protocol for s in scores} == {s.protocol for s in ours(plots.evaluated(runs_dir))}
    knn = sorted(s.value for s in scores if (s.method, s.knn_k, s.feature_layer) == ("supcon", 200, "encoder"))
    assert len(knn) == 2, "two seeds of one setting, and another learning rate of which the row says nothing else"
    assert sorted(s.seeds for s in scores if s.method == "supcon" and s.knn_k == 5) == [1, 1, 2, 2]
    assert all("untrained" in s.caveat for s in scores if s.epochs == 0)


def test_seeds_in_the_table_of_results_are_averaged(tmp_path):
    for seed in range(3):
        fake_run(tmp_path / "runs", "supcon", seed=seed)
    evaluate.write_report(tmp_path / "runs", tmp_path / "results.csv")
    from_table, from_runs = reported(tmp_path / "results.csv", ()), ours(plots.evaluated(tmp_path / "runs"))
    assert [(s.value, s.spread, s.seeds) for s in from_table] == [
        (pytest.approx(s.value), pytest.approx(s.spread), 3) for s in from_runs]
    assert reported(tmp_path / "absent.csv", ()) == []


def test_rows_of_an_older_table_are_not_averaged(tmp_path):
    """It does not know the settings of its runs."""
    for seed in range(2):
        fake_run(tmp_path / "runs", "supcon", seed=seed)
    evaluate.write_report(tmp_path / "runs", tmp_path / "results.csv")
    rows = list(csv.DictReader((tmp_path / "results.csv").open(newline="")))
    with open(tmp_path / "old.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [n for n in rows[0] if n not in ("setting", "protocol_hash")],
                                extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    assert len(reported(tmp_path / "old.csv", ())) == 2 * len(reported(tmp_path / "results.csv", ()))


# --- other protocols


def probed(scores, evaluation="linear_cached"):
    return [s for s in scores if s.evaluation == evaluation and s.feature_layer == "encoder"]


def from_table(runs_dir):
    evaluate.write_report(runs_dir, runs_dir / "results.csv")
    return reported(runs_dir / "results.csv", ())


@pytest.mark.parametrize("read", [lambda folder: ours(plots.evaluated(folder)), from_table], ids=["runs", "table"])
def test_another_learning_rate_of_the_probe_is_another_score(tmp_path, read):
    """Of the SGD probe only: nothing else depends on it, so its seeds stay together."""
    for seed, lr in enumerate((0.1, 0.5)):
        fake_run(tmp_path, "supcon", seed=seed, protocol={"probe_lr": lr})
    scores = read(tmp_path)
    sgd = [s for s in probed(scores) if s.caveat.startswith("SGD")]
    assert [s.seeds for s in sgd] == [1, 1] and [s.spread for s in sgd] == [None, None]
    assert any("0.1" in s.caveat for s in sgd) and any("0.5" in s.caveat for s in sgd)
    assert {s.seeds for s in scores if s.evaluation == "knn" or s.caveat.startswith("L-BFGS")} == {2}
    assert not [s for s in scores if s.evaluation == "knn" and "probe_lr" in s.caveat]


def test_fewer_images_for_the_probes_are_another_score(tmp_path):
    fake_run(tmp_path, "supcon", seed=0)
    run = fake_run(tmp_path, "supcon", seed=1, protocol={"train_size": 500})
    record = json.loads((run / "linear_eval.json").read_text())
    (run / "linear_eval.json").write_text(json.dumps(record | {"train_images": 500}))
    scores = ours(plots.evaluated(tmp_path))
    assert {s.seeds for s in scores} == {1} and {s.dataset for s in scores} == {
        "cifar10-mini", "cifar10-mini, 500 images for kNN and probes"}
    assert {s.seeds for s in from_table(tmp_path)} == {1}


def test_what_two_evaluations_of_a_run_both_measured_counts_once(tmp_path):
    """One asked for one probe, the other for all; both have kNN."""
    run = fake_run(tmp_path, "supcon")
    everything = ours(plots.evaluated(tmp_path))
    record = json.loads((run / "linear_eval.json").read_text())
    record["protocol"]["probes"] = ["lbfgs"]
    (run / "linear_eval-00000000.json").write_text((run / "linear_eval.json").read_text())
    record["probes"] = [row for row in record["probes"] if row["probe"] == "lbfgs"]
    (run / "linear_eval.json").write_text(json.dumps(record))
    scores = ours(plots.evaluated(tmp_path))
    assert len(plots.evaluated(tmp_path)) == 2 and {s.spread for s in scores} == {None}
    assert sorted(s.value for s in scores) == sorted(s.value for s in everything)
    assert sorted(s.value for s in from_table(tmp_path)) == pytest.approx(sorted(s.value for s in everything))


# --- the notebook's parameters, filters, pictures and tables


def test_the_parameters_cell_is_the_model():
    cells = json.loads((ROOT / "notebooks" / "compare.ipynb").read_text())["cells"]
    cell = next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))
    written = {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse(cell).body}
    assert Compare.check(**written) == Compare() and list(written) == list(Compare.model_fields)


def test_the_parameter_knows_every_evaluation():
    assert set(typing.get_args(Compare.model_fields["evaluation"].annotation)) == {"all", *EVALUATIONS}


@pytest.mark.parametrize("file", sorted((ROOT / "params" / "compare").glob("*.yaml")), ids=lambda f: f.name)
def test_every_recipe_is_accepted_and_finds_scores(file):
    params = Compare.from_yaml(file)
    assert plots.filtered(params, published())
    assert re.search("^# Needs: .+ Takes: ", file.read_text(), re.MULTILINE)


def test_auto_is_the_usual_and_ours(runs_dir):
    scores = plots.collect(Compare(runs_dir=str(runs_dir)))
    shown = plots.filtered(Compare(), scores)
    assert {s.dataset for s in shown} >= {"cifar10", "cifar100", "cifar10-mini"} and "stl10" not in {
        s.dataset for s in shown}
    assert {s.encoder for s in shown} == {"resnet10", "resnet18"}
    assert {s.encoder for s in plots.filtered(Compare(dataset="stl10"), scores)} == {"resnet50"}


@pytest.mark.parametrize(("values", "message"), [
    ({"dataset": "cifa10"}, 'dataset: all, or one of .*cifar10.*; got \'cifa10\' .*Did you mean "cifar10"'),
    ({"encoder": "resnet-19"}, 'encoder: all, or one of .*; got \'resnet-19\' .*Did you mean "resnet1'),
    ({"method": "SimCRL"}, 'method: all, or one of .*; got \'SimCRL\' .*Did you mean "SimCLR"'),
])
def test_a_filter_that_fits_nothing_is_refused(values, message):
    with pytest.raises(ParamError, match=message):
        plots.filtered(Compare(**values), published())


def test_a_method_is_found_however_it_is_spelt():
    names = {s.method for s in plots.filtered(Compare(method="cross_entropy"), published())}
    assert names == {"Cross-entropy"}
    names = {s.method for s in plots.filtered(Compare(method="moco"), published())}
    assert names == {"MoCo (symmetric)", "MoCo (asymmetric)"}


@pytest.mark.parametrize("values", [{}, {"dataset": "all", "encoder": "all"}, {"evaluation": "unknown"},
                                    {"dataset": "stl10", "evaluation": "supervised"}], ids=str)
def test_pictures_and_tables_of_any_selection(values):
    """Also of one without epochs, and of an empty one."""
    shown = plots.filtered(Compare(**values), published())
    for figure in (plots.beside(shown), plots.landscape(shown)):
        assert len(plots.png(figure)) > 1000
    for form in FORMS:
        assert plots.paper_table(shown, form)
    assert plots.overview(published(), shown).data.startswith("**Ours:** none yet.")


HOSTILE = "a$b <script>alert(1)</script> & | 50% _x_ \\"


def hostile_scores(tmp_path):
    import dataclasses
    fake_run(tmp_path, "supcon")
    return [dataclasses.replace(s, method=HOSTILE, source=HOSTILE, caveat=HOSTILE, dataset=HOSTILE, encoder=HOSTILE)
            for s in ours(plots.evaluated(tmp_path))]


def test_labels_survive_as_they_are(tmp_path):
    scores = hostile_scores(tmp_path)
    for figure in (plots.beside(scores), plots.landscape(scores)):
        plots.png(figure)
    ax = plots.beside(scores).axes[0]
    assert ax.get_yticklabels()[0].get_text().startswith(HOSTILE.replace("$", r"\$"))
    for text in (plots.grouped_table(scores), explorers.comparison(Compare(
            interactive=False, dataset=HOSTILE, encoder=HOSTILE), scores).data):
        assert "<script>" not in text and "a$b &lt;script&gt;" in text
    markdown = plots.paper_table(scores, "markdown")
    assert r"a\$b \<script\>" in markdown and all(
        len(re.findall(r"(?<!\\)\|", line)) == 8 for line in markdown.splitlines() if line.startswith("|"))
    latex = plots.paper_table(scores, "latex")
    assert r"a\$b $<$script$>$alert(1)$<$/script$>$ \& | 50\% \_x\_ \textbackslash{}" in latex
    (row, *_) = csv.DictReader(io.StringIO(plots.paper_table(scores, "csv")))
    assert row["method"] == HOSTILE and row["protocol"].startswith("linear probe on cached features")


def test_the_table_for_a_paper_keeps_ours_and_says_what_it_left_out(runs_dir):
    scores = plots.collect(Compare(runs_dir=str(runs_dir)))
    shown = plots.filtered(Compare(), scores)
    table = plots.paper_table(shown, "markdown", 2)
    assert table.count("| ours |") == sum(s.is_ours for s in shown)
    heading = next(line for line in table.splitlines() if "resnet18: kNN, k 200, T 0.1, features" in line)
    published_there = len([s for s in shown if not s.is_ours and s.protocol == "kNN, k 200, T 0.1, features"
                           and s.dataset == "cifar10" and s.encoder == "resnet18"])
    assert f"({published_there - 2} lower published left out)" in heading
    assert "left out" not in plots.paper_table(shown, "markdown", 0)
    rows = list(csv.DictReader(io.StringIO(plots.paper_table(shown, "csv", 0))))
    assert len(rows) == len(shown)


def test_no_zero_is_made_up():
    texts = {plots.accuracy(s) for s in published()}
    assert {"84.7† (1 seed)", "93.24?", "91.9 ± 0.1 (3 seeds)", "91.4 ± 0.0 (3 seeds)", "94.0?~"} <= texts


# --- the explorer


def controls(widget):
    """All widgets inside ``widget`` by description."""
    inner = [found for child in getattr(widget, "children", ()) for found in controls(child).items()]
    return dict(inner) | ({widget.description: widget} if getattr(widget, "description", "") else {})


def test_filters_change_table_and_plot(runs_dir):
    params = Compare(runs_dir=str(runs_dir), interactive=True)
    explorer = explorers.comparison(params, plots.collect(params))
    figure, table = explorer.children[-2:]
    named, before = controls(explorer), table.value
    assert named["dataset"].value == "cifar10-mini" and "cifar10-mini, resnet10" in before
    named["dataset"].value, named["encoder"].value = "cifar10", "resnet18"
    assert table.value != before and "cifar10, resnet18" in table.value
    named["evaluation"].value = "knn"
    drawn = {trace.name: trace for trace in figure.data if trace.visible}
    symbols = {symbol.removesuffix("-open") for trace in drawn.values() for symbol in trace.marker.symbol}
    assert "kNN, k 200, T 0.1, features" in drawn and len(symbols) == len(drawn) > 4, "a symbol for each protocol"
    assert sum(len(trace.x) for trace in drawn.values()) > 40
    named["method"].value = "BYOL"
    texts = [text for trace in figure.data if trace.visible for text in trace.text]
    assert 0 < len(texts) < 10 and all(text.startswith("BYOL") for text in texts)
    named["method"].value, named["encoder"].value = "all", "all"
    names = {trace.name for trace in figure.data if trace.visible}
    assert "resnet50: kNN, k 10, plain vote, features" in names, "several encoders are told apart"
    assert figure._config["showSendToCloud"] is False and figure._config["displaylogo"] is False


@pytest.mark.parametrize(("values", "dataset"), [({}, "cifar10"), ({"dataset": "CIFAR100"}, "cifar100")])
def test_without_runs_the_explorer_starts_with_published_numbers(values, dataset, tmp_path):
    params = Compare(runs_dir=str(tmp_path), reports_dir=str(tmp_path), interactive=True, method="sim_clr", **values)
    explorer = explorers.comparison(params, plots.collect(params))
    assert {name: control.value for name, control in controls(explorer).items()} == {
        "dataset": dataset, "encoder": "auto", "evaluation": "all", "method": "SimCLR"}


def test_the_pointer_brings_up_escaped_text(tmp_path):
    figure = explorers.results.scatter()
    explorers.results.fill(figure, hostile_scores(tmp_path))
    texts = [text for trace in figure.data for text in trace.text]
    assert texts and not [text for text in texts if "<script" in text]


def test_headless_it_is_a_table():
    shown = explorers.comparison(Compare(dataset="cifar100", method="UniCon", interactive=False), published())
    assert "UniCon" in shown.data and "79.2" in shown.data and "81.7" not in shown.data
