"""A leaderboard as a grid of text: the columns as users name them, each row in full, sorted and selected."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from unlearnbench.errors import unknown_name
from unlearnbench.records.leaderboard import Column, Estimate, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.formatting import (
    AFTER,
    MISSING,
    costs_of,
    estimate_of,
    figure,
    heading,
    judged,
    published_key,
    rank_text,
    reaches,
    row_title,
    shown_columns,
    span,
)
from unlearnbench.reports.published import Publication

NO_LIMITS = (None, None)
FALLING = ("best", "reaches", "seeds")  # columns without an arrow whose largest comes first
RUN = ("base", "reference", "row")  # kinds of lines that were run


@dataclass(frozen=True)
class Line:
    """One row as text.

    Attributes:
        name: of the variant, or of what the row is instead.
        cells: what stands in each column.
        ranges: the interval of each cell; empty where it has none.
        order: what the cells say in full, which the row also sorts by; None comes last.
        limits: the intervals likewise.
        kind: `base` stands first, then the `reference`, `row`s, `chance`, and what others have `published`.
        best: the columns in which the row is significantly better than every other.
    """

    name: str
    cells: list[str]
    ranges: list[str]
    order: list[float | str | None]
    limits: list[tuple[float | None, float | None]]
    kind: Literal["base", "reference", "row", "chance", "published"] = "row"
    best: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Grid:
    """A leaderboard as lines of text.

    Attributes:
        names: the columns as users type them.
        head: the same as they are shown.
        lines: the rows.
        figures: the columns that may have intervals.
        ideals: of columns whose best is neither the least nor the most.
    """

    names: list[str]
    head: list[str]
    lines: list[Line]
    figures: frozenset[str] = frozenset()
    ideals: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def rows(self) -> list[list[str]]:
        """The cells of every line."""
        return [line.cells for line in self.lines]

    @property
    def ranges(self) -> list[list[str]]:
        """The intervals of every line."""
        return [line.ranges for line in self.lines]

    def select(self, names: Sequence[str]) -> Grid:
        """The same with these columns, in this order.

        Raises:
            UsageError: there is no such column.
        """
        places = [self.place(name, "--columns") for name in names]
        lines = [
            replace(
                line,
                cells=[line.cells[i] for i in places],
                ranges=[line.ranges[i] for i in places],
                order=[line.order[i] for i in places],
                limits=[line.limits[i] for i in places],
                best=frozenset(new for new, old in enumerate(places) if old in line.best),
            )
            for line in self.lines
        ]
        return replace(self, names=[self.names[i] for i in places], head=[self.head[i] for i in places], lines=lines)

    def without(self, name: str) -> Grid:
        """The same without a column."""
        return self.without_all([name])

    def without_all(self, names: Collection[str]) -> Grid:
        """The same without some columns."""
        return self.select([other for other in self.names if other not in names])

    def sorted_by(self, name: str) -> Grid:
        """The same with the rows in the order of a column, the best first; `-NAME` turns it round.

        Raises:
            UsageError: there is no such column.
        """
        place = self.place(name.removeprefix("-"), "--sort")
        rows = [line for line in self.lines if line.kind == "row"]
        known = [line for line in rows if line.order[place] is not None]
        falls = self.head[place].endswith("↑") or self.names[place] in FALLING
        ideal = self.ideals.get(self.names[place])

        def key(line: Line) -> Any:
            value = line.order[place]
            return value if ideal is None or not isinstance(value, float) else abs(value - ideal)

        known.sort(key=key, reverse=falls != name.startswith("-"))
        ordered = [*known, *(line for line in rows if line.order[place] is None)]
        base, rest = ([one for one in self.lines if one.kind in kinds] for kinds in (RUN[:2], ("chance", "published")))
        return replace(self, lines=[*base, *ordered, *rest])

    def place(self, name: str, flag: str) -> int:
        """Where a column stands, by its name or its heading."""
        for form in (str, str.casefold):
            for place, names in enumerate(zip(self.names, self.head, strict=True)):
                if form(name) in map(form, names):
                    return place
        raise unknown_name(f"column in {flag}", name, self.names)

    def without_ranges(self) -> Grid:
        """The same without intervals."""
        return replace(self, lines=[replace(line, ranges=[""] * len(line.cells)) for line in self.lines])

    def all_lines(self) -> list[list[str]]:
        """Everything that stands in a column."""
        return [self.head, *self.rows, *self.ranges]

    def inline(self) -> list[list[str]]:
        """The rows with each figure's interval beside it."""
        return [
            [f"{cell} ({span})" if span else cell for cell, span in zip(line.cells, line.ranges, strict=True)]
            for line in self.lines
        ]


def lay_out(
    board: Leaderboard,
    *,
    parts: bool = False,
    measures: Sequence[str] = (),
    precision: int = 3,
    digits: int | None = None,
    publication: Publication | None = None,
) -> Grid:
    """The table: a row per variant, the baseline first, then the score of knowing nothing, then what others published.

    Args:
        board: the leaderboard.
        parts: add a column for each part of each benchmark.
        measures: secondary measures that are shown, too; `all` for every one.
        precision: decimals of figures.
        digits: decimals of the intervals' ends, where they are not those of the figures.
        publication: published rows to stand below, with a column for each part that it has scores of.
    """
    units = {info.name: info.unit for info in board.benchmarks}
    columns = _columns(board, parts, measures, publication)
    titles = [heading(column, board) for column in columns]
    names = ["rank", "variant", *(column.title for column in columns), *AFTER]
    head = ["rank", "variant", *titles, "F ↑", "K ↑", "S ↑", *AFTER[3:]]
    style = _Style(units, precision, digits or precision)
    lines = [_line(row, board, columns, style) for row in board.rows]
    lines.append(_outside("chance", [column.chance for column in columns], columns, style, "chance"))
    for published in publication.rows if publication else ():
        figures = [published.scores.get(key) if (key := published_key(column)) else None for column in columns]
        if any(value is not None for value in figures):
            lines.append(_outside(f"{published.name} (published)", figures, columns, style, "published"))
    ideals = {column.title: column.ideal for column in columns if board.reference and column.ideal is not None}
    return Grid(names, head, lines, frozenset([*(column.title for column in columns), *AFTER[:3]]), ideals)


def _columns(board: Leaderboard, parts: bool, measures: Sequence[str], publication: Publication | None) -> list[Column]:
    """The columns of scores; a publication asks for the parts that it has scores of."""
    if parts or publication is None:
        return shown_columns(board, parts=parts, measures=measures)
    every = shown_columns(board, parts=True, measures=measures)
    return [column for column in every if column in board.columns or published_key(column) in publication.columns]


@dataclass(frozen=True)
class _Style:
    """The units of the benchmarks, and decimals of figures and intervals."""

    units: dict[str, str]
    precision: int
    digits: int

    def value(self, value: float | None, column: Column) -> str:
        return figure(value, self.units[column.benchmark], self.precision)

    def span(self, estimate: Estimate | None, column: Column) -> str:
        return span(estimate, self.units[column.benchmark], self.digits)


def _line(row: Row, board: Leaderboard, columns: Sequence[Column], style: _Style) -> Line:
    summary = row.summary
    scores = [estimate_of(row, column) for column in columns]
    shares = [summary.forget, summary.keep, summary.score] if summary else [None] * 3
    best = summary.best_share if summary else None
    verdict = row.verdict or ("" if row.status == "done" else row.status)
    after = [
        (MISSING if best is None else f"{best:.0%}", best),
        (verdict, verdict or None),
        (reaches(row), reaches(row) or None),
        (str(len(row.seeds)), len(row.seeds)),
        *costs_of(row).values(),
    ]
    figures = [
        style.value(one.value if one else None, column) + judged(row, column)
        for one, column in zip(scores, columns, strict=True)
    ]
    spans = [style.span(one, column) for one, column in zip(scores, columns, strict=True)]
    titles = [*(column.title for column in columns), "forget", "keep", "score"]
    every = [*scores, *shares]
    return Line(
        name=row.variant,
        cells=[
            rank_text(row, board),
            row_title(row.variant, row.tuned),
            *figures,
            *(figure(one.value if one else None, digits=style.precision) for one in shares),
            *(text for text, _ in after),
        ],
        ranges=["", "", *spans, *(span(one, digits=style.digits) for one in shares), *[""] * len(after)],
        order=[row.rank, row.variant, *(one.value if one else None for one in every), *(key for _, key in after)],
        limits=[NO_LIMITS] * 2 + [(one.low, one.high) if one else NO_LIMITS for one in every] + [NO_LIMITS] * len(after),
        kind="base" if row.variant == BASELINE else "reference" if row.variant in board.reference else "row",
        best=frozenset(place for place, title in enumerate(titles, 2) if board.best.get(title) == row.variant),
    )


def _outside(
    name: str, figures: Sequence[float | None], columns: Sequence[Column], style: _Style, kind: Literal["chance", "published"]
) -> Line:
    """A row that was not run: chance, or what somebody published."""
    cells = [style.value(value, column) for value, column in zip(figures, columns, strict=True)]
    cells = ["", name, *cells, *[""] * len(AFTER)]
    order = [None, name, *figures, *[None] * len(AFTER)]
    return Line(name, cells, [""] * len(cells), order, [NO_LIMITS] * len(cells), kind)
