"""The leaderboard in a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearnbench.leaderboard import Leaderboard
from unlearnbench.reports.cells import lay_out, notes


def render(board: Leaderboard, *, parts: bool = False) -> RenderableType:
    """A rich table with its notes; names and messages are shown as they are, markup in them is not obeyed."""
    grid = lay_out(board, parts=parts)
    title = f"{board.recipe['name']}: {board.recipe['model']}"
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for number, name in enumerate(grid.head):
        table.add_column(Text(name), justify="left" if number == 1 else "right", overflow="fold")
    for row in grid.rows:
        last = row is grid.rows[-1]
        if last:
            table.add_section()
        table.add_row(*(Text(cell) for cell in row), style="dim" if last else None)
    return Group(table, *(Text(line, style="dim") for line in notes(board)))
