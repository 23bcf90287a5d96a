"""What an encoder is worth: kNN, linear probes, few labels, robustness and geometry of frozen features.

    protocol = Protocol(probes=("sgd", "lbfgs"), robustness=False)
    record = evaluate(runs.find("latest", "runs"), protocol)

Every number carries its protocol; probes report the last epoch; the test images choose nothing.
"""

from mixlab.evaluate.corruptions import STRENGTHS, corrupt
from mixlab.evaluate.encoding import Features, augmented_features, features
from mixlab.evaluate.evaluation import evaluate, evaluate_all
from mixlab.evaluate.geometry import alignment, effective_rank, scatter, spectrum, tolerance, uniformity
from mixlab.evaluate.knn import knn_predict, knn_top1, spread
from mixlab.evaluate.logistic import fit_logistic
from mixlab.evaluate.probes import labelled_rows, lbfgs_probe
from mixlab.evaluate.protocol import LAYERS, PROBES, Protocol
from mixlab.evaluate.report import collect, write_report
from mixlab.evaluate.rules import DECIDING, differing, in_words, rules, setting, stored_files
from mixlab.evaluate.scoring import calibration_error, scores
from mixlab.evaluate.sgd import Linear, sgd_probe
from mixlab.evaluate.subjects import select_runs

__all__ = ["DECIDING", "LAYERS", "PROBES", "STRENGTHS", "Features", "Linear", "Protocol", "alignment",
           "augmented_features", "calibration_error", "collect", "corrupt", "differing", "effective_rank", "evaluate",
           "evaluate_all", "features", "fit_logistic", "in_words", "knn_predict", "knn_top1", "labelled_rows",
           "lbfgs_probe", "rules", "scatter", "scores", "select_runs", "setting", "sgd_probe", "spectrum",
           "spread", "stored_files", "tolerance", "uniformity", "write_report"]
