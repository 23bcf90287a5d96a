"""Features as points in the plane: one fitted map for all epochs, and how much of it can be believed.

    points = cloud(runs.find("latest", "runs"), kind="umap")
    points.maps[-1], points.quality             # (N, 2), {"trustworthiness": 0.93, ...}

A map loses most of what it shows: read the quality beside it, and the true neighbours, not distances on it.
"""

from mixlab.projection.cloud import LAYERS, Cloud, cloud, remap
from mixlab.projection.maps import FEWEST, PROJECTIONS, Map, fit
from mixlab.projection.quality import nearest_neighbours, quality

__all__ = ["FEWEST", "LAYERS", "PROJECTIONS", "Cloud", "Map", "cloud", "fit", "nearest_neighbours", "quality",
           "remap"]
