"""What widgets leave in a notebook that is opened again or exported, where no kernel answers any more."""

import base64

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import display

from mixlab import plots

LIVE = "mixlab-live"
# Part of the widgets, so it holds as long as they do. In one output with them JupyterLab would never show the still.
HIDE = f"<style>.jp-OutputArea-child:has(.{LIVE}) + .jp-OutputArea-child {{ display: none !important }}</style>"
WORDS = "Widgets, which answer in JupyterLab; a still of them:"
NOTHING = {"text/plain": ""}


class Still(widgets.VBox):
    """Widgets one below the other, with a still as the next output: JupyterLab hides it while the widgets live.

    Args:
        children: the widgets.
        still: function that makes the still when the widgets are displayed, as ``{MIME type: content}``.
    """

    def __init__(self, children, still):
        super().__init__(children)
        self.still, self.place = still, None

    def _ipython_display_(self):
        shown = widgets.VBox([self, widgets.HTML(HIDE, layout={"display": "none"})])
        shown.add_class(LIVE)
        display(shown._repr_mimebundle_() | {"text/plain": WORDS}, raw=True)
        self.place = display(self.still() or NOTHING, raw=True, display_id=True)

    def keep(self):
        """Puts the still as it is now in the place of the one that was displayed."""
        if self.place:
            self.place.update(self.still() or NOTHING, raw=True)


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
