"""`unlearnbench evaluate`: score one model, without unlearning anything."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnbench.cli import compare, options
from unlearnbench.cli.recipe_options import with_values
from unlearnbench.errors import Problems, UsageError
from unlearnbench.verbs.recipes import evaluation
from unlearnbench.verbs.steps import place_of


def evaluate(
    model: Annotated[str, typer.Argument(help="A folder, a hub id or sandbox:model.")],
    benchmarks: options.Benchmarks = None,
    limit: options.Limit = None,
    settings: options.Settings = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    judge_prompts: options.JudgePrompts = None,
    judge_repeats: options.JudgeRepeats = None,
    references: options.References = None,
    min_coverage: options.MinCoverage = options.COVERAGE,
    device: options.DeviceName = "auto",
    dtype: options.DtypeName = None,
    out: options.Out = None,
    cache: options.Cache = None,
    retry_failed: options.RetryFailed = False,
    no_items: options.NoItems = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Score a model with the benchmarks and keep the same files as a comparison."""
    from unlearnbench.execution.place import Execution
    from unlearnbench.planning.settings import apply_settings
    from unlearnbench.records.recipe import check_names

    problems = Problems()
    if benchmarks is None:
        advice = "for example --benchmarks wmdp,mmlu; `unlearnbench plugins` lists them."
        problems.add(UsageError(f"evaluate needs --benchmarks, {advice}"))
    recipe = evaluation(model, () if benchmarks is None else benchmarks, problems)
    unnamed = bool(problems)
    recipe = with_values(recipe, problems, limit=limit, model=None, dtype=dtype)
    problems.attempt(check_names, recipe)
    problems.attempt(options.check_coverage, min_coverage)
    if unnamed:
        problems.settle()
    given = (
        problems.attempt(
            options.with_judge,
            settings,
            recipe.benchmarks,
            judge=judge,
            judge_url=judge_url,
            judge_prompts=judge_prompts,
            judge_repeats=judge_repeats,
            references=references,
        )
        or []
    )
    recipe = apply_settings(recipe, given, problems)
    how = Execution(keep_deltas="none", retry_failed=retry_failed, items=not no_items, command=options.command_line())
    place = place_of(recipe, problems, out=out, cache=cache, device=device, how=how)
    compare.run(recipe, place, problems, dry_run=dry_run, as_json=as_json, min_coverage=min_coverage)
