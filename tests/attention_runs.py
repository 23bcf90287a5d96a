"""A folder of small pictures with boxes, and finished runs on it that no training made: for tests of attention."""

import json

import numpy as np
import torch
from PIL import Image

from mixlab import data, runs
from mixlab.encoders import Encoder
from mixlab.heads import classifier, layout, projector
from mixlab.params import Pretrain
from mixlab.rng import Key

CLASSES = ("<b>cat $5", "dog\u202egod", "eel")  # markup, a formula and a turn of direction in their names
SIZE = 16


def picture(key, side=(SIZE, SIZE)):
    """Noise, uint8 (H, W, 3)."""
    return key.generator().integers(60, 200, (*side[::-1], 3)).astype(np.uint8)


def folder_of_pictures(folder, labelled=True):
    """train/ and test/ with six and four pictures of each class; returns the name of the data set."""
    for split, count in (("train", 6), ("test", 4)):
        for number, name in enumerate(CLASSES if labelled else [""]):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(picture(Key(number, split, i))).save(place / f"{i}.png")
    return f"folder:{folder}"


def finished_run(runs_dir, dataset, method="simclr", seed=0, epochs=0):
    """A run directory as the trainer leaves it, its weights drawn and not learnt."""
    values = Pretrain.check(method=method, dataset=dataset, image_size=SIZE, seed=seed, epochs=epochs, warmup_epochs=0,
                            batch_size=8).resolved()
    run = runs.create(runs_dir, {k: values[k] for k in ("dataset", "method", "mixer", "encoder", "seed")}, values)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        encoder = Encoder(values["encoder"])
        head = classifier(encoder.dim, len(CLASSES)) if method == "cross_entropy" else projector(encoder.dim, 8, 4)
    sums = {f"{name}_sha256": runs.save_weights(run, name, module, about) for name, module, about in (
        ("encoder", encoder, {"encoder": encoder.name, "stem": "cifar"}), ("head", head, {"layout": layout(head)}))}
    checksum = data.load(dataset, image_size=SIZE).checksum
    result = {"status": "ok", "data_checksum": checksum, "versions": runs.versions(), "finished_at": 1e9 + seed, **sums}
    (run.path / "result.json").write_text(json.dumps(result))
    return run
