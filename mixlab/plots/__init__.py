"""Figures from images and from stored results. Each function returns a matplotlib figure; nothing trains here."""

from mixlab.plots.comparison import beside, collect, filtered, landscape, style_of
from mixlab.plots.confusion import answers_of, confused_pairs, confusion, images_of, wrong_index
from mixlab.plots.evaluated import Evaluated, chosen, evaluated, evaluations_of, rules_of
from mixlab.plots.evaluation import accuracy_bars, few_labels, robustness, spectrum
from mixlab.plots.images import beta_density, gallery, mixtures, phi, shares, similarities, views
from mixlab.plots.published import EVALUATIONS, Score, choices, published, select, spelt
from mixlab.plots.regions import regions
from mixlab.plots.style import COLOURS, png
from mixlab.plots.tables import accuracy, evaluation_table, grouped_table, overview, paper_table
from mixlab.plots.training import curves, draw_curves, summary

__all__ = ["COLOURS", "EVALUATIONS", "Evaluated", "Score", "accuracy", "accuracy_bars", "answers_of", "beside",
           "beta_density", "choices", "chosen", "collect", "confused_pairs", "confusion", "curves", "draw_curves",
           "evaluated", "evaluation_table", "evaluations_of", "few_labels", "filtered", "gallery", "grouped_table",
           "images_of", "landscape", "mixtures", "overview", "paper_table", "phi", "png", "published", "regions",
           "robustness", "rules_of",
           "select", "shares", "similarities", "spectrum", "spelt", "style_of", "summary", "views", "wrong_index"]
