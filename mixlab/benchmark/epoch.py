"""End to end: epochs of ``mixlab.train``'s own loop beside lightly's, from images in memory to updated weights.

Also whether an image costs the same in a larger batch, and in a larger data set.
"""

import os

import torch
from torch.utils.data import DataLoader, Dataset

from mixlab import parallel
from mixlab.benchmark import peers
from mixlab.benchmark.augmentation import RECIPE, pictures
from mixlab.benchmark.rows import MISSING, Row, rows_of
from mixlab.benchmark.timing import Arm, interleave, ratios, summary
from mixlab.data import Images, Splits
from mixlab.params import Pretrain, settle
from mixlab.params.benchmark import BATCHES
from mixlab.train import Trainer

CIFAR_VIEWS = 100_000  # an epoch of CIFAR with two views


def measure(values, pace):
    """Rows of views per second, of seconds per epoch of CIFAR, and of how the cost of a view grows."""
    yield from _epochs(values, pace)
    yield from _growth("batch size", _by_batch(values, pace), pace)
    yield from _growth("data set", _by_data_set(values, pace), pace)
    yield from _growth("data set, batches only", _by_data_set(values, pace, only_batches=True), pace)


def trainer(encoder, images, batch_size, pace, compiled=False, method="simclr"):
    """A ``Trainer`` on noise at its first epoch; it writes nothing."""
    values = Pretrain(method=method, encoder=encoder, batch_size=batch_size, epochs=1, warmup_epochs=0,
                      device=pace.device, compile=compiled).resolved()
    pixels = pictures(images)
    noise = Images(pixels, torch.arange(images) % 10, tuple("abcdefghij"), checksum="0" * 64)
    made = Trainer(None, settle(values, images), {}, Splits(noise, noise, "test"), parallel.Ranks(), _quiet)
    made.method.train()
    return made


def _quiet(line):
    """Nothing is said of an epoch that only passes the time."""


def steps(trained, count):
    """A function that makes ``count`` steps at the start of the epoch, again and again."""
    def call():
        trained.progress.step = 0
        for _ in range(count):
            trained.step()
        trained.bad_step.item()  # what ends an epoch: it waits for the device

    return call


def batches(trained, count):
    """A function that makes the batches of the epoch's first steps."""
    def call():
        for number in range(count):
            trained.progress.step = number
            trained.batch()

    return call


def _epochs(values, pace):
    """Epochs of a few images; views per second say what one of CIFAR takes."""
    size, images = values["batch_size"], values["epoch_images"]
    for encoder in values["epoch_encoders"]:
        own = trainer(encoder, images, size, pace, values["compile_step"])
        views = 2 * size * own.steps
        arms = [Arm("mixlab", steps(own, own.steps), views, own.values["precision"])]
        if peers.has("lightly"):
            arms.append(Arm("lightly", _lightly_epoch(encoder, images, size, pace.device), views))
        else:
            yield Row("epoch", encoder, size, "lightly", None, MISSING)
        timings = interleave(arms, pace)
        yield from rows_of("epoch", encoder, size, timings, pace, "views/s")
        yield from (Row("epoch", f"{encoder}, CIFAR", size, t.arm, CIFAR_VIEWS * t.median, "s", precision=t.precision,
                        threads=pace.threads, clock=pace.clock) for t in timings)


class _Pictures(Dataset):
    """PIL images and a transform, as a DataLoader wants them."""

    def __init__(self, images, transform):
        from PIL import Image

        self.images, self.transform = [Image.fromarray(pixels.numpy()) for pixels in images], transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index])


def _lightly_epoch(encoder, images, size, device):
    """lightly's transform on PIL images, a DataLoader (for a GPU with a process a core), and its step."""
    data = _Pictures(pictures(images), peers.lightly_views(RECIPE))
    workers = os.cpu_count() if device == "cuda" else 0
    loader = DataLoader(data, size, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0),
                        num_workers=workers, persistent_workers=workers > 0)
    step = peers.lightly_step(encoder, device)

    def epoch():
        for first, second in loader:
            step(first.to(device), second.to(device))

    return epoch


def _by_batch(values, pace):
    """An arm per batch size: steps of the smallest encoder over the same number of views."""
    largest = max(values["batch_sizes"])
    for size in values["batch_sizes"]:
        made = trainer("resnet10", largest, size, pace)
        yield size, Arm("mixlab", steps(made, largest // size), 2 * largest, made.values["precision"])


def _by_data_set(values, pace, only_batches=False):
    """An arm per number of images: the same few steps, or batches, of each."""
    size, count = values["batch_size"], BATCHES if only_batches else 2
    for images in values["data_sizes"]:
        made = trainer("resnet10", images, size, pace)
        call, precision = (batches, "fp32") if only_batches else (steps, made.values["precision"])
        yield images, Arm("mixlab", call(made, count), 2 * size * count, precision)


def _growth(case, sized_arms, pace):
    """The cost of a view at each size, and how many times that of the smallest size it is."""
    sizes, arms = zip(*sized_arms, strict=True)
    timings = interleave(arms, pace)
    about = {"part": "epoch", "case": f"cost of a view by {case}", "threads": pace.threads, "clock": pace.clock,
             "precision": arms[0].precision}
    for size, t in zip(sizes, timings, strict=True):
        value, low, high = summary([1e6 * s for s in t.seconds])
        yield Row(**about, size=size, arm="mixlab", value=value, unit="µs", low=low, high=high, rounds=len(t.seconds))
    for size, t in zip(sizes[1:], timings[1:], strict=True):
        value, low, high = summary(ratios(timings[0], t))
        yield Row(**about, size=size, arm="mixlab", against=f"size {sizes[0]:,}", value=value, low=low, high=high,
                  unit="times the cost of", rounds=len(t.seconds))
