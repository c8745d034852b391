"""The leaderboard as markdown, LaTeX or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

from tabulate import tabulate

from unlearnbench.board import Estimate, Leaderboard
from unlearnbench.reports.cells import estimate_of, lay_out, notes, shown_columns

Format = Literal["markdown", "latex", "csv"]


def render(boards: Sequence[Leaderboard], style: Format, *, parts: bool = False) -> str:
    """One table per leaderboard, intervals in brackets and notes below; in CSV plain numbers, intervals in columns."""
    return "\n\n".join(_render(board, style, parts) for board in boards)


def _render(board: Leaderboard, style: Format, parts: bool) -> str:
    if style == "csv":
        return _csv(board, parts)
    grid = lay_out(board, parts=parts)
    if style == "latex":
        table = tabulate(grid.inline(), headers=grid.head, tablefmt="latex_booktabs", disable_numparse=True)
        arrows = {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"}
        for arrow, command in arrows.items():
            table = table.replace(arrow, command)
        return table
    cells = [[_escape(cell) for cell in row] for row in grid.inline()]
    table = tabulate(cells, headers=[_escape(name) for name in grid.head], tablefmt="pipe", disable_numparse=True)
    return "\n".join([table, "", *(f"> {_escape(line)}" for line in notes(board))])


def _escape(text: str) -> str:
    """Markdown shows names as they are: no cell borders, no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _csv(board: Leaderboard, parts: bool) -> str:
    """For other programs: every digit, no arrows, `low` and `high` of each figure."""
    columns = shown_columns(board, parts=parts)
    names = [*(column.title for column in columns), "F", "K", "S"]
    spread = [f"{name}{suffix}" for name in names for suffix in ("", " low", " high")]
    lines: list[list[object]] = [
        ["rank", "variant", *spread, "best", "pareto", "verdict", "status", "seeds", "unlearn_seconds", "tuned"]
    ]
    for row in board.rows:
        summary = row.summary
        shares = (summary.forget, summary.keep, summary.score) if summary else (None, None, None)
        figures = [_numbers(one) for one in (*(estimate_of(row, column) for column in columns), *shares)]
        best, pareto = (summary.best_share, summary.pareto) if summary else (None, None)
        rest = [best, pareto, row.verdict, row.status, len(row.seeds), row.cost.unlearn_seconds, row.tuned]
        lines.append([row.rank, row.variant, *(number for three in figures for number in three), *rest])
    chance = [number for column in columns for number in (column.chance, None, None)]
    lines.append([None, "chance", *chance, *[None] * (len(lines[0]) - 2 - len(chance))])
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(lines)
    return buffer.getvalue().rstrip("\n")


def _numbers(estimate: Estimate | None) -> tuple[float | None, ...]:
    return (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
