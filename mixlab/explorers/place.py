"""Where a notebook runs: in front of a person, or headless; and on which device."""

import os

import torch


def is_interactive(params):
    """Whether widgets are shown: as asked, or for ``auto`` where a person is in JupyterLab."""
    return "JPY_SESSION_NAME" in os.environ if params.interactive == "auto" else params.interactive


def device_of(params):
    """``cpu`` or ``cuda``: as asked, or for ``auto`` CUDA where there is any."""
    if params.device != "auto":
        return params.device
    return "cuda" if torch.cuda.is_available() else "cpu"
