"""How an encoder is evaluated: one record of everything that can change the numbers."""

from dataclasses import asdict, dataclass

from mixlab.errors import ParamError, nearest, problem

LAYERS = ("encoder", "projection")
PROBES = ("sgd", "sgd_augmented", "lbfgs")
DEFAULT_K = (200, 5)
DEFAULT_FRACTIONS = (0.01, 0.1)
# These change no number.
HOW_NOT_WHAT = ("data_dir", "skip_broken", "device", "allow_other_version", "fresh", "reports_dir")


@dataclass(frozen=True)
class Protocol:
    """Everything an evaluation depends on beside the run and the images. The defaults take no more than they must.

    Args:
        dataset: ``auto`` for the run's own data set, or the name of another one (transfer).
        data_dir: where the images lie now, as in ``subjects.place_of``; ``auto`` is where the run had them.
        skip_broken: leave out the broken files of a folder.
        train_size: how many training images serve as bank and for the probes; ``auto`` for those of the run.
        layers: which of ``encoder`` (after pooling) and ``projection`` (the projector's output) are scored.
        knn_k: tuple of k; ``auto`` is 200 and 5, each lowered to the bank's size where that is smaller.
        knn_temperature: > 0.
        probes: of ``sgd`` (Table 2), ``sgd_augmented`` (over crop+flip passes) and ``lbfgs`` (to convergence).
        probe_epochs ... probe_weight_decay: of the SGD probes, by default the draft's Table 2; lr decays after
            each of ``probe_lr_decay_epochs``.
        augmented_passes: how many crop+flip passes ``sgd_augmented`` cycles over.
        few_label_fractions: tuple of shares of every class that keep their labels, each in (0, 1]; ``auto`` is 0.01 and
            0.1, without those that would leave a class without an image.
        few_label_draws: how many subsets of each fraction are drawn.
        robustness: whether corrupted test images are scored; ``robustness_size`` of them, ``auto`` for all.
        geometry: whether alignment, uniformity and the like are measured.
        seed: of the probes, the augmented passes, the draws of labels and the corruptions.
        device, precision: where and how features are computed: ``cpu`` or ``cuda``, ``fp32`` or ``bf16``.
        allow_other_version: evaluate, and mark, runs that another release of mixlab made.
        fresh: evaluate again although the same evaluation is stored.
        reports_dir: folder that keeps evaluations of runs whose own folder can't be written; ``none`` for a temporary
            one.
    Raises:
        ParamError: an unknown probe or layer.
    """

    dataset: str = "auto"
    data_dir: str = "auto"
    skip_broken: bool = False
    train_size: int | str = "auto"
    layers: tuple = LAYERS
    knn_k: tuple | str = "auto"
    knn_temperature: float = 0.1
    probes: tuple = ("sgd", "lbfgs")
    probe_epochs: int = 100
    probe_batch_size: int = 256
    probe_lr: float = 0.1
    probe_lr_decay_epochs: tuple = (60, 75, 90)
    probe_lr_decay_rate: float = 0.2
    probe_momentum: float = 0.9
    probe_weight_decay: float = 0.0
    augmented_passes: int = 5
    few_label_fractions: tuple | str = "auto"
    few_label_draws: int = 5
    robustness: bool = False
    robustness_size: int | str = "auto"
    geometry: bool = True
    seed: int = 0
    device: str = "cpu"
    precision: str = "fp32"
    allow_other_version: bool = False
    fresh: bool = False
    reports_dir: str = "none"

    def __post_init__(self):
        for name, known in (("layers", LAYERS), ("probes", PROBES)):
            for value in getattr(self, name):
                if value not in known:
                    raise ParamError(problem(name, f"of {', '.join(known)}", value, nearest(value, known)))

    def record(self):
        """What changes the numbers, as plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
                if name not in HOW_NOT_WHAT}

    def scored(self, layers):
        """Those of the layers there are that this protocol scores."""
        return [layer for layer in layers if layer in self.layers]

    def k_for(self, bank):
        """The k to use with a bank of this many images.

        Raises:
            ParamError: a k that was asked for is larger than the bank.
        """
        if self.knn_k == "auto":
            return tuple(dict.fromkeys(min(k, bank) for k in DEFAULT_K))
        for k in self.knn_k:
            if not 1 <= k <= bank:
                raise ParamError(problem("knn_k", f"each a whole number from 1 to the bank's {bank} images", k,
                                         "Lower it, or use more training images"))
        return tuple(dict.fromkeys(self.knn_k))
