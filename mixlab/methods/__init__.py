"""The methods, by name. Adding one: its file, and its line here."""

from mixlab.methods.cross_entropy import CrossEntropy
from mixlab.methods.mixsupcon import MixSupCon
from mixlab.methods.simclr import SimCLR
from mixlab.methods.supcon import SupCon

METHODS = {
    "cross_entropy": CrossEntropy,
    "simclr": SimCLR,
    "supcon": SupCon,
    "mixsupcon": MixSupCon,
}
