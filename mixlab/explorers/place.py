"""Where a notebook runs: in front of a person, or headless; and on which device."""

import os

import psutil
import torch

SESSION = "JPY_SESSION_NAME"  # the notebook that a Jupyter server starts a kernel for


def is_interactive(params):
    """Whether widgets are shown: as asked, or for ``auto`` where a person is in JupyterLab."""
    return _in_lab() if params.interactive == "auto" else params.interactive


def _in_lab():
    """Whether a server started this very kernel for a notebook.

    What a cell starts inherits the server's word: a papermill, and with it the kernel that papermill starts.
    """
    name = os.environ.get(SESSION)
    return name is not None and name != _known_to_starter()


def _known_to_starter():
    """The notebook that the process which started this kernel was itself started for; None for a server."""
    try:
        return _starter().environ().get(SESSION)
    except psutil.Error:  # it is gone, or another user's, as a server that starts kernels for many may be
        return None


def _starter():
    """jupyter_client says who it is by number; on Windows, where it does not, the parent that is no launcher's stub."""
    number = os.environ.get("JPY_PARENT_PID", "")
    if os.name == "posix" and number.isdecimal():
        return psutil.Process(int(number))
    own = psutil.Process()
    above = [process for process in own.parents() if process.cmdline()[1:] != own.cmdline()[1:]]
    return above[0] if above else own


def device_of(params):
    """``cpu`` or ``cuda``: as asked, or for ``auto`` CUDA where there is any."""
    if params.device != "auto":
        return params.device
    return "cuda" if torch.cuda.is_available() else "cpu"
