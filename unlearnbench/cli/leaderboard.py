"""`unlearnbench leaderboard`: show finished comparisons again, from disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from unlearnbench.cli import options
from unlearnbench.errors import UsageError
from unlearnbench.verbs.recipes import split_list

if TYPE_CHECKING:
    from unlearnbench.records.leaderboard import Leaderboard
    from unlearnbench.reports.text import Choices, Format

FORMATS = ("terminal", "markdown", "latex", "csv", "json", "html")
PRECISION = 3
MOST_DIGITS = 6
JSON_TAKES = ("--sort", "--published")


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of comparisons; several become one table.")],
    style: Annotated[str, typer.Option("--format", help="terminal, markdown, latex, csv, json or html.")] = "terminal",
    parts: Annotated[bool, typer.Option("--parts", help="Show a column for each part of each benchmark, too.")] = False,
    measures: Annotated[
        str | None, typer.Option(metavar="all|NAMES", help="Show secondary measures of benchmarks that have several, too.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Columns to show, in this order: variant,wmdp,mmlu,S,verdict.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="Order rows by a column, the best first; -COLUMN reverses the order.")
    ] = None,
    precision: Annotated[str | None, typer.Option(metavar="N", help="Decimals of figures, 0 to 6; 3 by default.")] = None,
    published: Annotated[
        str | None, typer.Option(metavar="NAME", help="Published rows to show below yours: wmdp-paper.")
    ] = None,
    separate: Annotated[bool, typer.Option("--separate", help="One table for each comparison.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show how each row got its F, K, S, rank and verdict, instead of the table.")
    ] = False,
    trials: Annotated[
        bool, typer.Option("--trials", help="Show every trial of the search that chose the settings, instead of the table.")
    ] = False,
    rank_by: options.RankBy = None,
    damage_margin: options.DamageMargin = None,
    reference: options.Reference = None,
) -> None:
    """Show the table of one or more comparisons, with intervals, verdicts and ranks.

    F is the mean over topics of 1 - |score - ideal| / |base - ideal|, where the ideal is what the reference scores, or chance
    without one; K the minimum over what is to be kept of (score - chance) / (base - chance); both clipped to 0..1. S is their
    harmonic mean. A row's rank is 1 + the number of
    rows that are significantly better on the same items. --explain works all of it out with the numbers of the run.
    """
    options.choose("--format", style, FORMATS)
    options.check_runs(runs)
    looks = _given(parts, measures, columns, sort, precision, published)
    if trials:
        _refuse([*looks, *(["--explain"] if explain else [])], "--trials", "shows every trial in full")
        _show_trials(runs, style)
        return
    if explain:
        _refuse([*looks, *(["--format"] if style != "terminal" else [])], "--explain", "is plain text about every row")
    if style == "json":
        _refuse([flag for flag in looks if flag not in JSON_TAKES], "--format json", "has every column, part and digit")
    choices = _choices(parts, measures, columns, sort, precision, published)
    boards = _boards(runs, separate, rank_by, damage_margin, reference)
    if explain:
        from unlearnbench.reports import explain as explanation
        from unlearnbench.reports.formatting import printable

        typer.echo(printable("\n\n".join(explanation.render(board) for board in boards)))
    elif style == "terminal":
        from rich.console import Console

        from unlearnbench.reports import terminal

        console = Console()
        for board in boards:
            console.print(terminal.render(board, choices, width=console.width))
    elif style == "json":
        tables = [_record(board, choices) for board in boards]
        typer.echo(json.dumps(tables[0] if len(tables) == 1 else tables, indent=1))
    else:
        from unlearnbench.reports import text

        typer.echo(text.render(boards, cast("Format", style), choices))


def _given(
    parts: bool, measures: str | None, columns: str | None, sort: str | None, precision: str | None, published: str | None
) -> list[str]:
    """Return those of the options for the look of the table that were given."""
    flags = {
        "--parts": parts,
        "--measures": measures is not None,
        "--columns": columns is not None,
        "--sort": sort is not None,
        "--precision": precision is not None,
        "--published": published is not None,
    }
    return [flag for flag, here in flags.items() if here]


def _refuse(flags: list[str], other: str, why: str) -> None:
    """Refuse options that would change nothing.

    Raises:
        UsageError: with their names.
    """
    if flags:
        raise UsageError(f"{other} {why}: leave {' and '.join(flags)} out.")


def _record(board: Leaderboard, choices: Choices) -> dict[str, Any]:
    """Return the table as in leaderboard.json, its rows in the chosen order, with the published results beside it."""
    record = board.model_dump(mode="json", by_alias=True)
    if choices.sort is not None:
        from unlearnbench.reports.grid import RUN

        rows = {row["variant"]: row for row in record["rows"]}
        record["rows"] = [rows[line.name] for line in choices.grid(board).lines if line.kind in RUN]
    if choices.publication is not None:
        record["published"] = choices.publication.model_dump(mode="json")
    return record


def _choices(
    parts: bool, measures: str | None, columns: str | None, sort: str | None, precision: str | None, published: str | None
) -> Choices:
    from unlearnbench.reports.published import load_publication
    from unlearnbench.reports.text import Choices

    return Choices(
        parts=parts,
        measures=[] if measures is None else split_list("--measures", measures),
        columns=None if columns is None else split_list("--columns", columns),
        sort=sort,
        precision=PRECISION if precision is None else options.read_whole("--precision", precision, most=MOST_DIGITS),
        publication=None if published is None else load_publication(published),
    )


def _boards(
    runs: list[Path], separate: bool, rank_by: str | None, damage_margin: float | None, reference: list[str] | None
) -> list[Leaderboard]:
    """Return one table of all runs, or one for each."""
    from unlearnbench.leaderboard.reading import last_settings, read_leaderboard, table_settings

    rows = options.rows_of_reference(reference)
    settings = [table_settings(rank_by, damage_margin, last_settings(run), reference=rows) for run in runs]
    if len(runs) == 1 or separate:
        return [read_leaderboard(run, table_settings) for run, table_settings in zip(runs, settings, strict=True)]
    from unlearnbench.leaderboard.merge import merge

    return [merge(runs, settings[0])]


def _show_trials(runs: list[Path], style: str) -> None:
    """Print every trial of finished searches, in a terminal, as markdown or as JSON."""
    from unlearnbench.reports import tuning as trials
    from unlearnbench.runs.reading import TRIALS, TUNING, read_tuning

    options.choose("--format", style, ("terminal", "markdown", "json"))
    for run in runs:
        tuning = read_tuning(run)
        if tuning is None:
            raise UsageError(
                f"There was no search in {run}: {TUNING}/{TRIALS} is missing; `unlearnbench compare --tune N` makes one."
            )
        if style == "json":
            typer.echo(tuning.model_dump_json(indent=1, by_alias=True))
        elif style == "markdown":
            typer.echo(trials.markdown(tuning))
        else:
            from rich.console import Console

            Console().print(trials.render(tuning))
