"""Linear probes: a logistic regression to convergence, and a whole probe that encodes once or in every epoch."""

import warnings

import torch

from mixlab.benchmark import peers
from mixlab.benchmark.augmentation import pictures
from mixlab.benchmark.neighbours import CLASSES, clusters
from mixlab.benchmark.rows import MISSING, Row, rows_of
from mixlab.benchmark.timing import Arm, interleave
from mixlab.encoders import Encoder
from mixlab.evaluate import augmented_features, features, fit_logistic, lbfgs_probe
from mixlab.params import Pretrain
from mixlab.rng import Key

L2, EPOCHS = 1e-4, 100


def measure(values, pace):
    """Rows of the solver, and of the whole probe."""
    yield from _solver(values, pace)
    yield from _whole(values, pace)


def _solver(values, pace):
    x, labels = clusters(values["probe_size"])
    own = x.to(pace.device), labels.to(pace.device)
    arms = [Arm("mixlab", lambda: fit_logistic(*own, CLASSES, L2))]
    if peers.has("scikit-learn"):
        arms.append(Arm("scikit-learn", lambda: _scikit_learn(x, labels), cold=True))
    else:
        yield Row("probe", "logistic regression", len(x), "scikit-learn", None, MISSING)
    yield from rows_of("probe", "logistic regression", len(x), interleave(arms, pace), pace)


def _scikit_learn(x, labels):
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(action="ignore"):
        LogisticRegression(C=1 / (L2 * len(x)), max_iter=500).fit(x.numpy(), labels.numpy())


def _whole(values, pace):
    """Each image encoded once, then L-BFGS with its choice of L2; and 100 epochs that encode anew what they augment.

    Of these one is measured, times 100: that ratio is an estimate, and counts no step of their solver. It is how most
    code bases probe; here with our encoder and views, in float32, without its own loader.
    """
    train, test = pictures(values["probe_images"]), pictures(max(1, values["probe_images"] // 5), seed=1)
    labels = torch.arange(len(train)) % CLASSES
    encoder, precision = Encoder("resnet18").to(pace.device), _precision(pace.device)

    def once():
        x = features(encoder, train, precision)
        features(encoder, test, precision)
        lbfgs_probe(x, labels.to(x.device), CLASSES, seed=0)

    def again():
        augmented_features(encoder, train, "weak", Key(0, "benchmark"))
        features(encoder, test)

    arms = [Arm("mixlab", once, 1, precision), Arm("encoding in every epoch", again, 1 / EPOCHS)]
    yield from rows_of("probe", "whole probe, resnet18", len(train), interleave(arms, pace), pace)


def _precision(device):
    return Pretrain(device=device).resolved()["precision"]
