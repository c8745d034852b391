"""One job: unlearn once, then score benchmark by benchmark, then attack the model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from unlearnbench.errors import CellError, StorageError
from unlearnbench.execution.attack_job import attack_cells
from unlearnbench.execution.cell import Unlearned, fail_job, score_benchmark, summed_up
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.derived import derive
from unlearnbench.execution.distributed import rank_zero, train_in_processes
from unlearnbench.execution.fit import fit
from unlearnbench.execution.provenance import reset_peak
from unlearnbench.models.folders import model_folder
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.models.tensors import is_finite
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.cells import CellResult, Cost
from unlearnbench.records.manifest import CHECKPOINT
from unlearnbench.runs.deltas import weights_hash
from unlearnbench.runs.retrained import read_retraining
from unlearnbench.system.files import JsonCache
from unlearnbench.system.process_state import restored_process_state


def run_job(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> Iterator[CellResult]:
    """Run one job, yielding each cell once it is durable; errors become failed cells, and the other cells go on."""
    started = time.perf_counter()
    reset_peak()
    try:
        for name in plan.due:
            if (result := _complete(plan, name, context)) is not None:
                plan = replace(plan, due=tuple(other for other in plan.due if other != name))
                yield result
        if not plan.due:
            return
        with restored_process_state():
            unlearned = _unlearn(plan, loaded, context)
        for name in (name for name in plan.due if plan.key(name).attack is None):
            yield score_benchmark(plan, name, loaded, context, unlearned)
        yield from attack_cells(plan, loaded, context, unlearned)
    except StorageError:
        raise
    except (Exception, SystemExit) as error:  # whatever a method raises costs its own row only
        yield from fail_job(plan, context, error, Cost(unlearn_seconds=round(time.perf_counter() - started, 3)))
    loaded.restore()  # but where everything ends, which is not to wait for it


def _complete(plan: JobPlan, name: str, context: JobContext) -> CellResult | None:
    """Return an earlier cell that lacks only some scores, completed; None where that takes the model."""
    key, identity = plan.key(name), plan.cells[name]
    cell = context.run.read_cell(key, identity)
    if cell is None or not cell.incomplete:
        return None
    benchmark = context.benchmarks[name].benchmark
    items = benchmark.complete(context.run.read_items(key, identity), context.cache_folder)
    if items is None:
        return None
    result = cell.model_copy(update={"error": None, **summed_up(items, benchmark)})
    context.run.write_cell(result, items)
    return result


def _unlearn(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> Unlearned:
    """Train or derive, or take the delta of an earlier run that was interrupted after that."""
    if plan.variant.plugin is None or plan.variant.training is None:
        return _as_found(plan, context)
    if (stored := _stored(plan, loaded, context)) is not None:
        return stored
    if plan.source is not None:
        made = derive(plan, loaded, context)
        _keep(plan, made, Cost(trained_parameters=sum(tensor.numel() for tensor in made.values())), context)
    elif plan.variant.processes(context.trainer.devices) == 1:
        return unlearn_here(plan, loaded, context)
    else:
        train_in_processes(plan, context)
    stored = _stored(plan, loaded, context)
    if stored is None:
        raise CellError("another process, or the disk, left no weights")
    return stored


def _as_found(plan: JobPlan, context: JobContext) -> Unlearned:
    """A row that changes no weights; a checkpoint that `unlearnbench retrain` made has what that cost."""
    record = None
    if plan.variant.method == CHECKPOINT:
        record = read_retraining(model_folder(plan.variant.model), JsonCache(context.cache_folder / "memory.json"))
    if record is None:
        return Unlearned(weights=plan.variant.weights, cost=Cost())
    spent = record.cost.model_dump(include={"unlearn_seconds", "trained_parameters", "tokens"})
    facts = {"retraining": record.model_dump(mode="json", include={"model", "corpora", "recipe", "environment", "written"})}
    return Unlearned(weights=plan.variant.weights, cost=Cost.model_validate(spent), facts=facts)


def _stored(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> Unlearned | None:
    """Put a job's delta into the model, if there is one; one with other weights than its manifest says is set aside."""
    folder = context.run.delta_path_of(plan.job)
    found = context.run.read_delta(folder)
    if found is None:
        return None
    delta, manifest = found
    if weights_hash(plan.variant.weights, context.dtype, delta) != manifest["weights"]:
        there = context.run.set_aside(folder)
        context.reporter.warn(f"{folder} holds other weights than were trained; it is kept as {there}, and trained again")
        return None
    loaded.apply(delta)
    cost = Cost.model_validate(manifest["cost"])
    return Unlearned(weights=manifest["weights"], cost=cost, facts=manifest.get("looks", {}))


def unlearn_here(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> Unlearned:
    """Train in this process and keep the delta; of several processes that train together the first one keeps it."""
    fitted = fit(plan, loaded, context)
    delta, cost = fitted.delta, fitted.cost
    if not is_finite(list(delta.values())):
        raise FloatingPointError("the unlearned weights are not finite (NaN or infinity)")
    looks = {"looks": [look.model_dump() for look in fitted.looks], "best_update": fitted.best} if fitted.looks else {}
    return _keep(plan, delta, cost, context, looks)


def _keep(
    plan: JobPlan, delta: Mapping[str, Tensor], cost: Cost, context: JobContext, looks: Mapping[str, Any] | None = None
) -> Unlearned:
    """Make a job's delta durable, with what tells it from others."""
    unlearned = Unlearned(weights=weights_hash(plan.variant.weights, context.dtype, delta), cost=cost, facts=looks or {})
    manifest = {
        "weights": unlearned.weights,
        "base": plan.variant.weights,
        "dtype": context.dtype,
        "job": plan.job.model_dump(),
        "cost": cost.model_dump(),
        "looks": dict(unlearned.facts),
    }
    if rank_zero():
        context.run.write_delta(context.run.delta_path_of(plan.job), delta, manifest)
    return unlearned
