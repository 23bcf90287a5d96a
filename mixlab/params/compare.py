"""Parameters of ``compare.ipynb``."""

from typing import Annotated, Literal

from pydantic import Field

from mixlab.params.base import Params

Auto = Literal["auto"]
Text = Annotated[str, Field(min_length=1)]
Evaluation = Literal["all", "linear_online", "linear_cached", "linear_augmented", "linear_offline", "knn",
                     "supervised", "unknown"]


class Compare(Params):
    """Which scores the comparison shows, ours and published; names that no score has are refused when they are read."""

    dataset: Text = "auto"
    encoder: Text = "auto"
    evaluation: Evaluation = "all"
    method: Text = "all"
    include_memory: bool = False
    paper_rows: Annotated[int, Field(ge=0, le=1000)] = 5
    table_format: Literal["markdown", "latex", "csv"] = "markdown"
    runs_dir: Text = "runs"
    reports_dir: Text = "reports"
    interactive: Auto | bool = "auto"
