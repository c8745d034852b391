"""A comparison from a checked recipe to the table: execute, store, rank."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from unlearnbench.errors import UsageError
from unlearnbench.execution.cleanup import forget_failures, tidy
from unlearnbench.execution.executors import find_executor
from unlearnbench.execution.interim_table import InterimTable
from unlearnbench.execution.place import Execution
from unlearnbench.execution.queue import Queue
from unlearnbench.leaderboard.build import build_leaderboard, check_settings
from unlearnbench.planning.comparison import Comparison
from unlearnbench.planning.plan import manifest_benchmark, what_is_due
from unlearnbench.plugins.registry import guarded, load_extensions
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import TableSettings
from unlearnbench.records.manifest import BASELINE, Manifest, ManifestRow
from unlearnbench.reports.run_files import write_leaderboard, write_report
from unlearnbench.runs.folder import KeepDeltas, RunFolder
from unlearnbench.runs.locks import WAIT_SECONDS, Holding
from unlearnbench.runs.reading import COMMAND, PLAN_FILE, read_cells, read_manifest

if TYPE_CHECKING:
    from unlearnbench.execution.reporter import Reporter

JOIN_SECONDS = 10.0  # for the holder of a folder to write its plan


def execute(
    comparison: Comparison,
    reporter: Reporter,
    how: Execution | None = None,
    *,
    settings: TableSettings | None = None,
    in_passing: bool = False,
) -> Generator[CellResult]:
    """Compute what is due, yielding each cell once it is durable; an `InterimTable` with figures only follows.

    Intervals, verdicts and ranks come once everything is there, and with them the report; in passing they do not come.

    Raises:
        UsageError: another process works in the folder, and this one is not to join or has another plan; or loggers are given
            that the jobs' processes could not have.
        StorageError: the folder does not take what was computed.
    """
    how = how or Execution()
    run, manifest = comparison.run, _manifest(comparison)
    check_table(comparison, settings)
    _check_loggers(comparison, how)
    with Holding(run.root, join=how.join) as holding:
        if holding.alone:
            comparison = _begin(comparison, manifest, reporter, how)
        else:
            _check_same_plan(run, manifest, holding)
        if comparison.due:
            reporter.expect(comparison.jobs)
            yield from _compute(comparison, holding, reporter, how, settings)
        _drop_deltas(comparison, how.keep_deltas)
        if in_passing:
            write_leaderboard(run, settings, in_passing=True)
        else:
            write_report(run, settings or TableSettings(), items=how.items)


def check_table(comparison: Comparison, settings: TableSettings | None) -> None:
    """Refuse a table that this comparison cannot have, before anything is computed.

    Raises:
        UsageError: it is to be ranked by what it does not have.
    """
    check_settings(settings or TableSettings(), _manifest(comparison))


def _check_loggers(comparison: Comparison, how: Execution) -> None:
    elsewhere = find_executor(how.executor, how.limits).own_processes or comparison.recipe.trainer.devices > 1
    if how.loggers is not None and elsewhere:
        raise UsageError(
            "Loggers that are given from Python cannot follow a job into other processes; take the executor local and "
            "trainer.devices 1, or offer them by the hook unlearnbench_trainer_loggers."
        )


def _begin(comparison: Comparison, manifest: Manifest, reporter: Reporter, how: Execution) -> Comparison:
    """Write the plan, tidy the folder, and check again which of its cells are due."""
    run = comparison.run
    run.write_text("recipe.yaml", comparison.recipe.to_yaml())
    run.write_text(PLAN_FILE, manifest.model_dump_json(indent=1))
    if how.command:
        run.write_text(COMMAND, f"{how.command}\n")
    for line in tidy(run, comparison.jobs):
        reporter.warn(line)
    for plan in comparison.benchmarks if how.items else ():
        with guarded(plan.plugin.info, "in texts"):
            run.write_texts(plan.name, plan.benchmark.digest(), plan.benchmark.texts())
    if how.retry_failed:
        forget_failures(run, comparison.jobs)
    return replace(comparison, jobs=what_is_due(comparison.jobs, run.read_cell, retry_failed=False))


def _check_same_plan(run: RunFolder, manifest: Manifest, holding: Holding) -> None:
    """Check that a process that joins has the plan of the process that holds the folder; wait a moment for it to be written."""
    patience = time.monotonic() + JOIN_SECONDS
    while time.monotonic() < patience:
        with contextlib.suppress(UsageError):
            if read_manifest(run) == manifest:
                return
        time.sleep(WAIT_SECONDS)
    raise UsageError(
        f"{holding.holder()} runs another comparison in {run.root}; --join takes the same recipe and options, and the same "
        "versions of the plugins."
    )


def _compute(
    comparison: Comparison, holding: Holding, reporter: Reporter, how: Execution, settings: TableSettings | None
) -> Iterator[CellResult]:
    from unlearnbench.execution.context import job_context
    from unlearnbench.execution.job_log import LoggedReporter
    from unlearnbench.execution.library_words import overheard

    manager, problems = load_extensions()
    for problem in problems:
        reporter.warn(problem)
    log = LoggedReporter(reporter, comparison.run)
    jobs = {str(plan.key(name)): plan for plan in comparison.jobs for name in plan.cells}
    context = job_context(comparison, log, manager.hook, how.loggers or (lambda job: ()))
    executor, queue = find_executor(how.executor, how.limits), Queue(comparison.jobs, comparison.run, holding)
    with overheard(log.library), InterimTable(comparison.run, settings) as table:
        for result in executor.execute(queue, context, how.limits):
            plan = jobs[str(result.key)]
            log.durable(plan.job, result)
            table.add(result)
            try:
                manager.hook.unlearnbench_cell_done(result=result)
            except Exception as error:  # somebody's notifier is no reason to lose a night
                reporter.warn(f"an extension failed on {result.key}: {type(error).__name__}: {error}")
            if how.keep_deltas == "none" and plan.due and result.key == plan.key(plan.due[-1]):
                comparison.run.remove_delta(comparison.run.delta_path_of(plan.job))  # so that one at a time lies on the disk
            yield result


def _manifest(comparison: Comparison) -> Manifest:
    """Return the plan on disk: the cells that make up the table."""
    rows: dict[str, ManifestRow] = {}
    for plan in comparison.jobs:
        keys = {plan.key(name): identity for name, identity in plan.cells.items()}
        cells = {str(key): identity for key, identity in keys.items() if key.attack is None}
        attacked = {str(key): identity for key, identity in keys.items() if key.attack is not None}
        known = rows.get(plan.job.variant)
        rows[plan.job.variant] = ManifestRow(
            variant=plan.job.variant,
            method=plan.job.method,
            hash=known.hash if known else plan.job.identity,
            seeds=[*(known.seeds if known else []), plan.job.seed],
            cells={**(known.cells if known else {}), **cells},
            tuned=comparison.recipe.tuned.get(plan.job.variant),
            attacked={**(known.attacked if known else {}), **attacked},
        )
    return Manifest(
        recipe=comparison.recipe.model_dump(mode="json"),
        benchmarks=[manifest_benchmark(plan, comparison.recipe) for plan in comparison.benchmarks],
        attacks=[attack.head() for attack in comparison.attacks],
        rows=list(rows.values()),
    )


def _drop_deltas(comparison: Comparison, keep: KeepDeltas) -> None:
    """Remove the deltas that are not to be kept; `best` keeps the seed with the highest summary score of each row."""
    if keep == "all":
        return
    manifest = read_manifest(comparison.run) if keep == "best" else None
    best = {row.variant: _best_seed(comparison.run, manifest, row) for row in manifest.rows} if manifest else {}
    for plan in comparison.jobs:
        if best.get(plan.job.variant) != plan.job.seed:
            comparison.run.remove_delta(comparison.run.delta_path_of(plan.job))


def _best_seed(run: RunFolder, manifest: Manifest, row: ManifestRow) -> int:
    """Return the seed that would score highest had the row been run with it alone."""
    against = {BASELINE, *manifest.recipe.get("reference", ())} - {row.variant}
    others = [head for head in manifest.rows if head.variant in against]
    scores: dict[int, float] = {}
    for seed in row.seeds:
        of_seed = {name: identity for name, identity in row.cells.items() if name.endswith(f"/{seed}")}
        rows = [*others, row.model_copy(update={"seeds": [seed], "cells": of_seed, "attacked": {}})]
        alone = manifest.model_copy(update={"rows": rows})
        board = build_leaderboard(alone, read_cells(run, alone))
        summary = next(scored.summary for scored in board.rows if scored.variant == row.variant)
        scores[seed] = (summary.score.value if summary else None) or 0.0
    return max(row.seeds, key=lambda seed: scores[seed])
