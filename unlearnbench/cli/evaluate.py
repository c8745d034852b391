"""`unlearnbench evaluate`: score one model, without unlearning anything."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnbench.cli import compare, options
from unlearnbench.cli.recipe_options import DEFAULT_RECIPE, with_values
from unlearnbench.errors import Problems, UsageError


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
    from unlearnbench.execution.compare import Execution
    from unlearnbench.planning.recipe_files import load_recipe
    from unlearnbench.planning.settings import select
    from unlearnbench.records.recipe import Recipe, check_names

    problems = Problems()
    names = problems.attempt(options.split_list, "--benchmarks", benchmarks)
    if benchmarks is None:
        advice = "for example --benchmarks wmdp,mmlu; `unlearnbench plugins` lists them."
        problems.add(UsageError(f"evaluate needs --benchmarks, {advice}"))
    configured = load_recipe(DEFAULT_RECIPE).benchmarks if model.startswith("sandbox:") else {}
    recipe = Recipe(name=f"evaluate-{options.name_of(model)}", model=model, benchmarks=select(names or (), configured))
    recipe = with_values(recipe, problems, limit=limit, model=None, dtype=dtype)
    problems.attempt(check_names, recipe)
    problems.attempt(options.check_coverage, min_coverage)
    if names is None:
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
    how = Execution(keep_deltas="none", retry_failed=retry_failed, items=not no_items, command=options.command_line())
    compare.run(recipe, given, device, how, out, cache, as_json, dry_run=dry_run, problems=problems, min_coverage=min_coverage)
