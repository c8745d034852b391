"""The leaderboard in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from unlearnbench.records.costs import COST_COLUMNS
from unlearnbench.records.leaderboard import Leaderboard
from unlearnbench.reports.attacks import GONE, WORST, attack_columns, attack_notes
from unlearnbench.reports.formatting import notes, printable, publication_note
from unlearnbench.reports.grid import RUN, Grid, Line
from unlearnbench.reports.text import Choices

# what a narrow terminal loses, in this order; then columns of parts and, at the last, of scores, from the right
INTERVALS = "intervals"
LOSABLE = (*reversed(list(COST_COLUMNS)[1:]), "seeds", "unlearn", "best", "reaches", "F", "K", "rank", INTERVALS, "S")
ALWAYS = ("variant", "verdict")
MISSED = {"rank", INTERVALS}  # rather than these, long names take two lines
LONG_NAME = 12  # characters; a longer one may take two lines
MOST_NAMES = 16  # of columns that a note lists
CELL_BORDER = 3  # characters per column: a line and two spaces


def render(board: Leaderboard, choices: Choices | None = None, *, width: int = 80) -> RenderableType:
    """Return a rich table with its notes; names and messages are shown as they are, markup in them is not obeyed.

    Args:
        board: the leaderboard.
        choices: choice of columns, order and decimals.
        width: width of the terminal; columns that do not fit are left out, and a line names them.
    """
    choices = choices or Choices()
    grid, lost = _fitting(board, choices, width)
    title = f"{board.recipe['name']}: {board.recipe['model']}"
    table = Table(title=_text(title, "bold"), title_justify="left", header_style="bold")
    for name, head in zip(grid.names, grid.head, strict=True):
        table.add_column(_text(head), justify="left" if name in ALWAYS else "right", no_wrap=name in ALWAYS, overflow="fold")
    last = "row"
    for line in grid.lines:
        run = line.kind in RUN
        if line.kind != last and not run:
            table.add_section()
        last = line.kind
        cells = (_cell(*pair) for pair in zip(line.cells, line.ranges, strict=True))
        table.add_row(*cells, style=None if run else "dim")
    lines = [*notes(board), *attack_notes(board), *publication_note(board, choices.publication)]
    if lost:
        lines.append(f"Left out in {width} columns: {_listed(lost)}; a wider terminal or --format markdown shows them.")
    return Group(table, *(_text(line, "dim") for line in lines))


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _cell(figure: str, span: str) -> Text:
    """Return a figure with its interval below."""
    return Text.assemble(printable(figure), *([("\n" + span, "dim")] if span else []))


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _fitting(board: Leaderboard, choices: Choices, width: int) -> tuple[Grid, list[str]]:
    """Return the table that loses least in a terminal of this width, and the columns that it loses."""
    under = [column.name for column in reversed(attack_columns(board)) if column.name not in (WORST, GONE)]
    costs = LOSABLE.index("best")
    losable = [*LOSABLE[:costs], *under, *([GONE] if under else []), *LOSABLE[costs:], *_scores(board, choices)]
    found = _fit(choices.grid(board), width, losable)
    for shape in (_compact, _tight, _narrow):
        if not MISSED & set(found[1]):
            break
        found = _fit(shape(choices.grid(board, digits=min(2, choices.precision))), width, losable)
    return found


def _scores(board: Leaderboard, choices: Choices) -> list[str]:
    """Return the columns of scores in the order in which they are lost: first parts, from the right; one always stays."""
    whole = {column.title for column in board.columns}
    attacked = [column.name for column in attack_columns(board)]
    names = [name for name in choices.grid(board).names if name not in (*LOSABLE, *ALWAYS, *attacked)]
    parts = [name for name in names if name not in whole]
    return [*reversed(parts), *reversed([name for name in names if name in whole][1:])]


def _compact(grid: Grid) -> Grid:
    """Return the grid with long headings and verdicts on two lines, as figures and their intervals are."""
    breaks = {
        "verdict": [("-damaged", "-\ndamaged")],
        "variant": [(" (tuned ", "\n(tuned "), (" + ", "\n+ ")],
        WORST: [(" ", "\n")],
    }
    return replace(_broken(grid, breaks), head=[name.replace(" (", "\n(") for name in grid.head])


def _tight(grid: Grid) -> Grid:
    """Return the grid with every text that can be broken on lines of its own."""
    breaks = {"verdict": [("-", "-\n")], "variant": [(" (", "\n("), (" + ", "\n+ "), ("@", "\n@")], WORST: [(" ", "\n")]}
    return replace(_broken(grid, breaks), head=[name.replace(" (", "\n(").replace("/", "/\n") for name in grid.head])


def _narrow(grid: Grid) -> Grid:
    """Return the grid with long names on lines that end with their hyphens."""
    grid = _tight(grid)
    place = grid.names.index("variant")

    def wrapped(line: Line) -> Line:
        name = "\n".join(textwrap.fill(part, LONG_NAME, break_long_words=False) for part in line.cells[place].split("\n"))
        return replace(line, cells=[*line.cells[:place], name, *line.cells[place + 1 :]])

    return replace(grid, lines=[wrapped(line) for line in grid.lines])


def _broken(grid: Grid, breaks: dict[str, list[tuple[str, str]]]) -> Grid:
    """Return the grid with some columns' texts broken into lines."""

    def cells(line: Line) -> list[str]:
        texts = list(line.cells)
        for place, name in enumerate(grid.names):
            for old, new in breaks.get(name, ()):
                texts[place] = texts[place].replace(old, new)
        return texts

    return replace(grid, lines=[replace(line, cells=cells(line)) for line in grid.lines])


def _fit(grid: Grid, width: int, losable: Sequence[str]) -> tuple[Grid, list[str]]:
    """Return the table without the columns that a terminal of this width has no room for, and their names."""
    lost: list[str] = []
    for name in (name for name in losable if name == INTERVALS or name in grid.names):
        if width_of(zip(*grid.all_lines(), strict=True)) <= width or grid.names == [name]:
            break
        grid = grid.without_ranges() if name == INTERVALS else grid.without(name)
        lost.append(name)
    return grid, lost


def width_of(columns: Iterable[Iterable[str]]) -> int:
    """Return the width of a table of these columns, each with its heading."""
    return sum(max(map(_widest, column)) + CELL_BORDER for column in columns) + 1


def _widest(cell: str) -> int:
    return max(map(cell_len, cell.split("\n")))
