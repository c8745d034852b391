"""Run jobs one after the other in this process; a model is loaded once and restored after each job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from unlearnbench.job import Workshop, fail_job, run_job
from unlearnbench.loaded import LoadedModel
from unlearnbench.plan import JobPlan
from unlearnbench.records import CellResult


def execute(plans: Sequence[JobPlan], shop: Workshop) -> Iterator[CellResult]:
    """Yield every due cell once it is durable. One model at a time is in memory."""
    loaded: LoadedModel | None = None
    for plan in plans:
        if not plan.due:
            continue
        shop.reporter.loading(plan.job)
        if loaded is None or loaded.source != plan.variant.model:
            loaded = None  # let go of the last one before the next is loaded
            try:
                loaded = LoadedModel(plan.variant.model, shop.dtype, shop.device)
            except Exception as error:  # a model that does not load costs the rows that need it
                yield from fail_job(plan, shop, error)
                continue
        yield from run_job(plan, loaded, shop)
