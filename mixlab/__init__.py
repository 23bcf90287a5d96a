"""mixlab: mixed-image contrastive pre-training that you can run, see and trust."""

__version__ = "0.1.0"
