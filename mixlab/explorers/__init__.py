"""Widgets around plots and runs; headless, each gives a still picture or nothing."""

from mixlab.explorers.live import live_curve
from mixlab.explorers.place import is_interactive
from mixlab.explorers.playground import Scene, playground
from mixlab.explorers.results import Album, comparison, wrong_images

__all__ = ["Album", "Scene", "comparison", "is_interactive", "live_curve", "playground", "wrong_images"]
