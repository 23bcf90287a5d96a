"""Attention maps of frozen encoders, and how well they lie on the object.

    maps = activation_maps(encoder, images.pixels, layers=(4,), power=2)[4]     # (N, h, w)
    record = localisation(runs.find("latest", "runs"))                          # attention.json
"""

from mixlab.attention.boxes import read_boxes
from mixlab.attention.cam import class_maps, grad_cam, similarity_maps
from mixlab.attention.classifier import classifier_of
from mixlab.attention.localisation import localisation, score_boxes, score_mosaics
from mixlab.attention.maps import POWERS, activation_maps, energies, energy, enlarge, normalise
from mixlab.attention.mosaics import CELLS, Mosaics, draw_mosaics, scrambled
from mixlab.attention.scores import inside, pointing_and_energy
from mixlab.attention.viewer import KINDS, Shown, Viewer, titles

__all__ = ["CELLS", "KINDS", "POWERS", "Mosaics", "Shown", "Viewer", "activation_maps", "class_maps", "classifier_of",
           "draw_mosaics", "energies", "energy", "enlarge", "grad_cam", "inside", "localisation", "normalise",
           "pointing_and_energy", "read_boxes", "score_boxes", "score_mosaics", "scrambled", "similarity_maps",
           "titles"]
