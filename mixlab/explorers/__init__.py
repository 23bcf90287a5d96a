"""Widgets around plots and runs; headless, each gives a still picture or nothing."""

from mixlab.explorers.ablation import ablation
from mixlab.explorers.ablation_page import ablation_page, write_ablation_page
from mixlab.explorers.attention import attention, attention_page, write_attention_page
from mixlab.explorers.browser import run_browser
from mixlab.explorers.embedding import embedding
from mixlab.explorers.embedding_twin import embedding_page, write_embedding_page
from mixlab.explorers.live import live_curve
from mixlab.explorers.place import is_interactive
from mixlab.explorers.playground import Scene, playground
from mixlab.explorers.results import Album, comparison, wrong_images
from mixlab.explorers.visualize import clouds, localisation, looks, maps, pages, side_by_side

__all__ = ["Album", "Scene", "ablation", "ablation_page", "attention", "attention_page", "clouds", "comparison",
           "embedding", "embedding_page", "is_interactive", "live_curve", "localisation", "looks", "maps", "pages",
           "playground", "run_browser", "side_by_side", "write_ablation_page", "write_attention_page",
           "write_embedding_page", "wrong_images"]
