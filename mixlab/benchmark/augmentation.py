"""Augmented views per second: SimCLR's recipe for CIFAR without blur, from uint8 images in memory to float32 views."""

import torch

from mixlab.benchmark import peers
from mixlab.benchmark.rows import MISSING, Row, rows_of
from mixlab.benchmark.timing import Arm, interleave
from mixlab.rng import Key
from mixlab.views import RECIPES, apply_views, draw_views

RECIPE = RECIPES["contrast"]
ONE_BY_ONE = 64  # images that a peer which takes them one by one is timed on


def pictures(count, seed=0):
    """Noise as images, uint8 (count,32,32,3): no arm looks at what they show."""
    bits = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=bits)


def measure(values, pace):
    """Rows of views per second: ours eager and compiled, kornia in batches, lightly and torchvision on PIL images."""
    pixels = pictures(values["view_batch"]).to(pace.device)
    arms = [*_own(pixels, values["compile"]), *_batched_peers(pixels, pace.device), *_one_by_one()]
    if not peers.has("kornia"):
        yield Row("augmentation", "contrast", len(pixels), "kornia", None, MISSING)
    if not peers.has("lightly"):
        yield Row("augmentation", "contrast", len(pixels), "lightly", None, MISSING)
    yield from rows_of("augmentation", "contrast", len(pixels), interleave(arms, pace), pace, "views/s")


def _own(pixels, compiled):
    key = Key(0, "benchmark")
    yield Arm("mixlab eager", lambda: draw_views(pixels, RECIPE, key), len(pixels))
    if compiled:
        apply = torch.compile(apply_views, dynamic=False)
        yield Arm("mixlab compiled", lambda: draw_views(pixels, RECIPE, key, apply), len(pixels), cold=True)


def _batched_peers(pixels, device):
    if peers.has("kornia"):
        views = peers.kornia_views(RECIPE, device)
        yield Arm("kornia", lambda: views(pixels.permute(0, 3, 1, 2).float() / 255), len(pixels), cold=True)


def _one_by_one():
    """Their loaders work on the CPU, image by image, whatever trains."""
    from PIL import Image

    images = [Image.fromarray(picture.numpy()) for picture in pictures(ONE_BY_ONE)]
    view = peers.pil_views(RECIPE)
    yield Arm("torchvision on PIL", lambda: [view(image) for image in images], len(images))
    if peers.has("lightly"):
        two_views = peers.lightly_views(RECIPE)
        yield Arm("lightly", lambda: [two_views(image) for image in images], 2 * len(images))
