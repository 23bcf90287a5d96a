"""Clouds as ``projection.cloud`` makes them, in no time: random features of classes that lie apart."""

import numpy as np

from mixlab.projection import Cloud, nearest_neighbours
from mixlab.runs import Run


def fake_cloud(folder, images, points=200, seed=0, epochs=(0, 10, 20), level=0.8, name="run", neighbours=10,
               predictions=True):
    """A cloud of ``points`` of ``images`` (``data.Images``), drawn by ``seed``; its run is ``folder / name``."""
    draw = np.random.Generator(np.random.Philox(seed))
    index = np.sort(draw.permutation(len(images))[:points])
    known = images.labels is not None
    labels = images.labels.numpy()[index] if known else np.zeros(len(index), np.int64)
    count = max(len(images.classes), 1)
    centres = np.random.Generator(np.random.Philox(99)).normal(size=(count, 32)) * level
    features = (centres[labels] + draw.normal(size=(len(index), 32))).astype(np.float32)
    near = nearest_neighbours(features, neighbours)
    angle = 2 * np.pi * labels / count
    away = 4 * level * np.stack([np.cos(angle), np.sin(angle)], 1)
    noise = draw.normal(size=(len(index), 2))
    maps = np.stack([away * (i + 1) / len(epochs) + noise for i in range(len(epochs))]).astype(np.float32)
    run = Run(folder / name)
    run.path.mkdir(exist_ok=True)
    said = [np.bincount(labels[one]).argmax() for one in near]
    return Cloud(run, "cifar10-mini", "encoder", "pca", index, images.pixels.numpy()[index],
                 labels if known else None, np.array(said) if known and predictions else None, images.classes, near,
                 (labels[near] == labels[:, None]).mean(1) if known else None, tuple(epochs), maps,
                 {"trustworthiness": 0.93, "neighbours_kept": 0.41, "k": 10, "points": points})
