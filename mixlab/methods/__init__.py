"""The methods, by name. Adding one: its file, and its line here."""

from mixlab.methods.byol import BYOL
from mixlab.methods.cross_entropy import CrossEntropy
from mixlab.methods.gensupcon import GenSupCon
from mixlab.methods.imix import IMix
from mixlab.methods.mixco import MixCo
from mixlab.methods.mixsupcon import MixSupCon
from mixlab.methods.moco import MoCo
from mixlab.methods.moco_mix import MoCoMix
from mixlab.methods.regions_between import RegionsBetween
from mixlab.methods.regions_within import RegionsWithin
from mixlab.methods.simclr import SimCLR
from mixlab.methods.simsiam import SimSiam
from mixlab.methods.supcon import SupCon
from mixlab.methods.supmix import SupMix
from mixlab.methods.unmix import UnMix

METHODS = {
    "cross_entropy": CrossEntropy,
    "simclr": SimCLR,
    "supcon": SupCon,
    "mixsupcon": MixSupCon,
    "moco": MoCo,
    "moco_mix": MoCoMix,
    "unmix": UnMix,
    "regions_between": RegionsBetween,
    "regions_within": RegionsWithin,
    "byol": BYOL,
    "simsiam": SimSiam,
    "imix": IMix,
    "mixco": MixCo,
    "gensupcon": GenSupCon,
    "supmix": SupMix,
}
