"""The leaderboard in a terminal."""

from __future__ import annotations

from dataclasses import replace

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearnbench.board import Leaderboard
from unlearnbench.reports.cells import notes, reference_note
from unlearnbench.reports.grid import Grid, Line
from unlearnbench.reports.text import Choices

# what a narrow terminal loses, in this order; scores, names and verdicts always stay
INTERVALS = "95% intervals"
LOSABLE = ("tokens", "trained", "GPU memory", "memory", "evaluate", "seeds", "unlearn", "best", "F", "K", "rank", INTERVALS, "S")
CELL_BORDER = 3  # characters per column: a line and two spaces


def render(board: Leaderboard, choices: Choices | None = None, *, width: int = 80) -> RenderableType:
    """A rich table with its notes; names and messages are shown as they are, markup in them is not obeyed.

    Args:
        board: the leaderboard.
        choices: what of it is wanted.
        width: of the terminal; columns that do not fit are left out, and a line says which.
    """
    choices = choices or Choices()
    grid, lost = _fit(choices.grid(board), width)
    if "rank" in lost:
        grid, lost = _fit(_compact(choices.grid(board, digits=min(2, choices.precision))), width)
    title = f"{board.recipe['name']}: {board.recipe['model']}"
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="bold")
    for name, head in zip(grid.names, grid.head, strict=True):
        words = name in ("variant", "verdict")
        table.add_column(Text(head), justify="left" if words else "right", no_wrap=words, overflow="fold")
    last = "row"
    for line in grid.lines:
        run = line.kind in ("base", "row")
        if line.kind != last and not run:
            table.add_section()
        last = line.kind
        cells = (_cell(*pair) for pair in zip(line.cells, line.ranges, strict=True))
        table.add_row(*cells, style=None if run else "dim")
    lines = [*notes(board), *reference_note(board, choices.reference)]
    if lost:
        lines.append(f"Left out in {width} columns: {', '.join(lost)}; a wider terminal or --format markdown shows them.")
    return Group(table, *(Text(line, style="dim") for line in lines))


def _cell(figure: str, span: str) -> Text:
    """A figure with its interval below."""
    return Text.assemble(figure, *([("\n" + span, "dim")] if span else []))


def _compact(grid: Grid) -> Grid:
    """The same with long headings and verdicts on two lines, as figures and their intervals are."""

    def cells(line: Line) -> list[str]:
        pairs = zip(grid.names, line.cells, strict=True)
        broken = {"verdict": ("-damaged", "-\ndamaged"), "variant": (" (tuned ", "\n(tuned ")}
        return [cell.replace(*broken[name]) if name in broken else cell for name, cell in pairs]

    lines = [replace(line, cells=cells(line)) for line in grid.lines]
    return replace(grid, head=[name.replace(" (", "\n(") for name in grid.head], lines=lines)


def _fit(grid: Grid, width: int) -> tuple[Grid, list[str]]:
    """The table without the columns that a terminal of this width has no room for, and their names."""
    lost: list[str] = []
    for name in (name for name in LOSABLE if name == INTERVALS or name in grid.names):
        if sum(max(map(_widest, column)) + CELL_BORDER for column in zip(*grid.all_lines(), strict=True)) + 1 <= width:
            break
        grid = grid.without_ranges() if name == INTERVALS else grid.without(name)
        lost.append(name)
    return grid, lost


def _widest(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))
