"""Mixers: how two images become one, and with which share of each.

A mixer is a frozen dataclass. ``mixer.draw(images, others, key)`` decides everything that is random and returns a
``Draw``; ``draw.apply(a, b)`` mixes any pair of tensors by it, images or feature maps; ``mixer(images, key)`` is both.
A mixer of your own is such a class with a ``draw`` method and a line in ``MIXERS``.
"""

from mixlab.mixers.blends import ManifoldMixup, Mixup, NoMix
from mixlab.mixers.draws import pair_views
from mixlab.mixers.records import Draw, Mixed, Mixer
from mixlab.mixers.regions import CutMix, ResizeMix, SaliencyMix
from mixlab.mixers.saliency import saliency

MIXERS = {
    "none": NoMix,
    "mixup": Mixup,
    "cutmix": CutMix,
    "manifold": ManifoldMixup,
    "resizemix": ResizeMix,
    "saliencymix": SaliencyMix,
}

__all__ = ["MIXERS", "CutMix", "Draw", "ManifoldMixup", "Mixed", "Mixer", "Mixup", "NoMix", "ResizeMix", "SaliencyMix",
           "pair_views", "saliency"]
