"""What widgets leave in a notebook that is opened again or exported, where no kernel answers any more."""

import base64

import ipywidgets as widgets
import matplotlib.pyplot as plt

from mixlab import plots


class Still(widgets.VBox):
    """Widgets one below the other, stored with a still: shown where the widgets can't be.

    Args:
        children: the widgets.
        still: function that makes the still when the widgets are displayed, as ``{MIME type: content}``.
    """

    def __init__(self, children, still):
        super().__init__(children)
        self.still = still

    def _repr_mimebundle_(self, **asked):
        return super()._repr_mimebundle_(**asked) | self.still()


def of_figure(figure):
    """A pyplot figure as a still; it is closed, so that the notebook doesn't show it as well."""
    content = plots.png(figure)
    plt.close(figure)
    return of_png(content)


def of_png(content):
    """Bytes of a PNG as a still; no bytes, no still."""
    return {"image/png": base64.b64encode(content).decode()} if content else {}


def of_html(*parts):
    """Parts of a page, one after the other, as a still."""
    return {"text/html": "".join(parts)}
