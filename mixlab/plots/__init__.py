"""Figures from images and from stored results. Each function returns a matplotlib figure; nothing trains here."""

from mixlab.plots.ablation import alpha_curves, colours_of, cost, heat_map, interaction, mixing_effects
from mixlab.plots.attention import attention, localisation
from mixlab.plots.benchmark import benchmark_growth, benchmark_loss, benchmark_rates, benchmark_targets
from mixlab.plots.comparison import beside, collect, filtered, landscape, style_of
from mixlab.plots.confusion import answers_of, confused_pairs, confusion, images_of, wrong_index
from mixlab.plots.embedding import embedding, embedding_epochs
from mixlab.plots.evaluated import Evaluated, chosen, evaluated, evaluations_of, rules_of
from mixlab.plots.evaluation import accuracy_bars, few_labels, robustness, spectrum
from mixlab.plots.grids import GridResults, grid_results, in_label, keep_grid
from mixlab.plots.images import beta_density, example, gallery, mixtures, phi, shares, similarities, views
from mixlab.plots.paired import Effect, comparisons, effect, effects_of, mean_and_spread
from mixlab.plots.published import EVALUATIONS, Score, choices, published, select, spelt
from mixlab.plots.regions import regions
from mixlab.plots.seen import Seen, overlay, runs_table, survey, tame
from mixlab.plots.style import COLOURS, png
from mixlab.plots.tables import accuracy, evaluation_table, grouped_table, markdown, overview, paper_table
from mixlab.plots.training import curves, draw_curves, summary

__all__ = ["COLOURS", "EVALUATIONS", "Effect", "Evaluated", "GridResults", "Score", "Seen", "accuracy",
           "accuracy_bars", "alpha_curves", "answers_of", "attention", "benchmark_growth", "benchmark_loss",
           "benchmark_rates", "benchmark_targets", "beside", "beta_density", "choices", "chosen", "collect",
           "colours_of", "comparisons", "confused_pairs", "confusion", "cost", "curves", "draw_curves", "effect",
           "effects_of", "embedding", "embedding_epochs", "evaluated", "evaluation_table", "evaluations_of",
           "example", "few_labels", "filtered", "gallery", "grid_results", "grouped_table", "heat_map", "images_of",
           "in_label", "interaction", "keep_grid", "landscape", "localisation", "markdown", "mean_and_spread",
           "mixing_effects", "mixtures", "overlay", "overview", "paper_table", "phi", "png", "published", "regions",
           "robustness", "rules_of", "runs_table", "select", "shares", "similarities", "spectrum", "spelt",
           "style_of", "summary", "survey", "tame", "views", "wrong_index"]
