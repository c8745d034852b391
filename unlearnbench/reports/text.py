"""The leaderboard as markdown, LaTeX, HTML or CSV."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

from unlearnbench.errors import unknown_name
from unlearnbench.records.costs import COST_COLUMNS
from unlearnbench.records.leaderboard import Leaderboard
from unlearnbench.reports.attacks import attack_notes
from unlearnbench.reports.formatting import notes, percent, publication_note, unmeasured
from unlearnbench.reports.grid import RUN, Grid, lay_out
from unlearnbench.reports.published import Publication

Format = Literal["markdown", "latex", "csv", "html"]
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "→": r"$\rightarrow$",
    "–": "--",
}


@dataclass(frozen=True, kw_only=True)
class Choices:
    """The choices for a table's look.

    Attributes:
        parts: a column for each part of each benchmark, too.
        measures: names of secondary measures that are shown, too; `all` for every one.
        columns: names of the columns, in this order; None for all.
        sort: column that orders the rows, the best first; `-NAME` reverses it.
        precision: decimals of figures and intervals.
        publication: published rows to show below.
    """

    parts: bool = False
    measures: Sequence[str] = ()
    columns: Sequence[str] | None = None
    sort: str | None = None
    precision: int = 3
    publication: Publication | None = None

    def grid(self, board: Leaderboard, digits: int | None = None) -> Grid:
        """Return the table as chosen; `digits` are the decimals of intervals, where they differ."""
        publication = self.publication
        grid = lay_out(
            board,
            parts=self.parts,
            measures=self._measures(board),
            precision=self.precision,
            digits=digits,
            publication=publication,
        )
        grid = grid.sorted_by(self.sort) if self.sort is not None else grid
        return grid.select(self.columns) if self.columns else grid.without_all(unmeasured(board))

    def _measures(self, board: Leaderboard) -> Sequence[str]:
        """The secondary measures to show; every one where columns are chosen, or sorted by, by name.

        Raises:
            UsageError: there is none of the name.
        """
        have = [info.name for info in board.benchmarks if info.measure is not None]
        for name in self.measures:
            if name != "all" and name not in have and name not in [column.rpartition(":")[2] for column in have]:
                raise unknown_name("measure in --measures", name, ["all", *have])
        return ["all"] if self.columns or self.sort else self.measures


def render(boards: Sequence[Leaderboard], style: Format, choices: Choices | None = None) -> str:
    """Return one table per leaderboard, intervals in brackets and notes below; in CSV plain numbers, intervals in columns."""
    return "\n\n".join(_render(board, style, choices or Choices()) for board in boards)


def _render(board: Leaderboard, style: Format, choices: Choices) -> str:
    if style == "csv":
        return _csv(board, choices)
    lines = [*notes(board), *attack_notes(board), *publication_note(board, choices.publication)]
    if style == "latex":
        return _latex(choices.grid(board), lines, board.settings.level)
    grid = choices.grid(board)
    if style == "html":
        cells = [[html.escape(cell) for cell in row] for row in grid.inline()]
        heads = [html.escape(name) for name in grid.head]
        table = tabulate(cells, headers=heads, tablefmt="unsafehtml", disable_numparse=True)  # escaped above, quotes too
        return "\n".join([table, *(f"<p>{html.escape(line)}</p>" for line in lines)])
    cells = [[_cell(cell) for cell in row] for row in grid.inline()]
    table = tabulate(cells, headers=[_cell(name) for name in grid.head], tablefmt="pipe", disable_numparse=True)
    return "\n".join([table, "", *(f"> {_escape(line)}" for line in lines)])


def _cell(text: str) -> str:
    """Return a markdown cell that shows a name as it is: no emphasis, links or code."""
    return _escape(re.sub(r"([\\`*\[\]])", r"\\\1", text))


def _escape(text: str) -> str:
    """Return a line of markdown: no cell borders, no HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")


def _latex(grid: Grid, lines: Sequence[str], level: float) -> str:
    """Return a booktabs table; bold is what is significantly better than every other row, and nothing else.

    What was not run stands below a rule of its own.
    """
    cells = [
        [
            rf"\textbf{{{_tex(cell)}}}{_tex(span)}" if place in line.best else f"{_tex(cell)}{_tex(span)}"
            for place, (cell, span) in enumerate(zip(line.cells, [f" ({s})" if s else "" for s in line.ranges], strict=True))
        ]
        for line in grid.lines
    ]
    sides = ["left" if name in ("variant", "verdict") else "right" for name in grid.names]
    heads = [_tex(name) for name in grid.head]
    table = tabulate(cells, headers=heads, tablefmt="latex_raw", disable_numparse=True, colalign=sides)
    begin, _, head, _, *body, _, end = table.split("\n")  # the others are \hline
    run = sum(line.kind in RUN for line in grid.lines)
    rows = [begin, r"\toprule", head, r"\midrule", *body[:run], r"\midrule", *body[run:], r"\bottomrule", end]
    comments = [
        rf"% {line}"
        for line in [
            *lines,
            f"Bold: significantly better than every other ranked row ({percent(1 - level)}, Holm). Needs booktabs.",
        ]
    ]
    return "\n".join([*rows, *(" ".join(line.split()) for line in comments)])


def _tex(text: str) -> str:
    """Return text that LaTeX shows as it is."""
    return "".join(LATEX.get(letter, letter) for letter in text.replace("\n", " "))


def _csv_name(title: str) -> str:
    """Return a column's title, or for a cost the name that `leaderboard.json` has for it."""
    return COST_COLUMNS[title].field if title in COST_COLUMNS else title


def plain(board: Leaderboard, choices: Choices | None = None) -> tuple[list[str], list[list[object]]]:
    """Return the table for other programs, head and rows: every digit, no arrows, `low` and `high` of each figure."""
    choices = choices or Choices()
    grid = choices.grid(board)
    head = [f"{_csv_name(n)}{end}" for n in grid.names for end in (("", " low", " high") if n in grid.figures else ("",))]
    rows = {row.variant: row for row in board.rows}
    extra = [] if choices.columns else ["pareto", "status", "tuned"]
    lines: list[list[object]] = []
    for line in grid.lines:
        row = rows.get(line.name)
        values: list[object] = []
        for name, value, (low, high) in zip(grid.names, line.order, line.limits, strict=True):
            values += [value, low, high] if name in grid.figures else [value]
        summary = row.summary if row else None
        more = [summary.pareto if summary else None, row.status if row else line.kind, row.tuned if row else None]
        lines.append([*values, *(more if extra else [])])
    return [*head, *extra], lines


def _csv(board: Leaderboard, choices: Choices) -> str:
    head, lines = plain(board, choices)
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([head, *lines])
    return buffer.getvalue().rstrip("\n")
