"""One cell of a job: score a benchmark and summarise its items, or record the error; each kept durably."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.errors import CellError, StorageError, UnlearnbenchError, one_line
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.provenance import cell_provenance, environment, last_frames, peak_bytes
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.cells import CellResult, Cost, PartScore
from unlearnbench.records.items import ItemResult
from unlearnbench.records.tuning import PrunedError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.measures import measure_score
from unlearnbench.scoring.selection import in_half
from unlearnbench.system.process_state import restored_process_state, seed_all

if TYPE_CHECKING:
    from unlearnbench.scoring.benchmark import Benchmark


@dataclass(frozen=True, kw_only=True)
class Unlearned:
    """The weights that a job scores, with their cost.

    Attributes:
        weights: hash of the weights.
        cost: cost of making them.
        facts: further facts for the record: looks at the training and the best of them, or how a checkpoint was retrained.
    """

    weights: str
    cost: Cost
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


@contextmanager
def _unchanged(plan: JobPlan, name: str, loaded: LoadedModel, context: JobContext) -> Generator[None]:
    """Keep a benchmark's changes of the model from the next benchmark."""
    before = loaded.state()
    try:
        yield
    finally:
        if loaded.state() != before:
            context.reporter.warn(f"{name} changed the model that it scored; it is loaded again for what follows")
            loaded.restore()
            stored = context.run.read_delta(context.run.delta_path_of(plan.job))
            if stored is not None:
                loaded.apply(stored[0])


def fail_job(plan: JobPlan, context: JobContext, error: BaseException, cost: Cost | None = None) -> Iterator[CellResult]:
    """Fail every due cell of a job, each one durable."""
    for name in plan.due:
        yield _failure(plan, name, context, error, cost)


def score_benchmark(plan: JobPlan, name: str, loaded: LoadedModel, context: JobContext, unlearned: Unlearned) -> CellResult:
    """Score one benchmark and keep the cell; whatever the benchmark raises becomes a failed cell."""
    try:
        with restored_process_state():
            seed_all(plan.job.seed)  # the same after a cut-off as in one go
            return _score(plan, name, loaded, context, unlearned)
    except StorageError:
        raise
    except (Exception, SystemExit) as error:  # a benchmark that fails costs one cell
        return _failure(plan, name, context, error, unlearned.cost)


def _score(plan: JobPlan, name: str, loaded: LoadedModel, context: JobContext, unlearned: Unlearned) -> CellResult:
    """Score one benchmark, or take the score of the same weights from the cache."""
    column = context.benchmarks[name]
    metric = column.benchmark.metric
    total = column.benchmark.count(context.limit)
    context.reporter.scoring(plan.job, name, total)
    cache_key = column.cache_key(unlearned.weights, context.dtype, context.limit, plan.job.seed)
    kept = context.cache.read(cache_key)
    if kept is not None:
        figures, items = kept
        context.reporter.scored(plan.job, total)
    else:
        started = time.perf_counter()
        subject = Subject(
            model=loaded.model,
            tokenizer=loaded.tokenizer,
            seed=plan.job.seed,
            limit=context.limit,
            weights=unlearned.weights,
            keep=context.cache_folder,
            base=context.base,
            progress=partial(context.reporter.scored, plan.job),
        )
        with _unchanged(plan, name, loaded, context):
            items = list(column.benchmark.evaluate(subject))
        if column.all_asked:
            items = list(in_half(items, column.half, lambda item: item.id))
        if not items:
            raise CellError(f"{name} scored nothing")
        figures = {"evaluate_seconds": round(time.perf_counter() - started, 3), **environment(context.device)}
        if all(item.scored and not item.error for item in items):
            context.cache.write(cache_key, figures, items)
    cost = _with_scoring(unlearned.cost, figures["evaluate_seconds"], context.device)
    provenance = {
        **_provenance(plan, name, context, unlearned.weights),
        **unlearned.facts,
        **figures,
        "cached": kept is not None,
    }
    identity = {"key": plan.key(name), "identity": plan.cells[name], "metric": metric, "cost": cost, "provenance": provenance}
    result = CellResult(**identity, **summed_up(items, column.benchmark))
    context.run.write_cell(result, items)
    return result


def summed_up(items: Sequence[ItemResult], benchmark: Benchmark) -> dict[str, Any]:
    """Return a cell's figures from its items; those without a score count in no mean, and a cell where none has any failed."""
    scored = [item for item in items if item.scored]
    asked = {"asked": len(items), "missing": dict(Counter(item.error for item in items if not item.scored))}
    if not scored:
        reason = f"none of {len(items)} items has a score: {items[0].error}; the same command asks for them again"
        return {"status": "failed", "error": reason, **asked}
    groups = benchmark.group_items(scored)
    return {
        "status": "done",
        **asked,
        "value": _mean(scored),
        "n": len(scored),
        "partial": sum(bool(item.error) for item in scored),
        "figures": {name: round(value, 6) for name, value in benchmark.figures(items).items()},
        "truncated": sum(item.truncated for item in items),
        "parts": {part: PartScore(value=_mean(members), n=len(members)) for part, members in _by_part(scored).items()},
        "groups": {name: PartScore(value=_mean(members), n=len(members)) for name, members in groups.items() if members},
        "measures": {
            measure.name: score
            for measure in benchmark.measures()
            if (score := measure_score(measure, benchmark.parts(), items)) is not None
        },
    }


def _with_scoring(cost: Cost, seconds: float, device: torch.device) -> Cost:
    """Return the job's cost so far with that of scoring; memory is the larger of training and scoring."""
    gpu = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    peaks = {"peak_bytes": (cost.peak_bytes, peak_bytes()), "peak_gpu_bytes": (cost.peak_gpu_bytes, gpu)}
    largest = {name: max((peak for peak in pair if peak is not None), default=None) for name, pair in peaks.items()}
    return cost.model_copy(update={"evaluate_seconds": seconds, **largest})


def _provenance(plan: JobPlan, name: str, context: JobContext, weights: str | None) -> dict[str, Any]:
    column = context.benchmarks[name]
    return cell_provenance(
        plan, column, context.topics, context.trainer, dtype=context.dtype, limit=context.limit, weights=weights
    )


def _mean(items: Sequence[ItemResult]) -> float:
    return round(sum(item.score for item in items) / len(items), 6)


def _by_part(items: Iterable[ItemResult]) -> dict[str, list[ItemResult]]:
    parts: dict[str, list[ItemResult]] = {}
    for item in items:
        parts.setdefault(item.part, []).append(item)
    return parts


def _failure(plan: JobPlan, name: str, context: JobContext, error: BaseException, cost: Cost | None = None) -> CellResult:
    """Make a cell that records the error, kept like any other."""
    kind = "" if isinstance(error, UnlearnbenchError) else f"{type(error).__name__}: "
    result = CellResult(
        key=plan.key(name),
        identity=plan.cells[name],
        status="diverged" if isinstance(error, FloatingPointError) else "failed",
        error=kind + one_line(error),
        cost=cost or Cost(),
        provenance={
            **_provenance(plan, name, context, None),
            **_of_pruning(error),
            **environment(context.device),
            "traceback": last_frames(error),
        },
    )
    context.run.write_cell(result, [])
    return result


def _of_pruning(error: BaseException) -> dict[str, Any]:
    return {"pruned": True, "looks": [look.model_dump() for look in error.looks]} if isinstance(error, PrunedError) else {}
