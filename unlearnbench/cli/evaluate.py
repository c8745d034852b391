"""`unlearnbench evaluate`: score one model, without unlearning anything."""

from __future__ import annotations

from typing import Annotated

import typer

from unlearnbench.cli import compare, options
from unlearnbench.errors import UsageError


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
    no_items: options.NoItems = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Score a model with the benchmarks and keep the same files as a comparison."""
    from unlearnbench.compare import Execution
    from unlearnbench.recipe import Recipe, load_recipe, select

    names = options.split_list(benchmarks)
    if names is None:
        raise UsageError("evaluate needs --benchmarks, for example --benchmarks wmdp,mmlu; `unlearnbench plugins` lists them.")
    configured = load_recipe(compare.DEFAULT_RECIPE).benchmarks if model.startswith("sandbox:") else {}
    chosen = options.choose("--dtype", dtype or "auto", ("auto", "float32", "bfloat16", "float16"))
    content = {"model": model, "dtype": chosen, "benchmarks": select(names, configured), "limit": options.read_limit(limit)}
    recipe = Recipe.model_validate({"name": f"evaluate-{options.name_of(model)}", **content})
    options.check_coverage(min_coverage)
    about_judge: dict[str, str | int | None] = {
        "judge": judge,
        "judge_url": judge_url,
        "judge_prompts": judge_prompts,
        "judge_repeats": judge_repeats,
        "references": references,
    }
    given = options.with_judge(settings, recipe.benchmarks, **about_judge)
    how = Execution(keep_deltas="none", items=not no_items, command=options.command_line())
    compare.run(recipe, given, device, how, out, cache, as_json, dry_run=dry_run, min_coverage=min_coverage)
