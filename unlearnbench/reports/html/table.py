"""The leaderboard as a table that sorts: the text of each cell, and its sort key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from unlearnbench.records.costs import COST_COLUMNS
from unlearnbench.records.leaderboard import Column, Estimate, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.attacks import attack_columns
from unlearnbench.reports.formatting import (
    AFTER,
    MISSING,
    costs_of,
    estimate_of,
    figure,
    heading,
    judged,
    rank_text,
    reaches,
    row_title,
    shown_columns,
    span,
    unmeasured,
)
from unlearnbench.system.files import content_hash

HINTS = {
    "F ↑": "share of the forget knowledge that is gone",
    "K ↑": "share of the retain knowledge that is left, where least is left",
    "S ↑": "harmonic mean of F and K",
    "best": "share of resamples in which the row is first",
    "reaches": "whether every topic lies within the margin of the reference",
    **{title: cost.hint for title, cost in COST_COLUMNS.items()},
}


class Cell(NamedTuple):
    """One cell: its text, the text below it, its sort key, its class, and its link."""

    text: str
    span: str = ""
    sort: object = ""
    kind: str = ""
    link: str = ""


def anchor(kind: str, name: str) -> str:
    """Return an id that stays the same and that no name can break."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    plain = slug == name
    return f"{kind}-{slug}" if plain else f"{kind}-{slug}-{content_hash(name)[:6]}"


def lay_out(board: Leaderboard, *, parts: bool = False, measures: Sequence[str] = ()) -> dict[str, Any]:
    """Heads and rows for the template; the base stands first and chance last, whatever sorts the rest.

    Args:
        board: the leaderboard.
        parts: a column for each part of each benchmark, too.
        measures: secondary measures that have a column, too: `all` or names.
    """
    columns = shown_columns(board, parts=parts, measures=measures)
    units = {info.name: info.unit for info in board.benchmarks}
    attacked = attack_columns(board)
    after = ["F ↑", "K ↑", "S ↑", *(column.head for column in attacked), *_after(board)]
    fixed = (BASELINE, *board.reference)
    base = [_row(row, columns, units, board) for row in board.rows if row.variant in fixed]
    rows = [_row(row, columns, units, board) for row in board.rows if row.variant not in fixed]
    verdicts = sorted({row["verdict"] for row in rows} - {""})
    bodies = [("fixed", base), ("rows", rows), ("fixed", [_chance(columns, units, len(after))])]
    return {"heads": _heads(columns, after, board), "bodies": bodies, "verdicts": verdicts}


def _heads(columns: Sequence[Column], after: Sequence[str], board: Leaderboard) -> list[dict[str, str]]:
    """Return the heads; the first click on a figure sorts the best to the top."""
    scores = [
        {
            "title": heading(column, board),
            "kind": "",
            "hint": "",
            "first": "ascending" if column.role == "forget" else "descending",
        }
        for column in columns
    ]
    hints = {column.head: column.hint for column in attack_columns(board)}
    falling = [name for name in hints if name.endswith("↓")]
    first: dict[str, str] = dict.fromkeys(("verdict", *falling, *COST_COLUMNS), "ascending")
    rest = [
        {
            "title": name,
            "kind": "words" if name == "verdict" else "",
            "hint": {**HINTS, **hints}.get(name, ""),
            "first": first.get(name, "descending"),
        }
        for name in after
    ]
    rank = {"title": "rank", "kind": "", "hint": "1 + the number of rows significantly better", "first": "ascending"}
    return [rank, {"title": "variant", "kind": "words name", "hint": "", "first": "ascending"}, *scores, *rest]


def _row(row: Row, columns: Sequence[Column], units: dict[str, str], board: Leaderboard) -> dict[str, Any]:
    summary, costs = row.summary, costs_of(row)
    shares = [summary.forget, summary.keep, summary.score] if summary else [None] * 3
    best = summary.best_share if summary else None
    verdict = row.verdict or ("" if row.status == "done" else row.status)
    base = row.variant == BASELINE
    cells = [
        Cell(rank_text(row, board), sort="" if row.rank is None else row.rank),
        Cell(row_title(row.variant, row.tuned), sort=row.variant, kind="words name"),
        *(_figure(estimate_of(row, column), units[column.benchmark], judged(row, column)) for column in columns),
        *(_figure(share, "fraction") for share in shares),
        *(_under_attack(*column.of(row)) for column in attack_columns(board)),
        Cell(MISSING if best is None else f"{best:.0%}", sort="" if best is None else best),
        Cell(verdict, sort=verdict, kind="words verdict"),
        *([Cell(reaches(row), sort=reaches(row))] if board.reference else []),
        Cell(str(len(row.seeds)), sort=len(row.seeds)),
        *(Cell(text, sort=number or "") for text, number in (costs[name] for name in _after(board) if name in costs)),
    ]
    words = " ".join([row.variant, row.method, verdict])
    return {
        "cells": cells,
        "kind": "base" if base else "",
        "words": words,
        "verdict": verdict,
        "anchor": anchor("row", row.variant),
        "evidence": "" if base else anchor("why", row.variant),
    }


def _after(board: Leaderboard) -> list[str]:
    """Return the columns behind the figures; some costs only where they were measured."""
    return [name for name in AFTER[3:] if name not in unmeasured(board)]


def _chance(columns: Sequence[Column], units: dict[str, str], after: int) -> dict[str, Any]:
    figures = [Cell(figure(column.chance, units[column.benchmark])) for column in columns]
    cells = [Cell(""), Cell("chance", kind="words name"), *figures, *[Cell("")] * after]
    return {"cells": cells, "kind": "chance", "words": "", "verdict": "", "anchor": "", "evidence": ""}


def _under_attack(estimate: Estimate | None, behind: str) -> Cell:
    found = _figure(estimate, "fraction")
    return found._replace(text=f"{found.text} {behind}") if behind and found.span else found


def _figure(estimate: Estimate | None, unit: str, judged: str = "") -> Cell:
    if estimate is None or estimate.value is None:
        return Cell(MISSING)
    return Cell(figure(estimate.value, unit), span(estimate, unit) + judged, estimate.value)
