"""Run jobs one after the other in this process; a model is loaded once and restored after each job."""

from __future__ import annotations

import time
from collections.abc import Iterator

from unlearnbench.execution.cell import fail_job
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.job import run_job
from unlearnbench.execution.queue import Queue
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.limits import Limits
from unlearnbench.records.cells import CellResult
from unlearnbench.runs.locks import WAIT_SECONDS


def execute(queue: Queue, context: JobContext, limits: Limits) -> Iterator[CellResult]:
    """Yield every due cell once it is durable. One model at a time is in memory; limits do not apply."""
    loaded: LoadedModel | None = None
    while queue:
        claim = queue.take()
        if claim is None:
            time.sleep(WAIT_SECONDS)
            continue
        with claim as plan:
            context.reporter.loading(plan.job)
            if loaded is None or loaded.source != plan.variant.model:
                loaded = None  # let go of the last one before the next is loaded
                try:
                    loaded = LoadedModel(plan.variant.model, context.dtype, context.device)
                except Exception as error:  # a model that does not load costs the rows that need it
                    yield from fail_job(plan, context, error)
                    continue
            yield from run_job(plan, loaded, context)
