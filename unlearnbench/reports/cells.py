"""The cells of a leaderboard as text, shared by every report: one heading, one figure, one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unlearnbench.leaderboard import Column, Leaderboard, Row, column_value
from unlearnbench.recipe import BASELINE

ARROWS = {"forget": "↓", "retain": "↑", "untargeted": ""}
MISSING = "-"


@dataclass(frozen=True)
class Grid:
    """A leaderboard as rows of text; `failed` names the rows with cells that did not finish."""

    head: list[str]
    rows: list[list[str]]
    failed: frozenset[str] = frozenset()


def figure(value: float | None, unit: str = "fraction") -> str:
    """A score with three decimals, as a fraction without its leading zero; ratings with two."""
    if value is None:
        return MISSING
    if unit != "fraction":
        return f"{value:.2f}"
    text = f"{value:.3f}"
    return text[1:] if text.startswith("0.") else text


def heading(column: Column) -> str:
    """The column's title with the arrow that says which way is good."""
    judged = f" ({column.note})" if column.note else ""
    return f"{column.title}{judged} {ARROWS[column.role]}".strip()


def lay_out(board: Leaderboard, *, parts: bool = False) -> Grid:
    """The table: a row per variant, the baseline first, and last the score of knowing nothing.

    Args:
        board: the leaderboard.
        parts: add a column for each part of each benchmark.
    """
    units = {info.name: info.unit for info in board.benchmarks}
    columns = [extra for column in board.columns for extra in ([column, *_parts_of(column, board)] if parts else [column])]
    head = ["rank", "variant", *(heading(c) for c in columns), "F ↑", "K ↑", "S ↑", "seeds", "unlearn"]
    rows = [_row(row, columns, units) for row in board.rows]
    chance = ["", "chance", *(figure(c.chance, units[c.benchmark]) for c in columns), "", "", "", "", ""]
    failed = frozenset(row.variant for row in board.rows if row.status != "done")
    return Grid(head, [*rows, chance], failed)


def _parts_of(column: Column, board: Leaderboard) -> list[Column]:
    names: dict[str, None] = {}
    for row in board.rows:
        score = row.scores.get(column.benchmark)
        names |= dict.fromkeys(score.parts if score else {})
    wanted = list(names) if column.parts is None else column.parts
    if len(wanted) < 2:
        return []
    return [column.model_copy(update={"title": f"{column.benchmark}/{part}", "parts": [part]}) for part in wanted]


def _row(row: Row, columns: Sequence[Column], units: dict[str, str]) -> list[str]:
    name = f"{row.variant} (base)" if row.variant == BASELINE else row.variant
    if row.status in ("failed", "diverged"):
        name = f"{name} ({row.status})"
    summary = row.summary
    shares = [summary.forget.value, summary.keep.value, summary.score.value] if summary else [None] * 3
    seconds = row.cost.unlearn_seconds
    return [
        str(row.rank) if row.rank is not None else "",
        name,
        *(figure(column_value(row, column), units[column.benchmark]) for column in columns),
        *(figure(share) for share in shares),
        str(len(row.seeds)),
        f"{seconds:.1f} s" if seconds is not None else MISSING,
    ]


def notes(board: Leaderboard) -> list[str]:
    """What a reader must know to read the table."""
    lines = [
        "↓ to be forgotten: close to chance is best. ↑ to be kept. S is the harmonic mean of F, the share of forget "
        "knowledge that is gone, and K, the share of retain knowledge that is left; ranks go by S, without intervals yet."
    ]
    dull = [info.name for info in board.benchmarks if info.informative is False]
    if dull:
        lines.append(f"Not informative, left out of F, K and S: the base model is not above chance on {', '.join(dull)}.")
    lines += [f"{failure['status']}: {failure['cell']}: {failure['error']}" for failure in board.failures]
    return lines
