"""Run jobs one after the other in this process; a model is loaded once and restored after each job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unlearnbench.job import LoadedModel, Workshop, run_job
from unlearnbench.plan import JobPlan
from unlearnbench.records import CellResult


def execute(plans: Sequence[JobPlan], shop: Workshop) -> Iterator[CellResult]:
    """Yield every due cell once it is durable. One model at a time is in memory."""
    loaded: LoadedModel | None = None
    for plan in plans:
        if not plan.due:
            continue
        if loaded is None or loaded.source != plan.variant.model:
            loaded = None  # let go of the last one before the next is loaded
            loaded = LoadedModel(plan.variant.model, shop.dtype, shop.device)
        yield from run_job(plan, loaded, shop)
