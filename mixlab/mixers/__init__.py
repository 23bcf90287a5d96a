"""Mixers: how two images become one, and with which share of each.

A mixer is a frozen dataclass. ``mixer.draw(images, others, key)`` decides everything that is random and returns a
``Draw``; ``draw.apply(a, b)`` mixes any pair of tensors by it, images or feature maps; ``mixer(images, key)`` is both.
A mixer of your own is such a class with a ``draw`` method and a line in ``MIXERS``.
"""

from mixlab.mixers.attentive import AttentiveMix, EncoderGuide
from mixlab.mixers.blends import ManifoldMixup, Mixup, NoMix
from mixlab.mixers.draws import pair_views, pairs_shown_before, shown_before
from mixlab.mixers.masks import FMix, GridMix, SmoothMix
from mixlab.mixers.pick import Pick, draw_larger
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
    "fmix": FMix,
    "gridmix": GridMix,
    "smoothmix": SmoothMix,
    "attentivemix": AttentiveMix,
    "pick": Pick,
}

__all__ = ["MIXERS", "AttentiveMix", "CutMix", "Draw", "EncoderGuide", "FMix", "GridMix", "ManifoldMixup", "Mixed",
           "Mixer", "Mixup", "NoMix", "Pick", "ResizeMix", "SaliencyMix", "SmoothMix", "draw_larger", "pair_views",
           "pairs_shown_before", "saliency", "shown_before"]
