"""Evaluations as they lie on disk: the records, what they measured, and which of them are seeds of one setting."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixlab import data, runs
from mixlab.errors import CheckpointError
from mixlab.files import read_json

# What does not make two runs different settings: they differ in their draws, or in where and how fast they ran.
SAME_SETTING = ("seed", "data_dir", "runs_dir", "device", "compile", "checkpoint_every", "knn_every", "fresh",
                "interactive")
MONITOR_TEMPERATURE = 0.1  # of the kNN that a run records while it trains
READ = ("method", "mixer", "encoder", "epochs", "seed", "batch_size", "dataset", "trained_on", "data_checksum", "knn",
        "probes", "few_labels", "robustness", "geometry")  # what the pictures need of a record
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
        """Text equal for runs that differ in their seed only."""
        kept = {n: v for n, v in self.values.items() if n not in SAME_SETTING} or self.run.name
        return json.dumps([kept, self.record["dataset"]], sort_keys=True)

    @property
    def dataset(self):
        """The data set evaluated on, and what sets the run apart from one on all of it."""
        name, trained_on, values = self.record["dataset"], self.record["trained_on"], self.values
        parts = [(trained_on != name, f"encoder from {trained_on}"),
                 (values.get("train_size", "auto") != "auto", f"{values.get('train_size')} training images"),
                 (values.get("label_fraction", 1) < 1, f"{100 * values.get('label_fraction', 1):g} % of the labels"),
                 (values.get("val_fraction", 0) > 0, f"{100 * values.get('val_fraction', 0):g} % held out")]
        return ", ".join([name, *[text for applies, text in parts if applies]])

    @property
    def method(self):
        """The method, with what it started from if that was another run."""
        start = self.values.get("init_from", "none")
        return self.record["method"] + ("" if start == "none" else f" (fine-tuned from {start})")

    @property
    def caveat(self):
        """What the record marks, and that an encoder was not trained at all."""
        return "; ".join((["untrained encoder"] if self.is_untrained else []) + self.record.get("marks", []))

    @property
    def is_untrained(self):
        return self.record["epochs"] == 0 and self.values.get("init_from", "none") == "none"

    @property
    def is_control(self):
        return self.method == "cross_entropy" and not self.is_untrained

    @property
    def untrained_knn(self):
        """``{(what, layer): accuracy}`` that the run itself recorded before training, where it is the same protocol."""
        result, same = self.run.result(), self.record["dataset"] == self.record["trained_on"]
        known = result.get("knn_top1_untrained") is not None and result.get("knn_split") == "test"
        rows = [e for e in self.record["knn"] if (e["layer"], e["k"], e["temperature"]) ==
                ("encoder", result.get("knn_k"), MONITOR_TEMPERATURE)]
        return {(f"kNN, k {rows[0]['k']}", "encoder"): result["knn_top1_untrained"]} if same and known and rows else {}

    def arrays(self):
        """Features, labels and predictions on the test images, by name; {} where there are none."""
        file = self.file.with_name(self.file.name.replace("linear_eval", "embeddings")).with_suffix(".npz")
        if not file.exists():
            return {}
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)


def evaluated(runs_dir):
    """Every finished evaluation below ``runs_dir``, the newest run first; a damaged one is left out with a warning."""
    return [one for run in runs.list_runs(data.resolve(runs_dir)) for one in evaluations_of(run)]


def evaluations_of(run):
    """The evaluations of one run: on its own data set, then on others."""
    found = []
    for file in sorted(run.path.glob("linear_eval*.json"), key=lambda f: (len(f.name), f.name)):
        try:
            record = _checked(file)
        except CheckpointError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        found += [Evaluated(run, file, record)] if record.get("status") == "ok" else []
    return found


def _checked(file):
    record = read_json(file)
    missing = [name for name in READ if name not in record] if record.get("status") == "ok" else []
    if missing:
        raise CheckpointError(f"{file}: is of another mixlab, without {', '.join(missing)}. Evaluate the run again.")
    return record


def chosen(run_list, records):
    """The stored evaluations of the runs that ``records`` (as ``evaluate.evaluate_all`` returns them) are of."""
    wanted = {(record["run"], record["dataset"]) for record in records}
    return [one for run in run_list for one in evaluations_of(run) if (run.name, one.record["dataset"]) in wanted]


def measures(one):
    """``{(what, layer): accuracy}`` of one evaluation, in fractions, in the order of its record."""
    found = {(f"kNN, k {e['k']}", e["layer"]): e["top1"] for e in one.record["knn"]}
    found |= {(PROBES[e["probe"]], e["layer"]): e["top1"] for e in one.record["probes"]}
    own = one.record.get("own_head")
    return found | ({("own classifier", "encoder"): own["top1"]} if own else {})


def by_setting(evaluations):
    """``{label: evaluations of one setting}``; labels name what tells the settings apart, no more."""
    groups = {}
    for one in evaluations:
        groups.setdefault(one.setting, []).append(one)
    labels = _labels([group[0] for group in groups.values()])
    return dict(zip(labels, groups.values(), strict=True))


def _labels(firsts):
    spelt = {"encoder": "{}", "epochs": "{} epochs", "batch_size": "batch {}"}
    varying = [n for n in spelt if len({one.record[n] for one in firsts}) > 1]
    texts = [_label(one, [spelt[n].format(one.record[n]) for n in varying]) for one in firsts]
    if len({one.dataset for one in firsts}) > 1:
        texts = [f"{text}, on {one.dataset}" for text, one in zip(texts, firsts, strict=True)]
    return [f"{t}, {one.run.name[-8:]}" if texts.count(t) > 1 else t for t, one in zip(texts, firsts, strict=True)]


def _label(one, words):
    mixer = "" if one.record["mixer"] == "none" else f" + {one.record['mixer']}"
    return ", ".join([f"{one.method}{mixer}", *words])
