"""`unlearnbench tune`: search every method's settings with one budget, or go on with a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearnbench.cli import compare, options
from unlearnbench.cli.searching import place_of, search, with_fixed, with_rule
from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from unlearnbench.trials import Tuning


def tune(
    methods: Annotated[list[str] | None, typer.Argument(help="Rows to tune; by default all of the recipe.")] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or the path of a YAML file.")] = compare.DEFAULT_RECIPE,
    trials: options.Trials = None,
    tune_seconds: options.TuneSeconds = None,
    keep_at_least: options.KeepAtLeast = None,
    probe_every: options.ProbeEvery = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the sampler; 0 by default.")] = None,
    benchmarks: options.Benchmarks = None,
    limit: options.Limit = None,
    model: options.Model = None,
    forget: Annotated[list[str] | None, typer.Option(metavar="[TOPIC=]SOURCE", help="Texts to forget; repeatable.")] = None,
    retain: Annotated[list[str] | None, typer.Option(metavar="[TOPIC=]SOURCE", help="Texts to keep; repeatable.")] = None,
    settings: options.Settings = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    device: options.DeviceName = "auto",
    dtype: options.DtypeName = None,
    executor: Annotated[str, typer.Option(help="How trials are run: local, or isolated.")] = "local",
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Isolated trials that run at a time.")] = 1,
    job_timeout: options.JobTimeout = None,
    job_memory: options.JobMemory = None,
    out: options.Out = None,
    cache: options.Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print trials.json on stdout, and nothing else.")] = False,
) -> None:
    """Search settings: the same number of trials for every method, chosen on one half of the questions.

    A trial is chosen for the highest F of those whose K is at least --keep-at-least; where there is none, for the highest S.
    The same command goes on where the last one stopped; a larger --trials adds to what is there.
    """
    from unlearnbench.compare import Execution
    from unlearnbench.recipe import check_names

    wanted = compare.base_recipe(recipe, model)
    wanted = compare.with_lists(wanted, ",".join(methods) if methods else None, benchmarks, None)
    wanted = compare.with_values(wanted, limit, model, dtype)
    wanted = check_names(compare.with_topics(wanted, forget, retain))
    wanted = with_rule(wanted, keep_at_least, probe_every, seed)
    how = Execution(executor=executor, limits=options.read_limits(jobs, job_timeout, job_memory))
    budget = options.read_budget(trials, tune_seconds)
    if budget is None:
        raise UsageError("tune needs a budget, the same for every method: --trials N, --tune-seconds S, or both.")
    wanted = with_fixed(wanted, options.with_judge(settings, wanted.benchmarks, judge=judge, judge_url=judge_url))
    place = place_of(wanted, how, out, cache, device)
    tuning = search(wanted, budget, place)
    show(tuning, place.folder, as_json)


def show(tuning: Tuning, folder: Path, as_json: bool) -> None:
    """Print every trial and what was chosen, on stdout."""
    if as_json:
        typer.echo(tuning.model_dump_json(indent=1, by_alias=True))
        return
    from rich.console import Console

    from unlearnbench.reports import trials

    Console().print(trials.render(tuning))
    compare_it = f"unlearnbench compare {folder / 'tuned.yaml'} --out {folder.parent}"
    typer.echo(f"Kept in {folder}: `{compare_it}` reports the chosen settings on the other half of the questions.", err=True)
