"""One job: unlearn once, then score benchmark by benchmark. The only place that builds a Lightning Trainer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from unlearnbench.errors import CellError, PrunedError, StorageError, UnlearnbenchError
from unlearnbench.execution.fit import fit, rank_zero
from unlearnbench.execution.processes import train_in_processes
from unlearnbench.execution.provenance import cell_provenance, environment, last_frames, peak_bytes, reset_peak
from unlearnbench.models.restorable import LoadedModel, resolve_device
from unlearnbench.models.tensors import is_finite
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan, LookPlan, TopicData
from unlearnbench.records.cells import CellResult, Cost, ItemResult, Job, PartScore
from unlearnbench.records.recipe import TrainerOptions
from unlearnbench.runs.folder import MEMORY, RunFolder, ScoreCache, weights_hash
from unlearnbench.scoring.benchmark import Subject, in_half
from unlearnbench.system.files import content_hash
from unlearnbench.system.process_state import seed_all, untouched

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from unlearnbench.planning.preflight import Comparison
    from unlearnbench.scoring.benchmark import Benchmark


class Reporter(Protocol):
    """Who is told how far things are; several jobs may go on at a time."""

    def loading(self, job: Job) -> None:
        """A job begins: its model is on the way into memory."""
        ...

    def unlearning(self, job: Job, steps: int) -> None:
        """A fit begins."""
        ...

    def step(self, job: Job, loss: float | None) -> None:
        """One update is done; the loss in the method's own unit."""
        ...

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        """A benchmark begins."""
        ...

    def scored(self, job: Job, items: int) -> None:
        """So many more items are done."""
        ...

    def finished(self, result: CellResult) -> None:
        """A cell is durable."""
        ...

    def warn(self, line: str) -> None:
        """Something that does not stop the comparison."""
        ...


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every job of a comparison shares."""

    run: RunFolder
    cache: ScoreCache
    topics: Sequence[TopicData]
    benchmarks: Mapping[str, BenchmarkPlan]
    dtype: str
    device: torch.device
    limit: int | None
    trainer: TrainerOptions
    looks: LookPlan | None
    memory: Path | None  # what the trials of a search share; None: what is kept is kept in the user's cache
    cache_folder: Path
    reporter: Reporter
    callbacks: Callable[[Job], Sequence[Any]] = lambda job: ()


def workshop(comparison: Comparison, reporter: Reporter, hook: Any) -> Workshop:
    """What the jobs of a comparison share; `hook` is that of the loaded extensions."""
    return Workshop(
        run=comparison.run,
        cache=ScoreCache(comparison.cache),
        topics=comparison.topics,
        benchmarks={plan.name: plan for plan in comparison.benchmarks},
        dtype=comparison.dtype,
        device=resolve_device(comparison.device),
        limit=comparison.recipe.limit,
        trainer=comparison.recipe.trainer,
        looks=comparison.looks,
        memory=comparison.run.root / MEMORY if comparison.recipe.half == "selection" else None,
        cache_folder=comparison.cache,
        reporter=reporter,
        callbacks=lambda job: extension_callbacks(hook, job),
    )


@dataclass(frozen=True, kw_only=True)
class Unlearned:
    """What a fit leaves: the hash of the weights and what it cost."""

    weights: str
    cost: Cost
    looks: Mapping[str, Any] = field(default_factory=dict[str, Any])  # for the record: at the training, and the best of them


def run_job(plan: JobPlan, loaded: LoadedModel, shop: Workshop) -> Iterator[CellResult]:
    """Do one job, yielding each cell once it is durable; what fails becomes failed cells, the rest goes on."""
    started = time.perf_counter()
    reset_peak()
    try:
        for name in plan.due:
            if (result := _complete(plan, name, shop)) is not None:
                plan = replace(plan, due=tuple(other for other in plan.due if other != name))
                yield result
        if not plan.due:
            return
        with untouched():
            unlearned = _unlearn(plan, loaded, shop)
        for name in plan.due:
            with untouched():
                seed_all(plan.job.seed)  # the same after a cut-off as in one go
                result = _guarded_score(plan, name, loaded, shop, unlearned)
            yield result
    except StorageError:
        raise
    except (Exception, SystemExit) as error:  # whatever a method raises costs its own row only
        yield from fail_job(plan, shop, error, Cost(unlearn_seconds=round(time.perf_counter() - started, 3)))
    finally:
        loaded.restore()


def _complete(plan: JobPlan, name: str, shop: Workshop) -> CellResult | None:
    """An earlier cell that only lacks some scores, with them; None where that takes the model."""
    key, identity = plan.key(name), plan.cells[name]
    cell = shop.run.read_cell(key, identity)
    if cell is None or not cell.incomplete:
        return None
    benchmark = shop.benchmarks[name].benchmark
    items = benchmark.complete(shop.run.read_items(key, identity), shop.cache_folder)
    if items is None:
        return None
    result = cell.model_copy(update={"error": None, **_summed_up(items, benchmark)})
    shop.run.write_cell(result, items)
    return result


@contextmanager
def _unchanged(plan: JobPlan, name: str, loaded: LoadedModel, shop: Workshop) -> Generator[None]:
    """A benchmark that changes the model does so for itself alone."""
    before = loaded.state()
    try:
        yield
    finally:
        if loaded.state() != before:
            shop.reporter.warn(f"{name} changed the model that it scored; it is loaded again for what follows")
            loaded.restore()
            stored = shop.run.read_delta(shop.run.delta_path(plan.job.variant, plan.job.seed, plan.job.identity))
            if stored is not None:
                loaded.apply(stored[0])


def fail_job(plan: JobPlan, shop: Workshop, error: BaseException, cost: Cost | None = None) -> Iterator[CellResult]:
    """Every due cell of a job as failed, each one durable."""
    for name in plan.due:
        yield _failure(plan, name, shop, error, cost)


def _unlearn(plan: JobPlan, loaded: LoadedModel, shop: Workshop) -> Unlearned:
    """Train, or take the delta of an earlier run that was cut off after training."""
    if plan.variant.plugin is None or plan.variant.training is None:
        return Unlearned(weights=plan.variant.weights, cost=Cost())
    if (stored := _stored(plan, loaded, shop)) is not None:
        return stored
    if plan.variant.processes(shop.trainer.devices) == 1:
        return unlearn_here(plan, loaded, shop)
    train_in_processes(plan, shop)
    stored = _stored(plan, loaded, shop)
    if stored is None:
        raise CellError("training in several processes left no weights")
    return stored


def _stored(plan: JobPlan, loaded: LoadedModel, shop: Workshop) -> Unlearned | None:
    """Put a job's delta into the model, if there is one; one with other weights than its manifest says is set aside."""
    folder = shop.run.delta_path(plan.job.variant, plan.job.seed, plan.job.identity)
    found = shop.run.read_delta(folder)
    if found is None:
        return None
    delta, manifest = found
    if weights_hash(plan.variant.weights, shop.dtype, delta) != manifest["weights"]:
        there = shop.run.set_aside(folder)
        shop.reporter.warn(f"{folder} holds other weights than were trained; it is kept as {there}, and trained again")
        return None
    loaded.apply(delta)
    cost = Cost.model_validate(manifest["cost"])
    return Unlearned(weights=manifest["weights"], cost=cost, looks=manifest.get("looks", {}))


def unlearn_here(plan: JobPlan, loaded: LoadedModel, shop: Workshop) -> Unlearned:
    """Train in this process and keep the delta; of several processes that train together the first one keeps it."""
    fitted = fit(plan, loaded, shop)
    delta, cost = fitted.delta, fitted.cost
    if not is_finite(list(delta.values())):
        raise FloatingPointError("the unlearned weights are not finite (NaN or infinity)")
    weights = weights_hash(plan.variant.weights, shop.dtype, delta)
    looks = {"looks": [look.model_dump() for look in fitted.looks], "best_update": fitted.best} if fitted.looks else {}
    manifest = {
        "weights": weights,
        "base": plan.variant.weights,
        "dtype": shop.dtype,
        "job": plan.job.model_dump(),
        "cost": cost.model_dump(),
        "looks": looks,
    }
    if rank_zero():
        shop.run.write_delta(shop.run.delta_path(plan.job.variant, plan.job.seed, plan.job.identity), delta, manifest)
    return Unlearned(weights=weights, cost=cost, looks=looks)


def _guarded_score(plan: JobPlan, name: str, loaded: LoadedModel, shop: Workshop, unlearned: Unlearned) -> CellResult:
    try:
        return _score(plan, name, loaded, shop, unlearned)
    except StorageError:
        raise
    except (Exception, SystemExit) as error:  # a benchmark that fails costs one cell
        return _failure(plan, name, shop, error, unlearned.cost)


def _score(plan: JobPlan, name: str, loaded: LoadedModel, shop: Workshop, unlearned: Unlearned) -> CellResult:
    """Score one benchmark, or take the score of the same weights from the cache."""
    column = shop.benchmarks[name]
    metric = column.benchmark.metric
    total = column.benchmark.count(shop.limit)
    shop.reporter.scoring(plan.job, name, total)
    cache_key = content_hash([unlearned.weights, shop.dtype, column.identity(shop.limit), plan.job.seed])
    kept = shop.cache.read(cache_key)
    if kept is not None:
        figures, items = kept
        shop.reporter.scored(plan.job, total)
    else:
        started = time.perf_counter()
        subject = Subject(
            model=loaded.model,
            tokenizer=loaded.tokenizer,
            seed=plan.job.seed,
            limit=shop.limit,
            weights=unlearned.weights,
            keep=shop.cache_folder,
            progress=partial(shop.reporter.scored, plan.job),
        )
        with _unchanged(plan, name, loaded, shop):
            items = list(column.benchmark.evaluate(subject))
        if column.all_asked:
            items = list(in_half(items, column.half, lambda item: item.id))
        if not items:
            raise CellError(f"{name} scored nothing")
        figures = {"evaluate_seconds": round(time.perf_counter() - started, 3), **environment(shop.device)}
        if all(item.scored and not item.error for item in items):
            shop.cache.write(cache_key, figures, items)
    cost = _with_scoring(unlearned.cost, figures["evaluate_seconds"], shop.device)
    provenance = {**_provenance(plan, name, shop, unlearned.weights), **unlearned.looks, **figures, "cached": kept is not None}
    identity = {"key": plan.key(name), "identity": plan.cells[name], "metric": metric, "cost": cost, "provenance": provenance}
    result = CellResult(**identity, **_summed_up(items, column.benchmark))
    shop.run.write_cell(result, items)
    return result


def _summed_up(items: Sequence[ItemResult], benchmark: Benchmark) -> dict[str, Any]:
    """What a cell says about its items; those without a score count in no mean, and a cell where none has any failed."""
    scored = [item for item in items if item.scored]
    asked = {"asked": len(items), "missing": dict(Counter(item.error for item in items if not item.scored))}
    if not scored:
        said = f"none of {len(items)} items has a score: {items[0].error}; the same command asks for them again"
        return {"status": "failed", "error": said, **asked}
    groups = benchmark.group_items(scored)
    return {
        "status": "done",
        **asked,
        "value": _mean(scored),
        "n": len(scored),
        "partial": sum(bool(item.error) for item in scored),
        "figures": {name: round(value, 6) for name, value in benchmark.figures(items).items()},
        "truncated": sum(item.truncated for item in items),
        "parts": {part: PartScore(value=_mean(own), n=len(own)) for part, own in _by_part(scored).items()},
        "groups": {name: PartScore(value=_mean(own), n=len(own)) for name, own in groups.items() if own},
    }


def _with_scoring(cost: Cost, seconds: float, device: torch.device) -> Cost:
    """The job's cost so far with that of scoring; memory is the larger of training and scoring."""
    gpu = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    peaks = {"peak_bytes": (cost.peak_bytes, peak_bytes()), "peak_gpu_bytes": (cost.peak_gpu_bytes, gpu)}
    largest = {name: max((one for one in pair if one is not None), default=None) for name, pair in peaks.items()}
    return cost.model_copy(update={"evaluate_seconds": seconds, **largest})


def _provenance(plan: JobPlan, name: str, shop: Workshop, weights: str | None) -> dict[str, Any]:
    column = shop.benchmarks[name]
    return cell_provenance(plan, column, shop.topics, shop.trainer, dtype=shop.dtype, limit=shop.limit, weights=weights)


def _mean(items: Sequence[ItemResult]) -> float:
    return round(sum(item.score for item in items) / len(items), 6)


def _by_part(items: Iterable[ItemResult]) -> dict[str, list[ItemResult]]:
    parts: dict[str, list[ItemResult]] = {}
    for item in items:
        parts.setdefault(item.part, []).append(item)
    return parts


def _failure(plan: JobPlan, name: str, shop: Workshop, error: BaseException, cost: Cost | None = None) -> CellResult:
    """A cell that says what went wrong, kept like any other."""
    reason = str(error).strip().splitlines()
    kind = "" if isinstance(error, UnlearnbenchError) else f"{type(error).__name__}: "
    result = CellResult(
        key=plan.key(name),
        identity=plan.cells[name],
        status="diverged" if isinstance(error, FloatingPointError) else "failed",
        error=kind + (reason[0] if reason else "no message"),
        cost=cost or Cost(),
        provenance={
            **_provenance(plan, name, shop, None),
            **_of_pruning(error),
            **environment(shop.device),
            "traceback": last_frames(error),
        },
    )
    shop.run.write_cell(result, [])
    return result


def _of_pruning(error: BaseException) -> dict[str, Any]:
    return {"pruned": True, "looks": [look.model_dump() for look in error.looks]} if isinstance(error, PrunedError) else {}


def extension_callbacks(hook: Any, job: Job) -> list[Callback]:
    """The Lightning callbacks that extensions add to a job."""
    return [callback for offered in hook.unlearnbench_trainer_callbacks(job=job) or [] for callback in offered or []]
