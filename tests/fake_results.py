"""Runs with evaluations that look like real ones and hold random numbers: for tests of pictures and tables."""

import json

import numpy as np

from mixlab import data
from mixlab.evaluate import Protocol
from mixlab.files import sha256
from mixlab.params import Pretrain

PROTOCOL = Protocol().record()
CORRUPTIONS = ("noise", "blur", "contrast", "pixelation", "occlusion")


def fake_run(runs_dir, method="supcon", mixer="auto", seed=0, epochs=7, level=0.4, dataset="cifar10-mini", name=None,
             protocol=(), **values):
    """A run directory with params.json, linear_eval.json and embeddings.npz; returns its path.

    ``protocol`` holds what its evaluation had other than by default.
    """
    params = Pretrain.check(method=method, mixer=mixer, seed=seed, epochs=epochs, warmup_epochs=min(1, epochs),
                            dataset=dataset, **values).resolved()
    short = sha256(json.dumps(params).encode())[:8]
    run = runs_dir / (name or f"{dataset.split(':')[0]}-{method}-{params['mixer']}-{params['encoder']}-s{seed}-{short}")
    run.mkdir(parents=True)
    (run / "params.json").write_text(json.dumps(params))
    (run / "result.json").write_text(json.dumps({"status": "ok", "finished_at": 1e9 + seed}))
    draw = np.random.Generator(np.random.Philox(seed))
    labels, predictions, classes, checksum = predicted(dataset, draw, level)
    np.savez(run / "embeddings.npz", encoder=draw.normal(size=(len(labels), 16)).astype("float16"), labels=labels,
             predictions=predictions, knn_predictions=predictions, classes=np.array(classes))
    record = fake_record(run.name, params, draw, level, float((labels == predictions).mean()), checksum)
    record["protocol"] |= dict(protocol)
    (run / "linear_eval.json").write_text(json.dumps(record))
    return run


def predicted(dataset, draw, level):
    """Labels of the test set, predictions right for a share ``level`` of them, names of the classes, its checksum."""
    images = data.load("cifar10-mini", split="test") if dataset == "cifar10-mini" else None
    classes = data.DATASETS.get(dataset, ("left $", "<script>right"))
    labels = images.labels.numpy() if images else draw.integers(len(classes), size=200)
    guesses = np.where(draw.random(len(labels)) < 0.5, (labels + 1) % len(classes),
                       draw.integers(len(classes), size=len(labels)))
    predictions = np.where(draw.random(len(labels)) < level, labels, guesses)
    return labels, predictions, classes, images.checksum if images else "0" * 64


def fake_record(name, params, draw, level, top1, checksum):
    """What ``linear_eval.json`` holds, with every field of the real one that a picture or table reads."""
    def near(value, by=0.01):
        return float(np.clip(value + draw.normal() * by, 0, 1))

    control = params["method"] == "cross_entropy"
    layers = ["encoder"] if control else ["encoder", "projection"]
    shared = {"top5": near(0.9), "calibration_error": near(0.05), "val_top1": None, "seconds": 1.0}
    probes = [{"probe": probe, "layer": layer, "epochs": epochs, "passes": passes, "l2": l2, **shared,
               "top1": top1 if (probe, layer) == ("lbfgs", "encoder") else near(level - by)}
              for probe, epochs, passes, l2, by in (("sgd", 100, None, None, 0.02), ("sgd_augmented", 100, 5, None, 0),
                                                    ("lbfgs", None, None, 0.01, 0.01)) for layer in layers]
    return {
        "status": "ok", "run": name, **{n: params[n] for n in ("method", "mixer", "encoder", "epochs", "seed",
                                                                "batch_size", "dataset")},
        "trained_on": params["dataset"], "transfer": False, "data_checksum": {"train": "1" * 64, "test": checksum},
        "protocol": PROTOCOL | {"precision": params["precision"]}, "versions": {"mixlab": "0"}, "trained_by": "0",
        "marks": [], "device": "cpu",
        "train_images": 2000, "test_images": 1000, "predictions_of": "lbfgs", "predictions_layer": "encoder",
        "knn": [{"layer": layer, "k": k, "temperature": 0.1, "top1": near(level - 0.03), "val_top1": None,
                 "seconds": 1.0} for layer in layers for k in (200, 5)],
        "probes": probes,
        "few_labels": [{"fraction": f, "images": 9, "probe": "lbfgs", "layer": "encoder", "draws": 5, "mean": 0.2,
                        "std": 0.1, "seconds": 1.0, "values": [near(level * (0.6 + 0.1 * i), 0.03) for _ in range(5)]}
                       for i, f in enumerate((0.01, 0.1))],
        "robustness": [{"corruption": "none", "severity": 0, "images": 99, "top1": top1}] + [
            {"corruption": c, "severity": s, "images": 99, "top1": near(max(0.1, top1 - (0.02 + 0.01 * i) * s))}
            for i, c in enumerate(CORRUPTIONS) for s in range(1, 6)],
        "geometry": {layer: {"alignment": 0.5, "uniformity": -2.0, "tolerance": 0.3, "effective_rank": 20.0 * level,
                             "dim": 64, "within_between": 3.0, "collapse": 5.0,
                             "spectrum": list(np.exp(-np.arange(64 if layer == "encoder" else 32) * (0.2 - level / 5)))}
                     for layer in layers},
        "own_head": {"top1": near(level), "top5": None, "calibration_error": 0.1} if control else None,
    }
