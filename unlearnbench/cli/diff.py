"""`unlearnbench diff`: the changes between two comparisons, in settings and in scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearnbench.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from unlearnbench.leaderboard.diff import Difference, ScoreChange

# what a narrow terminal loses, in this order
LOSABLE = ("95% interval", "lost / gained", "items", "A", "B")


def diff(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of a comparison.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of another comparison.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")] = False,
) -> None:
    """Show the differences of two comparisons: settings and versions, then each shared row's scores with a paired test.

    Scores are compared on the items that both asked; p is McNemar's exact test where each has one seed, else that of the
    resampled difference, after Holm over all lines. * marks p below 0.05.
    """
    from unlearnbench.leaderboard.diff import differ
    from unlearnbench.reports.formatting import printable

    options.check_runs([first, second])
    found = differ(first, second)
    if as_json:
        typer.echo(json.dumps(found.model_dump(mode="json"), indent=1))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(printable(f"A: {first}\nB: {second}")))
    if found.settings:
        console.print(_settings(found))
    else:
        typer.echo("Their settings are the same.")
    for side, names in zip("AB", (found.only_first, found.only_second), strict=True):
        if names:
            console.print(Text(printable(f"Rows only in {side}: {', '.join(names)}")))
    if found.scores:
        table, lost = _scores(found, console.width)
        console.print(table)
        if lost:
            console.print(Text(f"Left out in {console.width} columns: {', '.join(lost)}; --json has all.", style="dim"))
    else:
        typer.echo("They have no row with scores in common.")


def _settings(found: Difference) -> Table:
    from rich.table import Table
    from rich.text import Text

    from unlearnbench.reports.formatting import printable

    table = Table(title="Settings", title_justify="left")
    for name in ("where", "setting", "A", "B"):
        table.add_column(name, overflow="fold")
    for setting in found.settings:
        values = ["-" if value is None else str(value) for value in (setting.before, setting.after)]
        table.add_row(*(Text(printable(text)) for text in (setting.where, setting.name, *values)))
    return table


def _scores(found: Difference, width: int) -> tuple[Table, list[str]]:
    """Return the table of scores, and the columns that a terminal of this width has no room for."""
    from rich.table import Table
    from rich.text import Text

    from unlearnbench.reports.formatting import printable
    from unlearnbench.reports.terminal import width_of

    heads = ["variant", "benchmark", "A", "B", "B - A", "95% interval", "p (Holm)", "items", "lost / gained"]
    columns = {head: [head, *cells] for head, *cells in zip(heads, *map(_line, found.scores), strict=True)}
    lost: list[str] = []
    for name in LOSABLE:
        if width_of(columns.values()) <= width:
            break
        del columns[name]
        lost.append(name)
    table = Table(title="Scores: B less A, on the items that both asked", title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in ("variant", "benchmark") else "right", overflow="fold")
    for cells in zip(*(cells[1:] for cells in columns.values()), strict=True):
        table.add_row(*(Text(printable(cell)) for cell in cells))
    return table, lost


def _line(row: ScoreChange) -> tuple[str, ...]:
    from unlearnbench.reports.formatting import figure

    change = figure(row.difference, row.unit)
    if row.difference is not None and row.difference > 0:
        change = f"+{change}"
    span = "-" if row.low is None else f"{figure(row.low, row.unit)} to {figure(row.high, row.unit)}"
    p = "-" if row.p is None else f"{row.p:.2g}{'*' if row.p < 0.05 else ''}"
    items = f"{row.n}" + (f" (+{row.only_one} in one)" if row.only_one else "")
    moved = "-" if row.lost is None else f"{row.lost} / {row.gained}"
    return (
        row.variant, row.benchmark, figure(row.before, row.unit), figure(row.after, row.unit), change, span, p, items, moved
    )  # fmt: skip
