"""What an encoder is worth."""

from mixlab.evaluate.features import features
from mixlab.evaluate.knn import knn_predict, knn_top1

__all__ = ["features", "knn_predict", "knn_top1"]
