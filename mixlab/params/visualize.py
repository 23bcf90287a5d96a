"""Parameters of ``visualize.ipynb``."""

from typing import Annotated, Literal

from pydantic import Field

from mixlab import data
from mixlab.errors import problem
from mixlab.evaluate import LAYERS, select_runs
from mixlab.params.base import Params
from mixlab.params.pretrain import Auto, Share

POWERS = (1, 2, 4)
Text = Annotated[str, Field(min_length=1)]


class Visualize(Params):
    """Which runs are looked at, how their features are mapped, and which attention maps are shown."""

    run: Text | list[Text] = "latest"
    runs_dir: Text = "runs"
    data_dir: Text = "auto"
    layer: Literal[LAYERS] = "encoder"
    projection: Auto | Literal["pca", "tsne", "umap"] = "auto"
    points: Annotated[int, Field(ge=50, le=100_000)] = 10_000
    neighbours: Annotated[int, Field(ge=1, le=100)] = 10
    colour: Literal["label", "prediction", "right/wrong", "purity"] = "label"
    attention_method: Literal["activation", "class", "similarity"] = "activation"
    attention_layer: Annotated[int, Field(ge=1, le=4)] = 4
    attention_power: Annotated[int, Field(ge=1, le=4)] = 2
    attention_images: Annotated[int, Field(ge=1, le=64)] = 6
    opacity: Share = 0.65
    mosaics: Annotated[int, Field(ge=0, le=10_000)] = 200
    reports_dir: Text = "none"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Auto | Literal["cpu", "cuda"] = "auto"
    interactive: Auto | bool = "auto"

    def contradictions(self):
        if not self.run:
            yield ("run",), problem("run", "at least one run", self.run, "Name one, or use latest")
        if self.attention_power not in POWERS:
            yield ("attention_power",), problem("attention_power", "one of 1, 2, 4", self.attention_power, "Use 2 or 4")
        elif self.attention_power != 2 and self.attention_method != "activation":
            yield ("attention_power", "attention_method"), problem(
                "attention_power", f"2, because attention_method {self.attention_method} has no power",
                self.attention_power, "Leave it out, or use attention_method activation")

    def runs(self, log=print):
        """The finished runs that ``run`` means, each once; see ``evaluate.select_runs``."""
        return select_runs(self.run, data.resolve(self.runs_dir), log)
