"""Does a map lie where the object is? Scores on two-object mosaics, and on boxes that a folder brings."""

import math
import time

import torch

from mixlab import data, runs
from mixlab.attention.boxes import BOXES, read_boxes
from mixlab.attention.cam import class_maps, class_score, grad_cams, similarity_score
from mixlab.attention.classifier import classifier_of
from mixlab.attention.maps import POWERS, check_layers, energies, enlarge
from mixlab.attention.mosaics import CELLS, draw_mosaics
from mixlab.attention.scores import inside, pointing_and_energy
from mixlab.data.layout import read_layout
from mixlab.errors import CheckpointError
from mixlab.evaluate import Protocol
from mixlab.evaluate.subjects import check_run, load_images, place_of
from mixlab.files import plain, sha256, write_json

FILE = "attention.json"
RULE = ("mosaics of 2 x 2 whole test images: objects of two classes in random cells, phase-scrambled images in the "
        "other two; scored on the layer's own grid")
BOX_RULE = "test images with a box; maps enlarged to the image, a pixel across the border counts with its share"


def localisation(run, *, mosaics=200, layers=(4,), seed=0, data_dir="auto", device="cpu", fresh=False, log=print):
    """Scores of a finished run's maps, stored as ``attention.json`` in its directory; those of an earlier protocol go.

    On two-object mosaics made from the test images of the run's own data set (see ``draw_mosaics``): activation maps
    are asked for either object, Grad-CAM of a class logit and of the similarity with another image of the class for
    each object in turn. Where the data set is a folder with ``boxes.csv``, also on its boxed test images.

    Args:
        run: a finished ``Run``. One of ``epochs: 0`` is the untrained encoder to compare with.
        mosaics: how many. layers: of 1 to 4. seed: of the mosaics and of the probe.
        data_dir: as in ``evaluate.Protocol``; ``auto`` is where the run had its images.
        fresh: measure again although the same is stored.
    Returns:
        what ``attention.json`` holds: ``protocol``, and rows ``mosaics`` and ``boxes`` of ``{layer, method, power,
        asked, questions, pointing, pointing_se, energy, energy_se, other_energy, chance, empty}``. All scores are
        fractions; ``_se`` is the standard error over mosaics (or images), and not over trainings; ``other_energy`` is
        the share in the cell of the object that was not asked for; ``empty`` counts maps that are 0 everywhere.
    Raises:
        CheckpointError: an unfinished or damaged run. DataError: no labels, other images than the run's, bad boxes.
        ParamError: an unknown layer, or fewer than one mosaic.
    """
    check_layers(layers)
    asked = Protocol(data_dir=data_dir)
    marks, images = check_run(run, asked), load_images(run, asked)["test"]
    drawn = draw_mosaics(images, mosaics, seed)
    boxed = _boxed(place_of(run.params(), data_dir)[0], images)
    identity = _identity(run, images, boxed, {"mosaics": mosaics, "layers": list(layers), "seed": seed})
    stored = None if fresh else _stored(run, identity)
    if stored is not None:
        log(f"{run.name}: its maps are scored already; fresh=True scores them again.")
        return stored
    started, encoder = time.monotonic(), runs.load_encoder(run, device)
    classifier, about = classifier_of(run, encoder, data_dir=data_dir, seed=seed, log=log)
    rows = score_mosaics(encoder, classifier, images, drawn, layers)
    record = {"status": "ok", **identity, "marks": marks, "classifier": about, "mosaics": rows,
              "boxes": [] if boxed is None else score_boxes(encoder, classifier, images, *boxed[0], layers),
              "device": runs.device_name(encoder.mean.device), "threads": torch.get_num_threads(),
              "seconds": time.monotonic() - started}
    log(f"{run.name}: {len(drawn)} mosaics scored in {record['seconds']:.1f} s.")
    if not runs.writable(run):
        log(f"Note: {run.path} can't be written: the scores are not kept.")
        return plain(record)
    with runs.locked(run):
        write_json(run.path / FILE, runs.sealed(record))
    return runs.read_sealed(run.path / FILE)


def _boxed(name, images):
    """``((rows, boxes), facts)`` of a data set ``name`` that is a folder with boxes of test images; else None."""
    folder = name.removeprefix("folder:")
    if folder == name:
        return None
    table = read_layout(data.resolve(folder)).root / BOXES
    if not table.is_file():
        return None
    rows, boxes, cut_off = read_boxes(folder, "test", images.skipped)
    facts = {"rule": BOX_RULE, "sha256": sha256(table), "cut_off": cut_off}
    return ((rows, boxes), facts) if len(rows) else None


def _identity(run, images, boxed, asked):
    """What was measured, on what and by which code: equal identities have equal numbers."""
    result = run.result()
    protocol = {**asked, "powers": list(POWERS), "rule": RULE, "boxes": None if boxed is None else boxed[1]}
    return {"run": run.name, "method": run.params()["method"], "dataset": run.params()["dataset"],
            "seed": run.params().get("seed"), "trained_by": result.get("versions", {}).get("mixlab", "unknown"),
            "data_checksum": {"train": result["data_checksum"], "test": images.checksum},
            "encoder_sha256": result["encoder_sha256"], "protocol": protocol, "versions": runs.versions()}


def _stored(run, identity):
    try:
        record = runs.read_sealed(run.path / FILE)
    except (FileNotFoundError, CheckpointError):
        return None
    same = all(record.get(name) == value for name, value in identity.items())
    return record if record.get("status") == "ok" and same else None


def score_mosaics(encoder, classifier, images, mosaics, layers=(4,)):
    """Rows as in ``localisation`` of one encoder on ``Mosaics`` drawn from ``images``.

    Args:
        classifier: features (n, dim) to logits (n, K), of the classes of ``images``.
    """
    rows, cells = [], torch.tensor(CELLS)[mosaics.cells].to(encoder.mean.device)  # (N, 2, 4)
    for power, found in energies(encoder, mosaics.pixels, layers).items():
        for layer, maps in found.items():
            target = sum(inside(cells[:, i], *maps.shape[1:]) for i in range(2))
            rows.append(_row(layer, "activation", power, "either object", [_asked(maps, target)], 0.5))
    queries = [images.pixels[mosaics.queries[:, i]] for i in range(2)]
    scores = [class_score(encoder, classifier, mosaics.labels[:, i]) for i in range(2)]
    scores += [similarity_score(encoder, others, len(mosaics)) for others in queries]
    found = grad_cams(encoder, mosaics.pixels, scores, layers)
    return [*rows, *_object_rows("class", "the object of a class", found[:2], cells, layers),
            *_object_rows("similarity", "the object like another image of its class", found[2:], cells, layers)]


def _object_rows(method, asked, found, cells, layers):
    """A row for each layer of maps that ask for the first and for the second object."""
    rows = []
    for layer in layers:
        both = []
        for i, maps in enumerate(one[layer] for one in found):
            target, other = (inside(cells[:, k], *maps.shape[1:]) for k in (i, 1 - i))
            both.append(_asked(maps, target, other))
        rows.append(_row(layer, method, None, asked, both, 0.25))
    return rows


def _asked(maps, target, other=None):
    """One question to each of N images: pointing, energy, energy in the other object, all (N,), and empty maps."""
    pointing, energy, empty = pointing_and_energy(maps, target)
    return pointing, energy, None if other is None else pointing_and_energy(maps, other)[1], empty


def _row(layer, method, power, asked, questions, chance):
    """A row of the record; ``questions`` is a list of what ``_asked`` found, of the same N images each."""
    pointing, energy, other, empty = zip(*questions, strict=True)
    (point, point_se), (share, share_se) = _mean(pointing), _mean(energy)
    return {"layer": layer, "method": method, "power": power, "asked": asked,
            "questions": sum(map(len, pointing)), "pointing": point, "pointing_se": point_se, "energy": share,
            "energy_se": share_se, "other_energy": None if other[0] is None else _mean(other)[0], "chance": chance,
            "empty": int(sum(one.sum() for one in empty))}


def _mean(several):
    """Mean and its standard error over images, whose own questions are averaged first; None for a single image."""
    values = torch.stack(several).mean(0)  # (N,)
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else None
    return values.mean().item(), error


def score_boxes(encoder, classifier, images, rows, boxes, layers=(4,)):
    """Rows as in ``localisation`` of the images ``rows`` (M,) with one box each, (M, 4) in fractions of the image.

    Chance is the boxes' mean share of the image: what a constant map, or a random place, would get.
    """
    chosen, found = images.subset(rows), []
    height, width = chosen.pixels.shape[1:3]
    target = inside(boxes.to(encoder.mean.device), height, width)
    chance = target.mean().item()
    for power, maps_of in energies(encoder, chosen.pixels, layers).items():
        found += [("activation", power, layer, maps) for layer, maps in maps_of.items()]
    for layer, maps in class_maps(encoder, chosen.pixels, classifier, chosen.labels, layers).items():
        found.append(("class", None, layer, maps))
    return [_row(layer, method, power, "the box", [_asked(enlarge(maps, height, width), target)], chance)
            for method, power, layer, maps in found]
