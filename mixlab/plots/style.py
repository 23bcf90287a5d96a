"""What all figures share: colours, labels shown as they are, and a figure as PNG bytes."""

import io

# Okabe and Ito's colours: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
# Of classes: without the grey, and three more that keep their distance from all of them under every kind of colour
# blindness (CIELAB distance of any two at least 17 for normal, red-blind, green-blind and blue-blind sight).
PALETTE = (*COLOURS[:7], "#332288", "#DDCC77", "#882255")


def verbatim(text):
    """``text`` as matplotlib shows it letter by letter: a ``$`` opens no formula."""
    return str(text).replace("$", r"\$")


def png(figure, dpi=80):
    """A figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
