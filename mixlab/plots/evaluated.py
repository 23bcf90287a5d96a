"""Evaluations as they lie on disk: the records, what they measured, and which of them are seeds of one setting."""

import io
import json
import warnings
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mixlab import data, evaluate, runs
from mixlab.errors import CheckpointError
from mixlab.files import sha256
from mixlab.params import labels_used

MONITOR_TEMPERATURE = 0.1  # of the kNN that a run records while it trains
READ = ("method", "mixer", "encoder", "epochs", "seed", "batch_size", "dataset", "trained_on", "data_checksum", "knn",
        "probes", "few_labels", "robustness", "geometry", "protocol")  # what the pictures need of a record
PROBES = {"sgd": "linear probe, SGD", "sgd_augmented": "linear probe, SGD on crops",
          "lbfgs": "linear probe, L-BFGS"}


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of one run: the record in ``file``, and arrays beside it."""

    run: runs.Run
    file: Path
    record: dict

    @property
    def values(self):
        """The parameters that the run was trained with; {} where they are lost."""
        return self.run.params() if (self.run.path / "params.json").exists() else {}

    @property
    def setting(self):
        """Text equal for runs that differ in their seed only and were evaluated by equal rules."""
        return self.setting_by(None)

    def setting_by(self, kind):
        """``setting`` with regard to one kind of number only, as in ``evaluate.rules``."""
        kept = evaluate.setting(self.values) or self.run.name
        return json.dumps([kept, self.record["dataset"], evaluate.rules(self.record, kind)], sort_keys=True)

    @property
    def rules(self):
        """What changed the numbers: only evaluations of equal rules are averaged or held against each other."""
        return evaluate.rules(self.record)

    @property
    def dataset(self):
        """The data set evaluated on, and what sets run and evaluation apart from those on all of it."""
        name, trained_on, values = self.record["dataset"], self.record["trained_on"], self.values
        asked = self.record["protocol"].get("train_size", "auto")
        fewer = asked not in ("auto", values.get("train_size") if name == trained_on else "auto")
        parts = [(trained_on != name, f"encoder from {trained_on}"),
                 (values.get("train_size", "auto") != "auto", f"{values.get('train_size')} training images"),
                 (values.get("label_fraction", 1) < 1,
                  f"encoder trained with {100 * values.get('label_fraction', 1):g} % of the labels"),
                 (values.get("val_fraction", 0) > 0, f"{100 * values.get('val_fraction', 0):g} % held out"),
                 (fewer, f"{asked} images for kNN and probes")]
        return ", ".join([name, *[text for applies, text in parts if applies]])

    @property
    def method(self):
        """The method, with what it started from if that was another run."""
        start = self.values.get("init_from", "none")
        return self.record["method"] + ("" if start == "none" else f" (fine-tuned from {start})")

    @property
    def labels(self):
        """Whether labels went into the encoder. Where a run that it started from is gone, it counts as such."""
        return self._labels is not False

    @property
    def _labels(self):
        if not self.values:  # lost: what the record says of the method decides
            return labels_used({name: self.record[name] for name in ("method", "epochs")}, self.run.path.parent)
        return labels_used(self.values, self.run.path.parent)

    @property
    def caveat(self):
        """What the record marks, that an encoder was not trained at all, or that what it started from is gone."""
        own = ["untrained encoder"] if self.is_untrained else []
        own += ["whether labels were used is not known: a run that it started from is gone"] * (self._labels is None)
        return "; ".join(own + self.record.get("marks", []))

    @property
    def is_untrained(self):
        return self.record["epochs"] == 0 and self.values.get("init_from", "none") == "none"

    @property
    def is_control(self):
        return self.method == "cross_entropy" and not self.is_untrained

    @property
    def untrained_knn(self):
        """``{(what, layer): accuracy}`` that the run itself recorded before training, where it is the same protocol."""
        result, bank = self.run.result(), self.record.get("train_images")
        same = (self.record["dataset"] == self.record["trained_on"] and result.get("train_images", bank) == bank and
                self.values.get("precision") == self.record["protocol"].get("precision"))
        known = result.get("knn_top1_untrained") is not None and result.get("knn_split") == "test"
        rows = [e for e in self.record["knn"] if (e["layer"], e["k"], e["temperature"]) ==
                ("encoder", result.get("knn_k"), MONITOR_TEMPERATURE)]
        return {(f"kNN, k {rows[0]['k']}", "encoder"): result["knn_top1_untrained"]} if same and known and rows else {}

    def arrays(self):
        """Features, labels and predictions on the test images, by name; {} where there are none.

        Raises:
            CheckpointError: they are damaged.
        """
        file = self.file.with_name(self.file.name.replace("linear_eval", "embeddings")).with_suffix(".npz")
        if not file.exists():
            return {}
        content, known = file.read_bytes(), self.record.get("embeddings_sha256")
        try:
            if known not in (None, sha256(content)):
                raise ValueError("its sha256 is not the recorded one")
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return dict(stored)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{file}: damaged ({error}). Evaluate the run again.") from error


def evaluated(runs_dir):
    """Every finished evaluation below ``runs_dir``, the newest run first; a damaged one is left out with a warning.

    Evaluations of one run by different protocols stand beside each other. Those of the untrained encoders come last.
    """
    folder = data.resolve(runs_dir)
    return [one for run in [*runs.list_runs(folder), *runs.list_runs(folder / runs.UNTRAINED)]
            for one in evaluations_of(run)]


def evaluations_of(run):
    """The evaluations of one run: the newest on its own data set, then earlier ones and those on others."""
    found = []
    for file in evaluate.stored_files(run):
        try:
            record = _checked(file)
        except CheckpointError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        found += [Evaluated(run, file, record)] if record.get("status") == "ok" else []
    return found


def _checked(file):
    record = runs.read_sealed(file)
    missing = [name for name in READ if name not in record] if record.get("status") == "ok" else []
    if missing:
        raise CheckpointError(f"{file}: is of another mixlab, without {', '.join(missing)}. Evaluate the run again.")
    return record


def chosen(run_list, records):
    """The stored evaluations of the runs that ``records`` (as ``evaluate.evaluate_all`` returns them) are of."""
    wanted = {_which(record) for record in records}
    elsewhere = {record["run"]: runs.Run(Path(record["kept_in"])) for record in records if "kept_in" in record}
    return [replace(one, run=run) for run in run_list for one in evaluations_of(elsewhere.get(run.name, run))
            if _which(one.record) in wanted]


def _which(record):
    return record["run"], record["dataset"], json.dumps(record["protocol"], sort_keys=True)


def one_each(evaluations):
    """Evaluations of one setting with those of the same run as one, which has all their measures, each once."""
    groups = {}
    for one in evaluations:
        groups.setdefault(one.run.path, []).append(one)
    return [_as_one(group) for group in groups.values()]


def _as_one(group):
    """The first of a group, with what only the others measured."""
    record = dict(group[0].record)
    for other in (one.record for one in group[1:]):
        for name in ("knn", "probes", "few_labels"):
            known = [_what(row) for row in record[name]]
            record[name] = record[name] + [row for row in other[name] if _what(row) not in known]
        record["robustness"] = record["robustness"] or other["robustness"]
        record["geometry"] = other["geometry"] | record["geometry"]
    return replace(group[0], record=record)


def _what(row):
    return [row.get(name) for name in ("layer", "k", "probe", "fraction")]


def measures(one):
    """``{(what, layer): accuracy}`` of one evaluation, in fractions, in the order of its record."""
    found = {(f"kNN, k {e['k']}", e["layer"]): e["top1"] for e in one.record["knn"]}
    found |= {(PROBES[e["probe"]], e["layer"]): e["top1"] for e in one.record["probes"]}
    own = one.record.get("own_head")
    return found | ({("own classifier", "encoder"): own["top1"]} if own else {})


def by_setting(evaluations):
    """``{label: evaluations of one setting, one for each run}``; labels name what tells the settings apart, no more."""
    groups = {}
    for one in evaluations:
        groups.setdefault(one.setting, []).append(one)
    labels = _labels([group[0] for group in groups.values()])
    return dict(zip(labels, map(one_each, groups.values()), strict=True))


def _labels(firsts):
    spelt = {"encoder": "{}", "epochs": "{} epochs", "batch_size": "batch {}"}
    varying = [n for n in spelt if len({one.record[n] for one in firsts}) > 1]
    texts = [_label(one, [spelt[n].format(one.record[n]) for n in varying]) for one in firsts]
    if len({one.dataset for one in firsts}) > 1:
        texts = [f"{text}, on {one.dataset}" for text, one in zip(texts, firsts, strict=True)]
    texts = [text + rules_of(one, firsts) for text, one in zip(texts, firsts, strict=True)]
    return [f"{t}, {one.run.name[-8:]}" if texts.count(t) > 1 else t for t, one in zip(texts, firsts, strict=True)]


def rules_of(one, several):
    """By which rules ``one`` of ``several`` was evaluated, as the end of a label; "" where they do not differ."""
    names = evaluate.differing([e.rules for e in several if e.dataset == one.dataset])
    return f", {evaluate.in_words(one.rules, names)}" if names else ""


def _label(one, words):
    mixer = "" if one.record["mixer"] == "none" else f" + {one.record['mixer']}"
    return ", ".join([f"{one.method}{mixer}", *words])
