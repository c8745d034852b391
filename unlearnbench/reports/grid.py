"""A leaderboard as a grid of text: the columns as users name them, each row in full, sorted and selected."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from unlearnbench.errors import unknown_name
from unlearnbench.records.leaderboard import Column, Estimate, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.attacks import AttackColumn, attack_columns
from unlearnbench.reports.attacks import cell as attack_cell
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
        name: name of the variant, or of what the row is instead.
        cells: text of each column.
        ranges: interval of each cell; empty where it has none.
        order: full values of the cells, by which the row also sorts; None comes last.
        limits: full ends of the intervals.
        kind: kind of the row: `base` comes first, then the `reference`, `row`s, `chance`, and what others have `published`.
        best: columns in which the row is significantly better than every other.
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
        names: columns as users type them.
        head: columns as they are shown.
        lines: the rows.
        figures: columns that may have intervals.
        ideals: ideals of columns whose best is neither the least nor the most.
    """

    names: list[str]
    head: list[str]
    lines: list[Line]
    figures: frozenset[str] = frozenset()
    ideals: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def rows(self) -> list[list[str]]:
        """Return the cells of every line."""
        return [line.cells for line in self.lines]

    @property
    def ranges(self) -> list[list[str]]:
        """Return the intervals of every line."""
        return [line.ranges for line in self.lines]

    def select(self, names: Sequence[str]) -> Grid:
        """Return the grid with these columns, in this order.

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
        """Return the grid without a column."""
        return self.without_all([name])

    def without_all(self, names: Collection[str]) -> Grid:
        """Return the grid without some columns."""
        return self.select([other for other in self.names if other not in names])

    def sorted_by(self, name: str) -> Grid:
        """Return the grid with the rows in the order of a column, the best first; `-NAME` reverses it.

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
        base, rest = ([line for line in self.lines if line.kind in kinds] for kinds in (RUN[:2], ("chance", "published")))
        return replace(self, lines=[*base, *ordered, *rest])

    def place(self, name: str, flag: str) -> int:
        """Return the index of a column, by its name or its heading."""
        for form in (str, str.casefold):
            for place, names in enumerate(zip(self.names, self.head, strict=True)):
                if form(name) in map(form, names):
                    return place
        raise unknown_name(f"column in {flag}", name, self.names)

    def without_ranges(self) -> Grid:
        """Return the grid without intervals."""
        return replace(self, lines=[replace(line, ranges=[""] * len(line.cells)) for line in self.lines])

    def all_lines(self) -> list[list[str]]:
        """Return everything that is in a column, for each column."""
        return [self.head, *self.rows, *self.ranges]

    def inline(self) -> list[list[str]]:
        """Return the rows with each figure's interval beside it."""
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
    """Lay out the table: a row per variant, the baseline first, then the score of knowing nothing, then published rows.

    Args:
        board: the leaderboard.
        parts: true to add a column for each part of each benchmark.
        measures: secondary measures that are shown, too; `all` for every one.
        precision: decimals of figures.
        digits: decimals of the intervals' ends, where they are not those of the figures.
        publication: published rows to show below, with a column for each part that they have scores of.
    """
    units = {info.name: info.unit for info in board.benchmarks}
    columns = _columns(board, parts, measures, publication)
    titles = [heading(column, board) for column in columns]
    attacked = attack_columns(board)
    under = [column.name for column in attacked]
    names = ["rank", "variant", *(column.title for column in columns), *AFTER[:3], *under, *AFTER[3:]]
    head = ["rank", "variant", *titles, "F ↑", "K ↑", "S ↑", *(column.head for column in attacked), *AFTER[3:]]
    style = _Style(units, precision, digits or precision, tuple(attacked))
    lines = [_line(row, board, columns, style) for row in board.rows]
    lines.append(_outside("chance", [column.chance for column in columns], columns, style, "chance"))
    for published in publication.rows if publication else ():
        figures = [published.scores.get(key) if (key := published_key(column)) else None for column in columns]
        if any(value is not None for value in figures):
            lines.append(_outside(f"{published.name} (published)", figures, columns, style, "published"))
    ideals = {column.title: column.ideal for column in columns if board.reference and column.ideal is not None}
    return Grid(names, head, lines, frozenset([*(column.title for column in columns), *AFTER[:3], *under]), ideals)


def _columns(board: Leaderboard, parts: bool, measures: Sequence[str], publication: Publication | None) -> list[Column]:
    """The columns of scores; a publication asks for the parts that it has scores of."""
    if parts or publication is None:
        return shown_columns(board, parts=parts, measures=measures)
    every = shown_columns(board, parts=True, measures=measures)
    return [column for column in every if column in board.columns or published_key(column) in publication.columns]


@dataclass(frozen=True)
class _Style:
    """The units of the benchmarks, decimals of figures and intervals, and the columns on attacks."""

    units: dict[str, str]
    precision: int
    digits: int
    attacked: tuple[AttackColumn, ...] = ()

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
        style.value(score.value if score else None, column) + judged(row, column)
        for score, column in zip(scores, columns, strict=True)
    ]
    spans = [style.span(score, column) for score, column in zip(scores, columns, strict=True)]
    titles = [*(column.title for column in columns), "forget", "keep", "score"]
    under = [column.of(row) for column in style.attacked]
    every = [*scores, *shares, *(value for value, _ in under)]
    return Line(
        name=row.variant,
        cells=[
            rank_text(row, board),
            row_title(row.variant, row.tuned),
            *figures,
            *(figure(share.value if share else None, digits=style.precision) for share in shares),
            *(attack_cell(value, behind, style.precision) for value, behind in under),
            *(text for text, _ in after),
        ],
        ranges=["", "", *spans, *(span(share, digits=style.digits) for share in every[len(scores) :]), *[""] * len(after)],
        order=[row.rank, row.variant, *(entry.value if entry else None for entry in every), *(key for _, key in after)],
        limits=[NO_LIMITS] * 2
        + [(entry.low, entry.high) if entry else NO_LIMITS for entry in every]
        + [NO_LIMITS] * len(after),
        kind="base" if row.variant == BASELINE else "reference" if row.variant in board.reference else "row",
        best=frozenset(place for place, title in enumerate(titles, 2) if board.best.get(title) == row.variant),
    )


def _outside(
    name: str, figures: Sequence[float | None], columns: Sequence[Column], style: _Style, kind: Literal["chance", "published"]
) -> Line:
    """Return a row that was not run: chance, or a published one."""
    cells = [style.value(value, column) for value, column in zip(figures, columns, strict=True)]
    behind = len(AFTER) + len(style.attacked)
    cells = ["", name, *cells, *[""] * behind]
    order = [None, name, *figures, *[None] * behind]
    return Line(name, cells, [""] * len(cells), order, [NO_LIMITS] * len(cells), kind)
