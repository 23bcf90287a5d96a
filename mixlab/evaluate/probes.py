"""Linear probes on cached features, with all labels or few."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from mixlab.errors import DataError, listed
from mixlab.evaluate.logistic import Objective, feature_curvature, fit_logistic
from mixlab.evaluate.scoring import scores
from mixlab.evaluate.sgd import Linear, sgd_probe
from mixlab.rng import Key

L2_PATH = tuple(10 ** (-k / 2) for k in range(13))  # 1 to 1e-6, from strong to weak
PATH = {"tolerance": 1e-4, "share": 0.1}  # how exact the fits are that choose L2; see ``fit_logistic``
HELD_OUT = 0.2  # share of every class that L2 is chosen on


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe: its name and layer, the classifier, what its fit chose, and the seconds it took."""

    name: str
    layer: str
    classifier: Linear
    about: dict
    seconds: float


def fit_probes(found, protocol):
    """Every probe of the protocol on every layer, as a list of ``Probe``; ``found`` is a ``Features``."""
    return [fit_probe(name, layer, found, protocol) for name in protocol.probes
            for layer in protocol.scored(found.layers)]


def fit_probe(name, layer, found, protocol):
    """One probe on the training features of one layer. What it needs is encoded before its clock starts."""
    passes, classes = _passes(name, layer, found, protocol), len(found.images["train"].classes)
    labels, started = found.labels("train"), time.monotonic()
    if name == "lbfgs":
        classifier, about = lbfgs_probe(passes[0], labels, classes, protocol.seed)
    else:
        classifier = sgd_probe(passes, labels, classes, protocol)
        about = {"epochs": protocol.probe_epochs, "passes": len(passes) if name == "sgd_augmented" else None}
    return Probe(name, layer, classifier, about, time.monotonic() - started)


def _passes(name, layer, found, protocol):
    if name == "sgd_augmented":
        return [found.augmented("train", number, layer) for number in range(protocol.augmented_passes)]
    return [found.of("train", layer)]


def score_probe(probe, found):
    """The row of one probe: scores on the test images, and top-1 on the training and validation images."""
    row = {"probe": probe.name, "layer": probe.layer, "epochs": None, "passes": None, "l2": None, **probe.about}
    tops = {f"{part}_top1": scores(probe.classifier(found.of(part, probe.layer)), found.labels(part))["top1"]
            for part in ("train", "val") if part in found.images}
    logits = probe.classifier(found.of("test", probe.layer))
    return row | scores(logits, found.labels("test")) | {"val_top1": None} | tops | {"seconds": probe.seconds}


def lbfgs_probe(features, labels, num_classes, seed):
    """Multinomial logistic regression to convergence on standardised features, its L2 chosen on held-out images.

    A fifth of every class (at least one image where it has two) is held out; L2 runs from strong to weak, each fit
    starting from the last solution; the best top-1 wins, then the lowest cross-entropy, then the stronger L2; the
    winner is fitted again on all images. Where no image can be held out, L2 is 1 / N, scikit-learn's default.

    Args:
        features: float32 (N, D). labels: int64 (N,). num_classes: K. seed: of the held-out images.
    Returns:
        ``(Linear, about)`` for features as they came; ``about`` holds ``l2``, ``held_out`` (images), ``steps`` of the
        last fit, and ``converged``: whether it did, and all that L2 was chosen by. Classes without an image get a bias
        of minus infinity: they are never answered.
    """
    present, labels = labels.unique(return_inverse=True)
    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 1e-6, scale, 1)  # a feature that never varies stays 0
    x = (features - mean) / scale
    l2, start, held_out, sure = _choose_l2(x, labels, len(present), Key(seed, "probe/l2"))
    fit = fit_logistic(x, labels, len(present), l2, start=start)
    weight, bias = features.new_zeros(num_classes, x.shape[1]), features.new_full((num_classes,), -torch.inf)
    weight[present] = fit.theta[:, :-1] / scale
    bias[present] = fit.theta[:, -1] - weight[present] @ mean
    about = {"l2": l2, "held_out": held_out, "steps": fit.steps, "converged": sure and fit.converged}
    return Linear(weight, bias), about


def _choose_l2(x, labels, classes, key):
    """``(l2, the solution it had on the kept images, number of held-out images, whether all fits converged)``."""
    held = held_out_rows(labels, HELD_OUT, key)
    if not len(held):
        return 1 / len(labels), None, 0, True
    kept = torch.ones(len(labels), dtype=torch.bool, device=x.device)
    kept[held] = False
    x_kept, y_kept, asked = x[kept], labels[kept], Objective(x[held], labels[held], 0.0)
    curvature, theta, tried, sure = feature_curvature(x_kept), None, [], True
    for l2 in L2_PATH:
        fit = fit_logistic(x_kept, y_kept, classes, l2, start=theta, curvature=curvature, **PATH)
        theta, sure = fit.theta, sure and fit.converged
        answers = Linear(theta[:, :-1], theta[:, -1])(asked.features).argmax(1)
        tried.append(((answers == asked.labels).double().mean().item(), -asked(theta).loss, l2, theta))
    _, _, l2, theta = max(tried, key=lambda entry: entry[:3])
    return l2, theta, len(held), sure


def held_out_rows(labels, share, key):
    """Rows (M,) of a stratified part: ``share`` of every class, rounded, at least one and never all of its images."""
    groups = _shuffled(labels, key)
    counts = [min(max(1, _rounded(len(g) * share)), len(g) - 1) for g in groups.values()]
    rows = np.concatenate([group[:n] for group, n in zip(groups.values(), counts, strict=True)])
    return torch.from_numpy(np.sort(rows)).to(labels.device)


def labelled_rows(labels, classes, fraction, seed):
    """Rows (M,) that keep their label when a fraction of every class is labelled: those of ``data.label_subset``.

    Raises:
        DataError: naming the classes that would get no image.
    """
    groups = _shuffled(labels, Key(seed, "label_fraction"))
    kept = {k: group[:_rounded(len(group) * fraction)] for k, group in groups.items()}
    small = listed(f"{classes[k]} ({len(groups[k])})" for k in groups if not len(kept[k]))
    if small:
        raise DataError(f"few_label_fractions {fraction}: at least one image of every class; got classes too small "
                        f"for it: {small}. Choose a larger fraction, or add images.")
    return torch.from_numpy(np.sort(np.concatenate(list(kept.values())))).to(labels.device)


def _shuffled(labels, key):
    """{class: its rows in random order}."""
    labels, generator = labels.cpu().numpy(), key.generator()
    return {int(k): generator.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)}


def _rounded(number):
    return int(number + 0.5)


def few_labels(found, fraction, protocol):
    """The row of the probe ``lbfgs`` on the encoder's features when only a fraction of every class is labelled.

    Draw i takes the images that ``data.label_subset`` takes of the training images with seed + i. Fine-tuning from this
    run (``init_from``) with that ``label_fraction``, the run's ``val_fraction`` and the seed ``protocol.seed + i`` sees
    the same labels, unless run or protocol has a ``train_size``, which each seed draws anew. ``std`` is the sample's,
    None for a single draw; ``converged`` says whether all fits of all draws did.
    """
    labels, values, sure, started = found.labels("train"), [], True, time.monotonic()
    images = found.images["train"]
    for draw in range(protocol.few_label_draws):
        rows = labelled_rows(labels, images.classes, fraction, protocol.seed + draw)
        classifier, about = lbfgs_probe(found.of("train")[rows], labels[rows], len(images.classes),
                                        protocol.seed + draw)
        sure = sure and about["converged"]
        values.append(scores(classifier(found.of("test")), found.labels("test"))["top1"])
    return {"fraction": fraction, "images": len(rows), "probe": "lbfgs", "layer": "encoder", "draws": len(values),
            "first_seed": protocol.seed, "converged": sure, "values": values, "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "seconds": time.monotonic() - started}
