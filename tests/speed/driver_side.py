"""What the driver of a comparison takes for each cell, beside the work: `driver_side.py FOLDER ROWS SEEDS`, four benchmarks.

With `recipe` as the last word it writes FOLDER/recipe.yaml and stops.

The executor trains and scores nothing: each job's cells are written with made-up answers and handed over. All of the rest is a
comparison's own: plan, locks, log, progress, interim table, and in the end the table from the disk, without intervals.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from figures import peak_bytes

from unlearnbench.execution.cell import summed_up
from unlearnbench.execution.compare import execute
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.executors import EXECUTORS
from unlearnbench.execution.executors.base import Executor
from unlearnbench.execution.place import Execution
from unlearnbench.execution.provenance import cell_provenance
from unlearnbench.execution.queue import Queue
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.preflight import plan_only
from unlearnbench.planning.recipe_files import load_recipe
from unlearnbench.planning.request import Request
from unlearnbench.records.cells import CellResult, Cost
from unlearnbench.records.items import ItemResult
from unlearnbench.records.recipe import Recipe
from unlearnbench.scoring.benchmark import Benchmark
from unlearnbench.verbs.progress import PlainReporter

BENCHMARKS = {"wmdp": "sandbox:wmdp", "mmlu": "sandbox:mmlu", "wmdp-cloze": "sandbox:wmdp", "wmdp-shuffled": "sandbox:wmdp"}
ITEMS = 4  # of each part
written = 0.0  # seconds of processor time for writing cells, which is the executor's work


def recipe_of(rows: int, seeds: int) -> Recipe:
    """Rows that differ in their learning rate."""
    return load_recipe("sandbox").model_copy(
        update={
            "methods": {f"scrub-{row}": {"method": "scrub", "lr": 1e-4 * (1 + row / 1000)} for row in range(rows)},
            "benchmarks": {name: {"source": source} for name, source in BENCHMARKS.items()},
            "seeds": list(range(seeds)),
            "reference": [],
            "checkpoints": {},
            "controls": {},
            "tuned": {},
        }
    )


def answers(benchmark: Benchmark, rng: np.random.Generator) -> list[ItemResult]:
    """Answers to a few items of each part, more right than wrong."""
    return [
        ItemResult(id=f"{part}/{number}", part=part, score=float(rng.random() < 0.6), choice=number % 4, answer=number % 4)
        for part in benchmark.parts()
        for number in range(ITEMS)
    ]


def made_up(queue: Queue, context: JobContext, limits: Limits) -> Iterator[CellResult]:
    """Yield every due cell once it is durable."""
    global written
    rng = np.random.default_rng(0)
    while queue and (claim := queue.take()) is not None:
        with claim as plan:
            context.reporter.loading(plan.job)
            for name in plan.due:
                column = context.benchmarks[name]
                begun = time.process_time()
                items = answers(column.benchmark, rng)
                facts = cell_provenance(
                    plan, column, context.topics, context.trainer, dtype=context.dtype, limit=context.limit, weights="w" * 64
                )
                figures = {"metric": column.benchmark.metric, **summed_up(items, column.benchmark)}
                cost = Cost(unlearn_seconds=1.0, evaluate_seconds=1.0)
                cell = CellResult(key=plan.key(name), identity=plan.cells[name], cost=cost, provenance=facts, **figures)
                context.run.write_cell(cell, items)
                written += time.process_time() - begun
                yield cell


class MadeUp(Executor):
    """The executor of cells that nobody computed."""

    def execute(self, queue: Queue, context: JobContext, limits: Limits) -> Iterator[CellResult]:
        return made_up(queue, context, limits)


def main(folder: Path, rows: int, seeds: int) -> None:
    """Run it, and print what it took."""
    recipe, cells = recipe_of(rows, seeds).model_copy(update={"limit": ITEMS}), 0
    comparison = plan_only(Request(recipe=recipe, out=folder / "run", cache=folder / "cache", device="cpu"))
    EXECUTORS["made-up"] = MadeUp(name="made-up", module=__name__)
    reporter = PlainReporter(io.StringIO())
    begun = time.process_time()
    for result in execute(comparison, reporter, Execution(executor="made-up", items=False), in_passing=True):
        reporter.finished(result)
        cells += 1
    spent = time.process_time() - begun
    assert cells == comparison.due
    print(
        json.dumps(
            {
                "cells": cells,
                "milliseconds": 1000 * (spent - written) / cells,
                "milliseconds_with_writing": 1000 * spent / cells,
                "peak_bytes": peak_bytes(),
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[4:] == ["recipe"]:
        (Path(sys.argv[1]) / "recipe.yaml").write_text(recipe_of(int(sys.argv[2]), int(sys.argv[3])).to_yaml())
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
