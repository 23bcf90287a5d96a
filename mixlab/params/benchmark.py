"""Parameters of ``benchmark.ipynb`` and of ``python -m mixlab.benchmark``."""

from typing import Annotated, Literal

from pydantic import Field

from mixlab.encoders import ENCODERS
from mixlab.errors import problem
from mixlab.params.base import Params
from mixlab.params.pretrain import Auto, Pretrain

PARTS = ("floors", "augmentation", "loss", "neighbours", "probe", "loss_in_training", "step", "epoch")
BATCHES = 8  # whose cost is compared between data sets
Size = Annotated[int, Field(ge=2, le=10**7)]
Sizes = Annotated[list[Size], Field(min_length=1)]
Encoders = list[Literal[tuple(ENCODERS)]]
LISTS = ("parts", "precisions", "encoders", "epoch_encoders", "batch_sizes", "data_sizes", "loss_sizes")


class Benchmark(Params):
    """What is measured, at which sizes, and how long it may take. The defaults take about nine minutes."""

    parts: list[Literal[PARTS]] = Field(default=list(PARTS), min_length=1)
    encoders: Encoders = Field(default=list(ENCODERS))
    epoch_encoders: Encoders = Field(default=["resnet18"])
    precisions: Auto | Annotated[list[Literal["bf16", "fp32"]], Field(min_length=1)] = "auto"
    batch_size: Size = 64
    view_batch: Size = 256
    batch_sizes: Sizes = Field(default=[64, 128, 256])
    data_sizes: Sizes = Field(default=[2000, 20_000, 100_000])
    epoch_images: Size = 128
    loss_sizes: Sizes = Field(default=[512, 2048, 8192, 32_768, 65_536])
    bank_size: Size = 50_000
    queries: Size = 5000
    probe_size: Size = 50_000
    probe_images: Size = 256
    matmul_size: Size = 2048
    rounds: Annotated[int, Field(ge=1, le=1000)] = 5
    budget: Annotated[float, Field(gt=0, le=1e5)] = 10.0
    most_seconds: Annotated[float, Field(gt=0, le=1e5)] = 20.0
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    compile: bool = True
    device: Auto | Literal["cpu", "cuda"] = "auto"
    reports_dir: Annotated[str, Field(min_length=1)] = "reports"

    def contradictions(self):
        found = [((name,), problem(name, "each value once", getattr(self, name), "Remove the repeated one"))
                 for name in LISTS if getattr(self, name) != "auto" and _repeats(getattr(self, name))]
        smallest = {"epoch_images": (self.epoch_images, 1), "data_sizes": (min(self.data_sizes), BATCHES)}
        for name, (images, batches) in smallest.items():
            if images < batches * self.batch_size:
                found.append(((name, "batch_size"), problem(
                    name, f"at least {batches * self.batch_size} ({batches} batches)", images,
                    "Raise it, or lower batch_size")))
        if "loss" in self.parts and any(size % 2 for size in self.loss_sizes):
            found.append((("loss_sizes",), problem("loss_sizes", "even numbers, two views of each image",
                                                   self.loss_sizes, "Remove the odd ones")))
        return found

    def resolved(self):
        """These parameters with every ``auto`` replaced; the encoder of a step is compiled on a GPU only."""
        machine = Pretrain(device=self.device).resolved()
        precisions = [machine["precision"]] if self.precisions == "auto" else self.precisions
        return self.model_dump() | {"device": machine["device"], "precisions": precisions,
                                    "compile_step": machine["device"] == "cuda"}


def _repeats(values):
    return len(set(values)) < len(values)
