"""The only training loop. Also ``python -m mixlab.train FILE.yaml``, which torchrun starts for several devices.

Each step: a permutation drawn from (seed, epoch) gives indices, views are made on the device, the method turns the
batch into a loss. Any step boundary can be checkpointed and resumed exactly, because nothing random has a state.
"""

from mixlab.train.command import main
from mixlab.train.floor import untrained
from mixlab.train.session import train
from mixlab.train.trainer import Trainer

__all__ = ["Trainer", "main", "train", "untrained"]
