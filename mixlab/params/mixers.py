"""Parameters of ``mixers.ipynb``."""

from typing import Annotated, Literal

from pydantic import Field

from mixlab.mixers import MIXERS
from mixlab.params.base import Params
from mixlab.params.pretrain import Auto, Grid, PickFrom, PickProbs, Positive, Pretrain, Share


class Mixers(Params):
    """What the mixers notebook shows: one mixer in detail, on which images."""

    mixer: Literal[tuple(MIXERS)] = "cutmix"
    alpha: Auto | Positive = "auto"
    lam_per: Auto | Literal["sample", "batch"] = "auto"
    mix_prob: Auto | Share = "auto"
    grid: Auto | Grid = "auto"
    pick_from: Auto | PickFrom = "auto"
    pick_probs: Auto | PickProbs = "auto"
    pick_per: Auto | Literal["batch", "sample"] = "auto"
    label_similarity: Literal["dot", "cosine"] = "dot"
    dataset: Annotated[str, Field(min_length=1)] = "cifar10-mini"
    data_dir: str = "auto"
    image_size: Annotated[int, Field(ge=8, le=1024)] = 32
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    interactive: Auto | bool = "auto"

    def contradictions(self):
        return self._pretrain().contradictions()

    def resolved(self):
        """Resolved as for pre-training, so that the same figures serve both notebooks."""
        return self._pretrain().resolved() | {"label_similarity": self.label_similarity}

    def _pretrain(self):
        shared = {name: value for name, value in self.model_dump().items() if name != "label_similarity"}
        return Pretrain(method="supcon", **shared)
