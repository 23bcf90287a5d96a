"""One run evaluated by one protocol: kNN, probes, few labels, robustness and geometry on features computed once."""

import io
import time

import numpy as np
import torch

from mixlab import data, runs
from mixlab.encoders import label
from mixlab.errors import CheckpointError, DataError, ParamError, problem
from mixlab.evaluate.corruptions import robustness
from mixlab.evaluate.encoding import Features
from mixlab.evaluate.geometry import geometry
from mixlab.evaluate.knn import knn_predict
from mixlab.evaluate.probes import few_labels, fit_probes, labelled_rows, score_probe
from mixlab.evaluate.protocol import DEFAULT_FRACTIONS, Protocol
from mixlab.evaluate.rules import keep_earlier, kept_name
from mixlab.evaluate.scoring import scores
from mixlab.evaluate.sgd import Linear
from mixlab.evaluate.shelf import places_of, shelf
from mixlab.evaluate.subjects import check_run, dataset_of, file_names, is_own, leaks, load_images
from mixlab.files import sha256, write, write_json

PREDICTING = ("lbfgs", "sgd_augmented", "sgd")  # the first of these that was fitted gives the stored predictions
CONTROL = "cross_entropy"  # the method whose head is a classifier, not a projector
HALF_MAX = 65504  # the largest float16


def evaluate(run, protocol=None, log=print):
    """Evaluates a finished run and stores the result in its directory.

    Writes ``embeddings.npz`` and then ``linear_eval.json`` (``linear_eval-<dataset>.json`` for transfer): the newest
    evaluation. An earlier one of another protocol stays as ``linear_eval-<hash8 of its protocol>.json``, without its
    embeddings. The newest, asked for again by the same code, is read back, unless ``protocol.fresh``.

    Args:
        run: a ``Run``.
        protocol: a ``Protocol``; None for its defaults.
        log: called with each line of text.
    Returns:
        what ``linear_eval.json`` holds, and ``kept_in``, the folder it is in, where the run's own can't be written.
        Accuracies are fractions; ``train_test_duplicates`` counts the test images that are, pixel for pixel, training
        images too.
    Raises:
        CheckpointError: an unfinished or damaged run, or one of another release of mixlab.
        DataError: no labels, other images than the run was trained on, classes too small for a fraction.
        ParamError: k larger than the bank; a layer that the run has not.
    """
    protocol = protocol or Protocol()
    marks, images = check_run(run, protocol) + leaks(run, protocol), load_images(run, protocol)
    fractions, left_out = _fractions(protocol, images["train"])
    identity, names = _identity(run, protocol, images), file_names(run, protocol)
    stored = None if protocol.fresh else _stored(places_of(run, protocol), names, identity)
    if stored is not None:
        log(f"{run.name} is evaluated already; fresh: true evaluates it again.")
        return stored
    leaked = data.overlap(images["train"], images["test"])
    leak = f"{leaked} of the {len(images['test'])} test images are training images too, so it is too kind"
    for mark in marks + left_out + [leak] * bool(leaked):
        log(f"Note: {run.name}: {mark}.")
    place = shelf(run, protocol, log)
    record, arrays = _measure(run, protocol, images, fractions, log)
    about = {"marks": marks, "left_out": left_out, "train_test_duplicates": leaked}
    return _store(place, names, {"status": "ok", **identity, **about, **record}, arrays)


def evaluate_all(chosen, protocol=None, log=print):
    """Evaluates a list of runs, the cheap refusals of all of them first; returns their records in order."""
    problems = []
    for run in chosen:
        try:
            check_run(run, protocol or Protocol())
        except CheckpointError as error:
            problems.append(str(error))
    if problems:
        raise CheckpointError("\n".join(problems))
    return [evaluate(run, protocol, log) for run in chosen]


def _fractions(protocol, train):
    """The fractions of labels to measure, and sentences about the default ones that the images do not allow."""
    asked = protocol.few_label_fractions
    fractions, left_out = [], []
    for fraction in DEFAULT_FRACTIONS if asked == "auto" else asked:
        try:
            labelled_rows(train.labels, train.classes, fraction, protocol.seed)
            fractions.append(fraction)
        except DataError as error:
            if asked != "auto":
                raise
            left_out.append(str(error).removesuffix("."))
    return fractions, left_out


def _identity(run, protocol, images):
    """What the evaluation is of and by which code: equal identities have equal numbers."""
    values, result = run.params(), run.result()
    trained_by = result.get("versions", {}).get("mixlab", "unknown")
    about = {name: values[name] for name in ("method", "mixer", "epochs", "seed", "batch_size")}
    about["encoder"] = label(values["encoder"], values.get("width", 64))
    return {"run": run.name, **about, "trained_on": values["dataset"],
            "dataset": dataset_of(run, protocol),
            "transfer": not is_own(run, protocol), "classes": list(images["train"].classes),
            **{f"{part}_images": len(images.get(part, ())) for part in ("train", "val", "test")},
            "data_checksum": {part: images[part].checksum for part in ("train", "test")},
            "protocol": protocol.record(), "encoder_sha256": result.get("encoder_sha256"),
            "trained_by": trained_by, "versions": runs.versions()}


def _stored(places, names, identity):
    """The stored record of exactly this evaluation, its embeddings whole, from the first place that has it; or None."""
    for place in places:
        try:
            record = _read(place, names[0])
            whole = sha256(place.path / names[1]) == record.get("embeddings_sha256")
        except (FileNotFoundError, CheckpointError):
            continue
        if record.get("status") == "ok" and whole and all(record.get(n) == value for n, value in identity.items()):
            return record
    return None


def _read(place, name):
    """A stored record, and where it is kept if that is not the run's own folder."""
    record = runs.read_sealed(place.path / name)
    return record if (place.path / "params.json").exists() else record | {"kept_in": str(place.path)}


def _measure(run, protocol, images, fractions, log):
    """The numbers, and the arrays of ``embeddings.npz``."""
    started = time.monotonic()
    found, own_head = _features(run, protocol, images)
    encoding_seconds = _encode(found)
    log(f"{run.name}: {found.encodings:,} images encoded in {encoding_seconds:.1f} s.")
    knn, answers = _knn(found, protocol, log)
    probes = fit_probes(found, protocol)
    rows = [_said(score_probe(probe, found), log) for probe in probes]
    predicting = _predicting(probes)
    record = {
        "knn": knn, "probes": rows, "predictions_of": predicting and predicting.name,
        "predictions_layer": predicting and predicting.layer, "own_head": _own_head(own_head, found),
        "few_labels": [_said(few_labels(found, fraction, protocol), log) for fraction in fractions],
        "robustness": robustness(found, predicting, protocol) if protocol.robustness and predicting else [],
        "geometry": {layer: geometry(found, layer) for layer in protocol.scored(found.layers) if protocol.geometry},
        "device": runs.device_name(torch.device(protocol.device)), "threads": torch.get_num_threads(),
        "encodings": found.encodings, "encoding_seconds": encoding_seconds, "seconds": time.monotonic() - started}
    return record, _arrays(found, answers, predicting)


def _features(run, protocol, images):
    """``Features`` of the run, and the control's own classifier (None for methods that have a projector)."""
    control = run.params()["method"] == CONTROL
    if control and "encoder" not in protocol.layers:
        raise ParamError(problem("layers", f"with encoder, because {run.name} has no projector", protocol.layers,
                                 "Add encoder"))
    encoder, head = (load(run, protocol.device) for load in (runs.load_encoder, runs.load_head))
    found = Features(encoder, images, None if control else head, precision=protocol.precision, seed=protocol.seed)
    return found, Linear(head.weight, head.bias) if control and is_own(run, protocol) else None


def _own_head(classifier, found):
    return None if classifier is None else scores(classifier(found.of("test")), found.labels("test"))


def _encode(found):
    """Encodes all unaugmented images, so that no later clock counts it; returns the seconds it took.

    Raises:
        CheckpointError: features that are not finite.
    """
    started = time.monotonic()
    for part in found.images:
        for layer in found.layers:
            wrong = (~torch.isfinite(found.of(part, layer))).any(1).sum().item()
            if wrong:
                raise CheckpointError(f"{layer}: finite features; got NaN or infinity for {wrong} {part} images. "
                                      "Train the run again, with a lower lr.")
    return time.monotonic() - started


def _knn(found, protocol, log):
    """Rows of weighted kNN on every layer, and the answers (N,) of the first."""
    rows, first = [], None
    for layer in protocol.scored(found.layers):
        for k in protocol.k_for(len(found.images["train"])):
            started = time.monotonic()
            tops, answers = _knn_tops(found, layer, k, protocol.knn_temperature)
            first = answers if first is None else first
            row = {"layer": layer, "k": k, "temperature": protocol.knn_temperature, "top1": tops["test"],
                   "val_top1": tops.get("val"), "seconds": time.monotonic() - started}
            rows.append(_said(row, log))
    return rows, first


def _knn_tops(found, layer, k, temperature):
    """Top-1 of the validation and test images, and the answers on the test images."""
    tops, classes = {}, len(found.images["train"].classes)
    for part in [p for p in ("val", "test") if p in found.images]:
        answers = knn_predict(found.of("train", layer), found.labels("train"), found.of(part, layer), classes, k,
                              temperature)
        tops[part] = (answers == found.labels(part)).double().mean().item()
    return tops, answers


def _said(row, log):
    """Logs a row of kNN, of a probe or of few labels, and returns it."""
    what, top1 = f"probe {row.get('probe')}", row.get("top1", row.get("mean"))
    if "k" in row:
        what = f"kNN, k {row['k']}"
    elif "fraction" in row:
        what = f"{100 * row['fraction']:g} % of labels"
    log(f"  {row['layer']:<10} {what:<20} {100 * top1:5.1f} %  {row['seconds']:.1f} s")
    if row.get("converged") is False:
        log("  Note: a fit of it, or one that its l2 was chosen by, stopped before it converged.")
    return row


def _predicting(probes):
    """The probe whose answers are stored, on the first layer; None without probes."""
    order = sorted(probes, key=lambda probe: PREDICTING.index(probe.name))
    return next((probe for probe in order if probe.layer == probes[0].layer), None)


def _arrays(found, knn_answers, predicting):
    """What ``embeddings.npz`` holds: float16 test features of every layer, labels, answers and class names."""
    arrays = {layer: found.of("test", layer).clamp(-HALF_MAX, HALF_MAX).half() for layer in found.layers}
    arrays |= {"labels": found.labels("test"), "knn_predictions": knn_answers}
    if predicting:
        arrays["predictions"] = predicting.classifier(found.of("test", predicting.layer)).argmax(1)
    arrays = {name: values.cpu().numpy() for name, values in arrays.items()}
    return arrays | {"classes": np.array(found.images["test"].classes)}


def _store(place, names, record, arrays):
    """Writes the embeddings, then the record that vouches for them, and returns it as read back.

    A record of another protocol is kept first, so that at every instant each is in some file.
    """
    record_name, embeddings_name = names
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    content = buffer.getvalue()
    with runs.locked(place):
        keep_earlier(place.path / record_name, record)
        write(place.path / embeddings_name, content)
        write_json(place.path / record_name, runs.sealed({**record, "embeddings_sha256": sha256(content)}))
        (place.path / kept_name(record, record_name)).unlink(missing_ok=True)
    return _read(place, record_name)
