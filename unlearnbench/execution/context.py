"""The context that all jobs of a comparison share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from unlearnbench.data.topics import TopicData
from unlearnbench.execution.reporter import Reporter
from unlearnbench.models.restorable import LoadedModel, resolve_device
from unlearnbench.planning.attacks import AttackPlan
from unlearnbench.planning.plan import BenchmarkPlan, LookPlan
from unlearnbench.records.cells import Job
from unlearnbench.records.manifest import BASELINE
from unlearnbench.records.recipe import TrainerOptions
from unlearnbench.runs.folder import MEMORY, RunFolder
from unlearnbench.runs.score_cache import ScoreCache
from unlearnbench.scoring.benchmark import UntouchedModel

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from transformers import PreTrainedModel

    from unlearnbench.planning.comparison import Comparison


@dataclass(frozen=True, kw_only=True)
class JobContext:
    """The context that all jobs of a comparison share."""

    run: RunFolder
    cache: ScoreCache
    topics: Sequence[TopicData]
    benchmarks: Mapping[str, BenchmarkPlan]  # by the names of cells within a job: those under attack, too
    dtype: str
    device: torch.device
    limit: int | None
    trainer: TrainerOptions
    looks: LookPlan | None
    memory: Path | None  # what the trials of a search share; None: what is kept is kept in the user's cache
    cache_folder: Path
    reporter: Reporter
    base: UntouchedModel | None = None
    attacks: Mapping[str, AttackPlan] = field(default_factory=dict[str, AttackPlan])
    callbacks: Callable[[Job], Sequence[Any]] = lambda job: ()
    loggers: Callable[[Job], Sequence[Any]] = lambda job: ()


def job_context(
    comparison: Comparison, reporter: Reporter, hook: Any, loggers: Callable[[Job], Sequence[Any]] = lambda job: ()
) -> JobContext:
    """Build the context that the jobs of a comparison share.

    Args:
        comparison: comparison that they belong to.
        reporter: reporter of their progress.
        hook: hooks of the loaded extensions.
        loggers: function that returns Lightning loggers of a job, beside those of extensions.
    """
    return JobContext(
        run=comparison.run,
        cache=ScoreCache(comparison.cache),
        topics=comparison.topics,
        benchmarks=_columns(comparison),
        attacks={attack.label: attack for attack in comparison.attacks},
        dtype=comparison.dtype,
        device=resolve_device(comparison.device),
        limit=comparison.recipe.limit,
        base=_untouched(comparison),
        trainer=comparison.recipe.trainer,
        looks=comparison.looks,
        memory=comparison.run.root / MEMORY if comparison.recipe.half == "selection" else None,
        cache_folder=comparison.cache,
        reporter=reporter,
        callbacks=lambda job: extension_callbacks(hook, job),
        loggers=lambda job: [*extension_loggers(hook, job), *loggers(job)],
    )


def _columns(comparison: Comparison) -> dict[str, BenchmarkPlan]:
    """Return the benchmark of each cell, by its name within a job."""
    plans = {plan.name: plan for plan in comparison.benchmarks}
    named = {name: plan.key(name).benchmark for plan in comparison.jobs for name in plan.cells}
    return plans | {name: plans[benchmark] for name, benchmark in named.items()}


def _untouched(comparison: Comparison) -> UntouchedModel | None:
    """Return the comparison's base model, which is loaded only where a benchmark asks for it."""
    variant = next((plan.variant for plan in comparison.jobs if plan.job.variant == BASELINE), None)
    if variant is None:
        return None
    device = resolve_device(comparison.device)

    def load() -> PreTrainedModel:
        return LoadedModel(variant.model, comparison.dtype, device).model

    return UntouchedModel(weights=variant.weights, load=load)


def extension_callbacks(hook: Any, job: Job) -> list[Callback]:
    """Return the Lightning callbacks that extensions add to a job."""
    return [callback for offered in hook.unlearnbench_trainer_callbacks(job=job) or [] for callback in offered or []]


def extension_loggers(hook: Any, job: Job) -> list[Logger]:
    """Return the Lightning loggers that extensions add to a job."""
    return [logger for offered in hook.unlearnbench_trainer_loggers(job=job) or [] for logger in offered or []]
