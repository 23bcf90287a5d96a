"""Figures from images and from stored results. Each function returns a matplotlib figure; nothing trains here."""

from mixlab.plots.images import beta_density, gallery, mixtures, phi, shares, similarities, views
from mixlab.plots.style import COLOURS, png
from mixlab.plots.training import curves, draw_curves, summary

__all__ = ["COLOURS", "beta_density", "curves", "draw_curves", "gallery", "mixtures", "phi", "png", "shares",
           "similarities", "summary", "views"]
