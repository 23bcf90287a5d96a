"""Where a notebook runs: in front of a person, or headless."""

import os


def is_interactive(params):
    """Whether widgets are shown: as asked, or for ``auto`` where a person is in JupyterLab."""
    return "JPY_SESSION_NAME" in os.environ if params.interactive == "auto" else params.interactive
