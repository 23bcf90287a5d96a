"""What made a result: the code, the libraries and the device."""

import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from mixlab import __version__
from mixlab.files import sha256


@cache
def code_version():
    """mixlab's version and a digest of its source, e.g. ``0.1.0+3f9a12bc``: what made a result."""
    folder = Path(__file__).parents[1]
    sources = sorted(folder.rglob("*.py"))
    return f"{__version__}+{sha256(b''.join(f.read_bytes() for f in sources))[:8]}"


def versions():
    """Versions of everything that can change a number."""
    names = ("torch", "torchvision", "numpy", "pillow")
    return {"mixlab": code_version(), "python": platform.python_version()} | {n: version(n) for n in names}


def in_words(versions):
    """``torch=2.11.0 numpy=2.0.0`` of what ``versions`` gave, without mixlab's own: tables have a column for that."""
    return " ".join(f"{name}={version}" for name, version in versions.items() if name != "mixlab")


def device_name(device):
    """The device in words, e.g. ``cuda (NVIDIA H200)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"cpu ({torch.cpu.get_capabilities().get('cpu_name', 'unknown')})"
