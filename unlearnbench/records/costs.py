"""The costs of a cell, figure by figure: declared once, for the row's sum, every table and every export."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from unlearnbench.records.cells import Cost

Unit = Literal["seconds", "bytes", "count", "share"]
Over = Literal["job", "cells", "largest", "table"]


@dataclass(frozen=True, kw_only=True)
class CostFigure:
    """One figure of `Cost`.

    Attributes:
        field: name of the field in `Cost`.
        label: label where one cell is shown.
        unit: unit of the figure.
        over: rule by which a row's figure follows from its cells: `job` counts once per seed, `cells` sums over the cells of a
            seed, and both are means over seeds; `largest` is the largest of all; `table` follows from other rows, and no cell
            has it.
        title: title of its column; None where no table has one.
        hint: hint that explains the column.
        everywhere: True where a table has the column even if nothing of the kind was measured.
        remark: remark behind the figure where one cell is shown.
    """

    field: str
    label: str
    unit: Unit
    over: Over
    title: str | None = None
    hint: str = ""
    everywhere: bool = True
    remark: str = ""

    def of(self, cost: Cost) -> float | None:
        """Return the figure of one cost; None where it was not measured."""
        return getattr(cost, self.field, None)


COSTS = (
    CostFigure(
        field="unlearn_seconds",
        label="unlearn",
        unit="seconds",
        over="job",
        title="unlearn",
        hint="seconds to unlearn, mean over seeds",
    ),
    CostFigure(
        field="of_retraining",
        label="of retraining",
        unit="share",
        over="table",
        title="of retraining",
        hint="share of what the reference's retraining cost",
        everywhere=False,
    ),
    CostFigure(
        field="reused_seconds",
        label="of that reused",
        unit="seconds",
        over="job",
        remark=", spent by an earlier run",
    ),
    CostFigure(
        field="look_seconds",
        label="looks at the training",
        unit="seconds",
        over="job",
        title="looks",
        hint="seconds to score while it was unlearning, mean over seeds",
        everywhere=False,
    ),
    CostFigure(
        field="evaluate_seconds",
        label="evaluate",
        unit="seconds",
        over="cells",
        title="evaluate",
        hint="seconds to score, mean over seeds",
    ),
    CostFigure(
        field="peak_bytes",
        label="peak memory",
        unit="bytes",
        over="largest",
        title="memory",
        hint="largest resident memory of the process",
    ),
    CostFigure(
        field="peak_gpu_bytes",
        label="peak GPU memory",
        unit="bytes",
        over="largest",
        title="GPU memory",
        hint="largest allocation on the GPU",
        everywhere=False,
    ),
    CostFigure(
        field="trained_parameters",
        label="trained parameters",
        unit="count",
        over="largest",
        title="trained",
        hint="numbers that the method may change",
    ),
    CostFigure(
        field="tokens",
        label="tokens",
        unit="count",
        over="largest",
        title="tokens",
        hint="seen by training, padding not counted",
    ),
)
COST_COLUMNS = {figure.title: figure for figure in COSTS if figure.title is not None}
