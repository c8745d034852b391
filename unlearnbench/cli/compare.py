"""`unlearnbench compare`: run a comparison, or continue it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unlearnbench.cli import options
from unlearnbench.cli.recipe_options import asked_recipe
from unlearnbench.cli.search_options import with_rule, with_settings
from unlearnbench.errors import Problems, UsageError
from unlearnbench.execution.executors import listed
from unlearnbench.planning.limits import Limits
from unlearnbench.reports.units import counted
from unlearnbench.system.memory import seldom_collected
from unlearnbench.verbs.recipes import DEFAULT_RECIPE
from unlearnbench.verbs.steps import carry_out, place_of, plan

if TYPE_CHECKING:
    from unlearnbench.execution.place import Place
    from unlearnbench.planning.comparison import Comparison
    from unlearnbench.planning.durations import Durations
    from unlearnbench.records.leaderboard import Leaderboard, TableSettings
    from unlearnbench.records.recipe import Recipe
    from unlearnbench.runs.folder import KeepDeltas
    from unlearnbench.tuning.search import Budget

INCOMPLETE = 1


def compare(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or the path of a YAML file.")] = DEFAULT_RECIPE,
    methods: Annotated[str | None, typer.Option(help="Rows of the table, separated by commas: rmu,scrub.")] = None,
    benchmarks: options.Benchmarks = None,
    attacks: options.Attacks = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, separated by commas: 0,1.")] = None,
    limit: options.Limit = None,
    model: options.Model = None,
    forget: options.Forget = None,
    retain: options.Retain = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A finished model, or an adapter of --model, as a row; repeatable."),
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ROW", help="Add a row of random noise as large as ROW's change; repeatable."),
    ] = None,
    reference: options.Reference = None,
    settings: options.Settings = None,
    judge: options.Judge = None,
    judge_url: options.JudgeUrl = None,
    judge_prompts: options.JudgePrompts = None,
    judge_repeats: options.JudgeRepeats = None,
    references: options.References = None,
    min_coverage: options.MinCoverage = options.COVERAGE,
    device: options.DeviceName = "auto",
    dtype: options.DtypeName = None,
    executor: Annotated[str, typer.Option(help=f"How jobs are run: {listed()}.")] = "local",
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Isolated jobs that run at a time.")] = 1,
    job_timeout: options.JobTimeout = None,
    job_memory: options.JobMemory = None,
    out: options.Out = None,
    cache: options.Cache = None,
    keep_deltas: Annotated[str, typer.Option(help="Unlearned weights that stay on disk: all, best or none.")] = "all",
    tune: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="First search every method's settings, with N trials each.")
    ] = None,
    tune_seconds: options.TuneSeconds = None,
    keep_at_least: options.KeepAtLeast = None,
    probe_every: options.ProbeEvery = None,
    evaluate_every: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Keep the best weights of every K updates of a training."),
    ] = None,
    retry_failed: options.RetryFailed = False,
    join: Annotated[
        bool, typer.Option("--join", help="Join another process that runs the same command, and take some of its jobs.")
    ] = False,
    rank_by: options.RankBy = None,
    damage_margin: options.DamageMargin = None,
    no_items: options.NoItems = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a model forget with each method, score what it forgot and kept, and print the leaderboard.

    Without arguments it runs on the embedded sandbox. The same command again goes on where the last one stopped.
    """
    from unlearnbench.execution.place import Execution
    from unlearnbench.leaderboard.reading import table_settings
    from unlearnbench.planning.settings import apply_settings

    problems = Problems()  # what is wrong on the command line is said together with what the preflight finds
    wanted = asked_recipe(
        recipe,
        problems,
        methods=methods,
        benchmarks=benchmarks,
        attacks=attacks,
        seeds=seeds,
        limit=limit,
        model=model,
        dtype=dtype,
        forget=forget,
        retain=retain,
        checkpoint=checkpoint,
        control=control,
        reference=reference,
    )
    table = problems.attempt(table_settings, rank_by, damage_margin)
    if evaluate_every is not None:
        wanted = wanted.model_copy(update={"evaluate_every": evaluate_every, "half": "reporting"})
    given = (
        problems.attempt(
            options.with_judge,
            settings,
            wanted.benchmarks,
            judge=judge,
            judge_url=judge_url,
            judge_prompts=judge_prompts,
            judge_repeats=judge_repeats,
            references=references,
        )
        or []
    )
    keep = problems.attempt(options.choose, "--keep-deltas", keep_deltas, ("all", "best", "none")) or "all"
    how = Execution(
        executor=executor,
        limits=problems.attempt(options.read_limits, jobs, job_timeout, job_memory) or Limits(),
        keep_deltas=cast("KeepDeltas", keep),
        retry_failed=retry_failed,
        join=join,
        items=not no_items,
        command=options.command_line(),
    )
    budget = problems.attempt(options.read_budget, tune, tune_seconds)
    if (tune, tune_seconds, evaluate_every) == (None, None, None) and (keep_at_least, probe_every) != (None, None):
        problems.add(UsageError("--keep-at-least and --probe-every are for trials: add --tune N."))
    wanted = problems.attempt(with_rule, wanted, keep_at_least, probe_every) or wanted
    problems.attempt(options.check_coverage, min_coverage)
    if budget is None:
        wanted = apply_settings(wanted, given, problems)
    else:
        wanted = problems.attempt(with_settings, wanted, given) or wanted
    place = place_of(wanted, problems, out=out, cache=cache, device=device, how=how)
    run(wanted, place, problems, table=table, tune=budget, dry_run=dry_run, as_json=as_json, min_coverage=min_coverage)


def run(
    recipe: Recipe,
    place: Place,
    problems: Problems,
    *,
    table: TableSettings | None = None,
    tune: Budget | None = None,
    dry_run: bool = False,
    as_json: bool = False,
    min_coverage: float = options.COVERAGE,
) -> None:
    """Run a comparison and print it, or print its plan; shared with `evaluate`."""
    from unlearnbench.verbs.progress import ProgressReporter

    if dry_run:
        _show_plan(recipe, place, problems, table, tune, as_json)
        return
    # stdout is for the table; what plugins print goes to stderr
    with options.quiet_stdout(), ProgressReporter() as reporter:
        board = carry_out(recipe, place, table, reporter, tune=tune, problems=problems).leaderboard
    show(place.out, board, as_json)
    short = _short_of(board, min_coverage)
    for line in short:
        typer.echo(line, err=True)
    if board.failures:
        typer.echo(_what_failed(board, place.out), err=True)
    if board.failures or short:
        raise typer.Exit(INCOMPLETE)


def _durations(comparison: Comparison) -> Durations:
    """Return the seconds that rows and benchmarks take; those of which nothing is known are tried for a moment."""
    known = comparison.durations()
    if not comparison.due:
        return known
    from unlearnbench.execution.timing import with_trials

    return with_trials(comparison, known)


@seldom_collected()
def _show_plan(
    recipe: Recipe, place: Place, problems: Problems, table: TableSettings | None, tune: Budget | None, as_json: bool
) -> None:
    """Print a comparison's plan; of a search its budget only, since its trials follow from one another."""
    from unlearnbench.cli.dry_run import show_plan
    from unlearnbench.verbs.progress import ProgressReporter

    if tune is not None:
        from unlearnbench.tuning.search import untuned_recipe
        from unlearnbench.tuning.searched_rows import plan_rows

        problems.settle()
        rows = [row.name for row in plan_rows(recipe) if row.space]
        typer.echo(f"Before this, on the other half of the questions: {tune} of {', '.join(rows)} each.", err=True)
        recipe = untuned_recipe(recipe)
    with options.quiet_stdout(), ProgressReporter() as reporter:
        comparison = plan(recipe, place, table, reporter, problems)
        durations = _durations(comparison)
    show_plan(comparison, place.how, durations, as_json)


def _what_failed(board: Leaderboard, folder: Path) -> str:
    """Return the sentence on failed cells: their number, where the reasons are, and how to try again."""
    cells = counted(len(board.failures), "cell")
    return f"{cells} failed: {folder / 'logs'} says how, and the same command with --retry-failed computes what failed again."


def _short_of(board: Leaderboard, least: float) -> list[str]:
    """Return a sentence for each score that too few items have; failed cells are reported elsewhere."""
    return [
        f"{row.variant}: {name} has a score for {score.scored} of {score.asked} items, below --min-coverage {least:g}; "
        "the same command asks for what is missing."
        for row in board.rows
        for name, score in row.scores.items()
        if score.scored is not None and score.asked and score.scored < least * score.asked
    ]


def show(folder: Path, board: Leaderboard, as_json: bool) -> None:
    """Print the leaderboard on stdout."""
    if as_json:
        typer.echo(board.model_dump_json(indent=1, by_alias=True))
        return
    from rich.console import Console

    from unlearnbench.reports import terminal

    console = Console()
    console.print(terminal.render(board, width=console.width))
    typer.echo(
        f"Kept in {folder}: `unlearnbench leaderboard {folder}` shows it again, {folder / 'report.html'} has all of it.",
        err=True,
    )
