"""The leaderboard as markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

from tabulate import tabulate

from unlearnbench.leaderboard import Leaderboard
from unlearnbench.reports.cells import Grid, lay_out, notes

Format = Literal["markdown", "latex", "csv"]


def render(boards: Sequence[Leaderboard], style: Format, *, parts: bool = False) -> str:
    """One table per leaderboard; the notes below it, but not in CSV."""
    return "\n\n".join(_render(board, style, parts) for board in boards)


def _render(board: Leaderboard, style: Format, parts: bool) -> str:
    grid = lay_out(board, parts=parts)
    if style == "csv":
        return _csv(grid)
    if style == "latex":
        table = tabulate(grid.rows, headers=grid.head, tablefmt="latex_booktabs", disable_numparse=True)
        arrows = {"↓": r"$\downarrow$", "↑": r"$\uparrow$"}
        for arrow, command in arrows.items():
            table = table.replace(arrow, command)
        return table
    cells = [[_escape(cell) for cell in row] for row in grid.rows]
    table = tabulate(cells, headers=[_escape(name) for name in grid.head], tablefmt="pipe", disable_numparse=True)
    return "\n".join([table, "", *(f"> {_escape(line)}" for line in notes(board))])


def _escape(text: str) -> str:
    """Markdown shows names as they are: no cell borders, no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _csv(grid: Grid) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([grid.head, *grid.rows])
    return buffer.getvalue().rstrip("\n")
