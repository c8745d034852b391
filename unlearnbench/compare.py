"""A comparison from a checked recipe to the table: execute, store, rank."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard import BenchmarkHead, Leaderboard, Manifest, RowHead, build_leaderboard
from unlearnbench.plan import BenchmarkPlan
from unlearnbench.plugins import load_extensions
from unlearnbench.preflight import Comparison
from unlearnbench.recipe import BASELINE, Recipe
from unlearnbench.records import CellKey, CellResult
from unlearnbench.store import KeepDeltas, RunFolder

if TYPE_CHECKING:
    from unlearnbench.job import Reporter

MANIFEST = "plan.json"


def execute(comparison: Comparison, reporter: Reporter, *, keep_deltas: KeepDeltas = "all") -> Iterator[CellResult]:
    """Compute what is due, yielding each cell once it is durable; the table is rewritten after every cell."""
    run = comparison.run
    run.write_text("recipe.yaml", comparison.recipe.to_yaml())
    run.write_text(MANIFEST, _manifest(comparison).model_dump_json(indent=1))
    if comparison.due:
        from unlearnbench.executors import local
        from unlearnbench.job import workshop

        manager, problems = load_extensions()
        for problem in problems:
            reporter.warn(problem)
        shop = workshop(comparison, reporter, manager.hook)
        for result in local.execute(comparison.jobs, shop):
            write_leaderboard(run)
            try:
                manager.hook.unlearnbench_cell_done(result=result)
            except Exception as error:  # somebody's notifier is no reason to lose a night
                reporter.warn(f"an extension failed on {result.key}: {type(error).__name__}: {error}")
            if keep_deltas == "none":
                _drop_finished(comparison, result)
            yield result
    _drop_deltas(comparison, keep_deltas)
    write_leaderboard(run)


def read_leaderboard(folder: Path) -> Leaderboard:
    """The table of a run folder, from its plan and the cells that belong to it.

    Raises:
        UsageError: it is not the folder of a comparison.
    """
    run = RunFolder(folder)
    manifest = read_manifest(run)
    return build_leaderboard(manifest, read_cells(run, manifest))


def write_leaderboard(run: RunFolder) -> Leaderboard:
    """Write leaderboard.json and leaderboard.md from what is on disk."""
    from unlearnbench.reports import text

    board = read_leaderboard(run.root)
    run.write_text("leaderboard.json", board.model_dump_json(indent=1, by_alias=True) + "\n")
    run.write_text("leaderboard.md", text.render([board], "markdown") + "\n")
    return board


def _claimed_parts(recipe: Recipe, plan: BenchmarkPlan) -> dict[str, list[str]]:
    """Topic -> the benchmark's parts that measure it: those it names, else the part of its own name."""
    claims: dict[str, list[str]] = {}
    have = plan.benchmark.parts()
    for name, topic in recipe.topics.items():
        wanted = topic.parts if topic.parts is not None else [f"{plan.name}/{name}"]
        own = [part for part in have if f"{plan.name}/{part}" in wanted]
        if own:
            claims[name] = own
    if not claims and plan.benchmark.metric.role == "forget" and not any(t.parts for t in recipe.topics.values()):
        claims = {name: list(have) for name in list(recipe.topics)[:1]}
    return claims


def _manifest(comparison: Comparison) -> Manifest:
    """The plan on disk: which cells make up the table."""
    heads: list[BenchmarkHead] = []
    for plan in comparison.benchmarks:
        claims = _claimed_parts(comparison.recipe, plan)
        claimed = [part for part in plan.benchmark.parts() if any(part in parts for parts in claims.values())]
        heads.append(
            BenchmarkHead(
                name=plan.name, metric=plan.benchmark.metric, parts=plan.benchmark.parts(), forget_parts=claimed, topics=claims
            )
        )
    rows: dict[str, RowHead] = {}
    for plan in comparison.jobs:
        cells = {str(plan.key(benchmark)): identity for benchmark, identity in plan.cells.items()}
        known = rows.get(plan.job.variant)
        rows[plan.job.variant] = RowHead(
            variant=plan.job.variant,
            method=plan.job.method,
            hash=known.hash if known else plan.job.identity,
            seeds=[*(known.seeds if known else []), plan.job.seed],
            cells={**(known.cells if known else {}), **cells},
        )
    return Manifest(recipe=comparison.recipe.model_dump(mode="json"), benchmarks=heads, rows=list(rows.values()))


def _drop_finished(comparison: Comparison, result: CellResult) -> None:
    """Remove the delta of a job whose last cell is durable, so that one at a time lies on the disk."""
    for plan in comparison.jobs:
        if plan.due and plan.key(plan.due[-1]) == result.key:
            comparison.run.remove_delta(comparison.run.delta_path(plan.job.variant, plan.job.seed, plan.job.identity))


def _drop_deltas(comparison: Comparison, keep: KeepDeltas) -> None:
    """Remove the deltas that are not to be kept; `best` keeps the seed with the highest summary score of each row."""
    if keep == "all":
        return
    best = {row.variant: _best_seed(comparison.run, row) for row in _manifest(comparison).rows} if keep == "best" else {}
    for plan in comparison.jobs:
        if best.get(plan.job.variant) != plan.job.seed:
            comparison.run.remove_delta(comparison.run.delta_path(plan.job.variant, plan.job.seed, plan.job.identity))


def _best_seed(run: RunFolder, row: RowHead) -> int:
    """The seed that would score highest had the row been run with it alone."""
    manifest = read_manifest(run)
    baseline = [head for head in manifest.rows if head.variant == BASELINE and head.variant != row.variant]
    scores: dict[int, float] = {}
    for seed in row.seeds:
        own = {name: identity for name, identity in row.cells.items() if name.endswith(f"/{seed}")}
        rows = [*baseline, row.model_copy(update={"seeds": [seed], "cells": own})]
        alone = manifest.model_copy(update={"rows": rows})
        summary = build_leaderboard(alone, read_cells(run, alone)).rows[-1].summary
        scores[seed] = (summary.score.value if summary else None) or 0.0
    return max(row.seeds, key=lambda seed: scores[seed])


def read_manifest(run: RunFolder) -> Manifest:
    """The plan that a run folder's table is made of."""
    try:
        return Manifest.model_validate(run.read_json(MANIFEST))
    except ValidationError as error:
        raise UsageError(
            f"{run.root}/{MANIFEST} was written by another version of unlearnbench; run the comparison again."
        ) from error


def read_cells(run: RunFolder, manifest: Manifest) -> dict[str, CellResult]:
    """The finished cells that belong to a plan, by name."""
    cells: dict[str, CellResult] = {}
    for row in manifest.rows:
        for name, identity in row.cells.items():
            variant, benchmark, seed = _split_cell_name(name)
            found = run.read_cell(CellKey(variant=variant, benchmark=benchmark, seed=seed), identity)
            if found is not None:
                cells[name] = found
    return cells


def _split_cell_name(name: str) -> tuple[str, str, int]:
    """The inverse of `str(CellKey)`; a row's name has no slash, a benchmark's argument may."""
    variant, rest = name.split("/", 1)
    benchmark, seed = rest.rsplit("/", 1)
    return variant, benchmark, int(seed)
