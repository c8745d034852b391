"""Short trials of rows and benchmarks of unknown duration: a few updates of a row, a few items of a benchmark."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unlearnbench.execution.context import JobContext, job_context
from unlearnbench.execution.fit import fit
from unlearnbench.execution.reporter import Silent
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.comparison import Comparison
from unlearnbench.planning.durations import Durations
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan
from unlearnbench.records.cells import Job
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.score_cache import ScoreCache
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.system.files import content_hash
from unlearnbench.system.process_state import restored_process_state, seed_all

UPDATES = 3  # the first one warms up
ITEMS = 32  # about so many at least, where there are: a single one fills no batch


@dataclass
class _Clock(Silent):
    """A `Reporter` that notes the times of updates, and reports nothing."""

    begun: float = 0.0
    updates: list[float] = field(default_factory=list[float])

    def unlearning(self, job: Job, steps: int) -> None:
        self.begun = time.perf_counter()

    def step(self, job: Job, loss: float | None) -> None:
        self.updates.append(time.perf_counter())


def with_trials(comparison: Comparison, known: Durations) -> Durations:
    """Return the known durations, and for the rest those of a short trial in this process; one that fails stays unknown.

    Of rows that take the same time, because their settings differ in learning rates and coefficients only, one is tried.
    Nothing is written but to a folder that is gone afterwards. No judge elsewhere is asked, and no row is tried that trains in
    several processes.
    """
    rows: dict[str, JobPlan] = {}
    for plan in comparison.jobs:
        alone = plan.variant.processes(comparison.recipe.trainer.devices) == 1 and plan.variant.problem is None
        if plan.due and alone and known.to_unlearn(plan) is None and not comparison.has_delta(plan):
            rows.setdefault(plan.job.variant, plan)
    owed = {name: plan for plan in comparison.jobs for name in plan.due if plan.cells[name] not in known.cached}
    columns = [column for column in comparison.benchmarks if column.name in owed and column.name not in known.evaluate]
    columns = [column for column in columns if not column.benchmark.estimate(comparison.recipe.limit).judge_requests]
    if not rows and not columns:
        return known
    kinds: dict[str, list[str]] = {}
    for name, plan in rows.items():
        kinds.setdefault(_kind(plan), []).append(name)
    with tempfile.TemporaryDirectory(prefix="unlearnbench-") as folder:
        place = Path(folder)
        context = replace(
            job_context(comparison, _Clock(), None),
            run=RunFolder(place / "run"),
            cache=ScoreCache(place / "cache"),
            cache_folder=place / "cache",
            memory=None,
            looks=None,
            callbacks=_none,
            loggers=_none,
            trainer=comparison.recipe.trainer.model_copy(update={"logger": "none"}),
        )
        tried = {alike[0]: rows[alike[0]] for alike in kinds.values()}
        unlearn, evaluate = _tried(tried, [(column, owed[column.name]) for column in columns], context)
    groups = {alike[0]: alike for alike in kinds.values() if alike[0] in unlearn}
    return replace(
        known,
        unlearn={**known.unlearn, **{name: unlearn[first] for first, alike in groups.items() for name in alike}},
        evaluate={**known.evaluate, **evaluate},
        timed=(*unlearn, *evaluate),
        stand_for={first: len(alike) for first, alike in groups.items() if len(alike) > 1},
    )


def _kind(plan: JobPlan) -> str:
    """Return what the time of a row's training depends on: its method, model, budget and options, of fractions only whether
    they are 0, which may leave out a term of the loss.
    """
    row = plan.variant
    source = (row.plugin.info.name, row.plugin.source_hash) if row.plugin else None
    budget = vars(row.training) if row.training else None
    return content_hash([row.method, source, row.model, _without_fractions(row.options), _without_fractions(budget)])


def _without_fractions(value: Any) -> Any:
    if isinstance(value, dict | list):  # options are JSON-able
        named = value.items() if isinstance(value, dict) else enumerate(value)
        return [type(value).__name__, *((name, _without_fractions(part)) for name, part in named)]
    return ("fraction", bool(value)) if isinstance(value, float) else value


def _none(job: Job) -> Sequence[Any]:
    """Return no loggers: no extension takes part in a trial."""
    return ()


def _tried(
    rows: Mapping[str, JobPlan], columns: Sequence[tuple[BenchmarkPlan, JobPlan]], context: JobContext
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of each row's training and of each benchmark's scoring, one model at a time in memory."""
    unlearn: dict[str, float] = {}
    evaluate: dict[str, float] = {}
    loaded: LoadedModel | None = None
    with restored_process_state():
        for model in dict.fromkeys(plan.variant.model for plan in [*(plan for _, plan in columns), *rows.values()]):
            loaded = None  # let go of the last one before the next is loaded
            with contextlib.suppress(Exception, SystemExit):  # a trial of plugins: what fails in it is told when it is run
                loaded = LoadedModel(model, context.dtype, context.device)
            if loaded is None:
                continue
            for column in (candidate for candidate, plan in columns if plan.variant.model == model):
                with contextlib.suppress(Exception, SystemExit):
                    evaluate[column.name] = _scoring(column, loaded, context)
            for name, plan in rows.items():
                if plan.variant.model == model:
                    with contextlib.suppress(Exception, SystemExit):
                        unlearn[name] = _training(plan, loaded, context)
                    loaded.restore()
    return unlearn, evaluate


def _training(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> float:
    """Return the seconds of the whole budget, from a few of its updates."""
    training = plan.variant.training
    assert training is not None
    clock = _Clock()
    short = replace(training, steps=min(UPDATES, training.steps))
    fit(
        replace(plan, variant=replace(plan.variant, training=short)),
        loaded,
        replace(context, reporter=clock),
    )
    first, last = clock.updates[0], clock.updates[-1]
    each = (last - first) / (len(clock.updates) - 1) if len(clock.updates) > 1 else first - clock.begun
    return first - clock.begun + each * (training.steps - 1)


def _scoring(column: BenchmarkPlan, loaded: LoadedModel, context: JobContext) -> float:
    """Return the seconds of all items, from a few of each part."""
    benchmark, limit = column.benchmark, max(ITEMS // max(len(column.benchmark.parts()), 1), 1)
    if context.limit is not None:
        limit = min(limit, context.limit)
    seed_all(0)
    subject = Subject(
        model=loaded.model, tokenizer=loaded.tokenizer, seed=0, limit=limit, weights="", keep=context.cache_folder,
        progress=lambda count: None,
    )  # fmt: skip
    started = time.perf_counter()
    count = len(list(benchmark.evaluate(subject)))
    return (time.perf_counter() - started) * benchmark.count(context.limit) / max(count, 1)
