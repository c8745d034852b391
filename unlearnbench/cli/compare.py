"""`unlearnbench compare`: run a comparison, or go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unlearnbench.cli import options
from unlearnbench.cli.recipe_options import DEFAULT_RECIPE, base_recipe, with_lists, with_rows, with_topics, with_values
from unlearnbench.cli.search_options import search, search_place, with_fixed, with_rule
from unlearnbench.errors import Problems, UsageError
from unlearnbench.execution.executors import listed
from unlearnbench.planning.limits import Limits
from unlearnbench.reports.units import counted

if TYPE_CHECKING:
    from unlearnbench.execution.compare import Execution, KeepDeltas
    from unlearnbench.planning.comparison import Comparison, Device
    from unlearnbench.planning.durations import Durations
    from unlearnbench.records.leaderboard import Leaderboard, TableSettings
    from unlearnbench.records.recipe import Recipe
    from unlearnbench.tuning.search import Budget, Place

INCOMPLETE = 1


def compare(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or the path of a YAML file.")] = DEFAULT_RECIPE,
    methods: Annotated[str | None, typer.Option(help="Rows of the table, separated by commas: rmu,scrub.")] = None,
    benchmarks: options.Benchmarks = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds, separated by commas: 0,1.")] = None,
    limit: options.Limit = None,
    model: options.Model = None,
    forget: Annotated[list[str] | None, typer.Option(metavar="[TOPIC=]SOURCE", help="Texts to forget; repeatable.")] = None,
    retain: Annotated[list[str] | None, typer.Option(metavar="[TOPIC=]SOURCE", help="Texts to keep; repeatable.")] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="A finished model as a row of the table; repeatable.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=ROW", help="Random noise, as much as ROW changes, as a row of its own; repeatable."),
    ] = None,
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
    keep_deltas: Annotated[str, typer.Option(help="Which unlearned weights stay on disk: all, best or none.")] = "all",
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
        bool, typer.Option("--join", help="Take jobs of the same command, which another process has begun.")
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
    from unlearnbench.execution.compare import Execution

    problems = Problems()  # what is wrong on the command line is said together with what the preflight finds
    wanted = base_recipe(recipe, model)
    wanted = with_lists(wanted, problems, methods=methods, benchmarks=benchmarks, seeds=seeds)
    wanted = with_values(wanted, problems, limit=limit, model=model, dtype=dtype)
    wanted = with_topics(wanted, problems, forget=forget, retain=retain)
    wanted = with_rows(wanted, problems, checkpoint=checkpoint, control=control)
    table = problems.attempt(options.table_settings, rank_by, damage_margin)
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
    if budget is not None:
        problems.settle()
        wanted = with_fixed(wanted, given)
        wanted, given = _tuned(wanted, budget, search_place(wanted, how, out, cache, device), dry_run), []
    run(wanted, given, device, how, out, cache, as_json, table, dry_run, problems, min_coverage)


def _tuned(recipe: Recipe, budget: Budget, place: Place, dry_run: bool) -> Recipe:
    """The recipe with the settings that a search chose, to be compared on the other half of the questions."""
    from unlearnbench.planning.preflight import prepare
    from unlearnbench.tuning.search import tuned_recipe, untuned_recipe
    from unlearnbench.tuning.searched_rows import plan_rows

    untuned = untuned_recipe(recipe)
    if dry_run:
        rows = [row.name for row in plan_rows(recipe) if row.space]
        typer.echo(f"Before this, on the other half of the questions: {budget} of {', '.join(rows)} each.", err=True)
        return untuned
    # what is wrong with the comparison is said before the search
    prepare(untuned, out=place.out, cache=place.cache, device=place.device)
    return tuned_recipe(recipe, search(recipe, budget, place))


def run(
    recipe: Recipe,
    settings: list[str] | None,
    device: str,
    how: Execution,
    out: Path | None,
    cache: Path | None,
    as_json: bool,
    table: TableSettings | None = None,
    dry_run: bool = False,
    problems: Problems | None = None,
    min_coverage: float = options.COVERAGE,
) -> None:
    """Check, execute and print a comparison; shared with `evaluate`."""
    from unlearnbench.execution.compare import check_table
    from unlearnbench.execution.executors import find_executor
    from unlearnbench.leaderboard.reading import written_leaderboard
    from unlearnbench.planning.preflight import prepare
    from unlearnbench.planning.settings import apply_settings
    from unlearnbench.system.files import default_cache

    problems = problems or Problems()
    executor = problems.attempt(find_executor, how.executor, how.limits)
    place = cast("Device", problems.attempt(options.choose, "--device", device, ("auto", "cpu", "cuda")) or "auto")
    folder = out or Path("runs") / recipe.name
    with options.quiet_stdout():  # it is for the table; what plugins print goes to stderr
        wanted, kept = apply_settings(recipe, settings or (), problems), cache or default_cache()
        wanted, broken = _loadable(wanted, kept, problems) if executor and executor.own_processes else (wanted, {})
        comparison = prepare(
            wanted,
            out=folder,
            cache=kept,
            device=place,
            retry_failed=how.retry_failed,
            keep_deltas=how.keep_deltas,
            problems=problems,
            broken=broken,
            limits=how.limits,
        )
        check_table(comparison, table)
        durations = _durations(comparison) if dry_run else None
        if durations is None:
            _execute(comparison, how, table)
    if durations is not None:
        from unlearnbench.cli.dry_run import show_plan

        show_plan(comparison, how, durations, as_json)
        return
    board = written_leaderboard(folder)
    show(folder, board, as_json)
    short = _short_of(board, min_coverage)
    for line in short:
        typer.echo(line, err=True)
    if board.failures:
        typer.echo(_what_failed(board, folder), err=True)
    if board.failures or short:
        raise typer.Exit(INCOMPLETE)


def _durations(comparison: Comparison) -> Durations:
    """How long rows and benchmarks take; what nothing is known of is tried for a moment."""
    known = comparison.durations()
    if not comparison.due:
        return known
    from unlearnbench.execution.timing import with_trials

    return with_trials(comparison, known)


def _loadable(recipe: Recipe, cache: Path, problems: Problems) -> tuple[Recipe, dict[str, str]]:
    """What of a recipe can be loaded, and the rows that will fail because theirs cannot, which are told of now."""
    from unlearnbench.execution.plugin_trial import examine

    recipe, broken = examine(recipe, cache, problems)
    for row, reason in broken.items():
        typer.echo(f"warning: the row {row} will fail: {reason}", err=True)
    return recipe, broken


def _what_failed(board: Leaderboard, folder: Path) -> str:
    """How many cells failed, where it is said why, and how to try again."""
    cells = counted(len(board.failures), "cell")
    return f"{cells} failed: {folder / 'logs'} says how, and the same command with --retry-failed computes what failed again."


def _short_of(board: Leaderboard, least: float) -> list[str]:
    """A sentence for each score that too few items have; cells that failed are told of elsewhere."""
    return [
        f"{row.variant}: {name} has a score for {score.scored} of {score.asked} items, below --min-coverage {least:g}; "
        "the same command asks for what is missing."
        for row in board.rows
        for name, score in row.scores.items()
        if score.scored is not None and score.asked and score.scored < least * score.asked
    ]


def _execute(comparison: Comparison, how: Execution, table: TableSettings | None) -> None:
    from unlearnbench.cli.progress import ProgressReporter
    from unlearnbench.execution.compare import execute

    with ProgressReporter(comparison.jobs) as reporter:
        try:
            for result in execute(comparison, reporter, how, settings=table):
                reporter.finished(result)
        except KeyboardInterrupt:
            reporter.say(f"Finished cells are kept in {comparison.run.root}; the same command goes on from there.")
            raise


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
