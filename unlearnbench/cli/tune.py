"""`unlearnbench tune`: search every method's settings with one budget, or continue a search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearnbench.cli import options
from unlearnbench.cli.recipe_options import asked_recipe
from unlearnbench.cli.search_options import with_rule, with_settings
from unlearnbench.errors import Problems
from unlearnbench.execution.executors import listed
from unlearnbench.planning.limits import Limits
from unlearnbench.verbs.recipes import DEFAULT_RECIPE

if TYPE_CHECKING:
    from unlearnbench.records.tuning import Tuning


def tune(
    methods: Annotated[list[str] | None, typer.Argument(help="Rows to tune; by default all of the recipe.")] = None,
    recipe: Annotated[str, typer.Option(help="A shipped recipe's name, or the path of a YAML file.")] = DEFAULT_RECIPE,
    trials: options.Trials = None,
    tune_seconds: options.TuneSeconds = None,
    keep_at_least: options.KeepAtLeast = None,
    probe_every: options.ProbeEvery = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the sampler; 0 by default.")] = None,
    benchmarks: options.Benchmarks = None,
    limit: options.Limit = None,
    model: options.Model = None,
    forget: options.Forget = None,
    retain: options.Retain = None,
    settings: options.Settings = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    device: options.DeviceName = "auto",
    dtype: options.DtypeName = None,
    executor: Annotated[str, typer.Option(help=f"How trials are run: {listed(manners=False)}.")] = "local",
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
    from unlearnbench.execution.place import Execution
    from unlearnbench.runs.reading import TUNING
    from unlearnbench.tuning.search import Budget
    from unlearnbench.verbs.progress import ProgressReporter
    from unlearnbench.verbs.steps import place_of, search

    problems = Problems()
    wanted = asked_recipe(
        recipe,
        problems,
        methods=",".join(methods) if methods else None,
        benchmarks=benchmarks,
        limit=limit,
        model=model,
        dtype=dtype,
        forget=forget,
        retain=retain,
    )
    wanted = problems.attempt(with_rule, wanted, keep_at_least, probe_every, seed) or wanted
    limits = problems.attempt(options.read_limits, jobs, job_timeout, job_memory) or Limits()
    given = problems.attempt(options.with_judge, settings, wanted.benchmarks, judge=judge, judge_url=judge_url) or []
    wanted = problems.attempt(with_settings, wanted, given) or wanted
    how = Execution(executor=executor, limits=limits)
    place = place_of(wanted, problems, out=out, cache=cache, device=device, how=how)
    budget = problems.attempt(Budget, trials=trials, seconds=tune_seconds)
    problems.settle()
    assert budget is not None
    with options.quiet_stdout(), ProgressReporter() as reporter:
        found = search(wanted, budget, place, reporter)
    show(found.tuning, place.out / TUNING, as_json)


def show(tuning: Tuning, folder: Path, as_json: bool) -> None:
    """Print every trial and the choices, on stdout."""
    if as_json:
        typer.echo(tuning.model_dump_json(indent=1, by_alias=True))
        return
    from rich.console import Console

    from unlearnbench.reports import tuning as trials

    Console().print(trials.render(tuning))
    compare_it = f"unlearnbench compare {folder / 'tuned.yaml'} --out {folder.parent}"
    typer.echo(f"Kept in {folder}: `{compare_it}` reports the chosen settings on the other half of the questions.", err=True)
