"""The leaderboard in a terminal."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearnbench.board import Leaderboard
from unlearnbench.reports.cells import Grid, lay_out, notes

# what a narrow terminal loses, in this order; scores, names and verdicts always stay
INTERVALS = "95% intervals"
LOSABLE = ("seeds", "unlearn", "best", "F ↑", "K ↑", "rank", INTERVALS, "S ↑")
CELL_BORDER = 3  # characters per column: a line and two spaces


def render(board: Leaderboard, *, parts: bool = False, width: int = 80) -> RenderableType:
    """A rich table with its notes; names and messages are shown as they are, markup in them is not obeyed.

    Args:
        board: the leaderboard.
        parts: add a column for each part of each benchmark.
        width: of the terminal; columns that do not fit are left out, and a line says which.
    """
    grid, lost = _fit(lay_out(board, parts=parts), width)
    if "rank" in lost:
        grid, lost = _fit(_compact(lay_out(board, parts=parts, digits=2)), width)
    title = f"{board.recipe['name']}: {board.recipe['model']}"
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for name in grid.head:
        words = name in ("variant", "verdict")
        table.add_column(Text(name), justify="left" if words else "right", no_wrap=words, overflow="fold")
    for number, (row, spans) in enumerate(zip(grid.rows, grid.ranges, strict=True)):
        last = number == len(grid.rows) - 1
        if last:
            table.add_section()
        table.add_row(*(_cell(*pair) for pair in zip(row, spans, strict=True)), style="dim" if last else None)
    lines = notes(board)
    if lost:
        lines.append(f"Left out in {width} columns: {', '.join(lost)}; a wider terminal or --format markdown shows them.")
    return Group(table, *(Text(line, style="dim") for line in lines))


def _cell(figure: str, span: str) -> Text:
    """A figure with its interval below."""
    return Text.assemble(figure, *([("\n" + span, "dim")] if span else []))


def _compact(grid: Grid) -> Grid:
    """The same with long headings and verdicts on two lines, as figures and their intervals are."""
    place = grid.head.index("verdict")
    rows = [[*row[:place], row[place].replace("-damaged", "-\ndamaged"), *row[place + 1 :]] for row in grid.rows]
    named = grid.head.index("variant")
    rows = [[*row[:named], row[named].replace(" (tuned ", "\n(tuned "), *row[named + 1 :]] for row in rows]
    return Grid([name.replace(" (", "\n(") for name in grid.head], rows, grid.ranges)


def _fit(grid: Grid, width: int) -> tuple[Grid, list[str]]:
    """The table without the columns that a terminal of this width has no room for, and their names."""
    lost: list[str] = []
    for name in LOSABLE:
        if sum(max(map(_widest, column)) + CELL_BORDER for column in zip(*grid.all_lines(), strict=True)) + 1 <= width:
            break
        grid = grid.without_ranges() if name == INTERVALS else grid.without(name)
        lost.append(name)
    return grid, lost


def _widest(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))
