"""From a comparison's plan and its finished cells to the table; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from unlearnbench.recipe import BASELINE
from unlearnbench.records import CellKey, CellResult, Cost, Metric, PartScore, Record

ColumnRole = Literal["forget", "retain", "untargeted"]
Cells = Mapping[str, CellResult]  # by str(CellKey)


class BenchmarkHead(Record):
    """A benchmark of the comparison; `forget_parts` are those that the topics claim."""

    name: str
    metric: Metric
    parts: list[str]
    forget_parts: list[str]
    topics: dict[str, list[str]]  # topic -> its parts of this benchmark


class RowHead(Record):
    """A row of the comparison and the identities of its cells."""

    variant: str
    method: str
    hash: str
    seeds: list[int]
    cells: dict[str, str]  # str(CellKey) -> identity


class Manifest(Record):
    """What a run folder's leaderboard consists of: written before the first cell is computed."""

    schema_version: Literal[1] = 1
    recipe: dict[str, Any]
    benchmarks: list[BenchmarkHead]
    rows: list[RowHead]


class Estimate(Record):
    """A figure with its interval; the interval is null until there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


class Score(Estimate):
    """A row's score on one benchmark: mean over seeds, and each seed and part."""

    by_seed: dict[str, float] = {}
    coverage: float = 1.0
    parts: dict[str, Estimate] = {}


class Summary(Record):
    """forget: share of targeted knowledge gone; keep: share of retained knowledge left; score: their harmonic mean."""

    forget: Estimate
    keep: Estimate
    score: Estimate
    best_share: float | None = None
    pareto: bool | None = None


class Row(Record):
    """One row of the table."""

    variant: str
    method: str
    hash: str
    rank: int | None
    verdict: str | None = None
    evidence: list[dict[str, Any]] = []
    status: Literal["done", "failed", "diverged", "pending"]
    seeds: list[int]
    summary: Summary | None
    scores: dict[str, Score]
    cost: Cost


class Column(Record):
    """One column of scores: a benchmark, or some of its parts."""

    title: str
    benchmark: str
    parts: list[str] | None  # None: all of them
    role: ColumnRole
    chance: float
    note: str = ""


class BenchmarkInfo(Record):
    """What the table says about a benchmark."""

    name: str
    metric: str
    role: str
    better: str
    chance: float
    unit: str
    informative: bool | None


class Leaderboard(Record):
    """The table of a comparison, as in leaderboard.json."""

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    recipe: dict[str, Any]
    benchmarks: list[BenchmarkInfo]
    columns: list[Column]
    rows: list[Row]
    failures: list[dict[str, str]]


def build_leaderboard(manifest: Manifest, cells: Cells) -> Leaderboard:
    """The table of a comparison. Rows: the baseline, then by the summary score, then what cannot be ranked.

    Args:
        manifest: the rows and benchmarks of the comparison.
        cells: the finished cells that belong to it.
    """
    baseline = next((row for row in manifest.rows if row.variant == BASELINE), None)
    base = {h.name: _score(baseline, h, cells) for h in manifest.benchmarks} if baseline else {}
    informative = {head.name: _informative(head, base.get(head.name)) for head in manifest.benchmarks}
    rows = [_row(head, manifest.benchmarks, base, informative, cells) for head in manifest.rows]
    ranked = sorted((row for row in rows if _rankable(row)), key=lambda row: -_rank_value(row))
    places = {row.variant: 1 + sum(_rank_value(other) > _rank_value(row) for other in ranked) for row in ranked}
    rest = [row for row in rows if row.variant not in places and row.variant != BASELINE]
    first = [row for row in rows if row.variant == BASELINE]
    ordered = [row.model_copy(update={"rank": places.get(row.variant)}) for row in [*first, *ranked, *rest]]
    failures = [
        {"cell": name, "status": cell.status, "error": cell.error or ""}
        for name, cell in cells.items()
        if cell.status != "done"
    ]
    return Leaderboard(
        schema=1,  # pyright: ignore[reportCallIssue]
        recipe=manifest.recipe,
        benchmarks=[_info(head, informative[head.name]) for head in manifest.benchmarks],
        columns=[column for head in manifest.benchmarks for column in _columns(head)],
        rows=ordered,
        failures=failures,
    )


def column_value(row: Row, column: Column) -> float | None:
    """A row's figure in one column; parts weigh by their number of items."""
    score = row.scores.get(column.benchmark)
    if score is None:
        return None
    return score.value if column.parts is None else _over_parts(score, column.parts)


def _rankable(row: Row) -> bool:
    return row.variant != BASELINE and row.summary is not None and row.summary.score.value is not None


def _rank_value(row: Row) -> float:
    value = row.summary.score.value if row.summary else None
    assert value is not None
    return value


def _info(head: BenchmarkHead, informative: bool | None) -> BenchmarkInfo:
    m = head.metric
    return BenchmarkInfo(
        name=head.name, metric=m.name, role=m.role, better=m.better, chance=m.chance, unit=m.unit, informative=informative
    )


def _columns(head: BenchmarkHead) -> list[Column]:
    """One column per benchmark; where only some parts are to be forgotten, one for each of them and one for the rest."""
    others = [part for part in head.parts if part not in head.forget_parts]
    rest: ColumnRole = "untargeted" if head.metric.role == "forget" else "retain"

    def column(title: str, parts: list[str] | None, role: ColumnRole) -> Column:
        metric = head.metric
        return Column(title=title, benchmark=head.name, parts=parts, role=role, chance=metric.chance, note=metric.note)

    if not head.forget_parts or not others:
        return [column(head.name, None, "forget" if head.forget_parts else rest)]
    title = f"{head.name}/{others[0]}" if len(others) == 1 else f"{head.name} (other {len(others)})"
    targeted = [column(f"{head.name}/{part}", [part], "forget") for part in head.forget_parts]
    return [*targeted, column(title, others, rest)]


def _row(
    head: RowHead,
    benchmarks: Sequence[BenchmarkHead],
    base: Mapping[str, Score | None],
    informative: Mapping[str, bool | None],
    cells: Cells,
) -> Row:
    own = [cells[name] for name in head.cells if name in cells]
    scores = {b.name: score for b in benchmarks if (score := _score(head, b, cells)) is not None}
    return Row(
        variant=head.variant,
        method=head.method,
        hash=head.hash,
        rank=None,
        status=_status(head, own),
        seeds=head.seeds,
        summary=None if head.variant == BASELINE else _summary(scores, base, benchmarks, informative),
        scores=scores,
        cost=_cost(own),
    )


def _status(head: RowHead, own: Sequence[CellResult]) -> Literal["done", "failed", "diverged", "pending"]:
    states = {cell.status for cell in own}
    if "diverged" in states:
        return "diverged"
    if "failed" in states:
        return "failed"
    return "done" if len(own) == len(head.cells) else "pending"


def _score(head: RowHead, benchmark: BenchmarkHead, cells: Cells) -> Score | None:
    """Mean over the seeds that are there; a part's n counts its items once."""
    found: dict[int, CellResult] = {}
    for seed in head.seeds:
        cell = cells.get(str(CellKey(variant=head.variant, benchmark=benchmark.name, seed=seed)))
        if cell is not None and cell.status == "done" and cell.value is not None:
            found[seed] = cell
    if not found:
        return None
    values = {str(seed): cell.value for seed, cell in found.items() if cell.value is not None}
    parts: dict[str, list[PartScore]] = {}
    for cell in found.values():
        for name, part in cell.parts.items():
            parts.setdefault(name, []).append(part)
    return Score(
        value=_mean(list(values.values())),
        n=next(iter(found.values())).n,
        by_seed=values,
        coverage=round(len(found) / len(head.seeds), 6),
        parts={name: Estimate(value=_mean([p.value for p in own]), n=own[0].n) for name, own in parts.items()},
    )


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6)


def _over_parts(score: Score, parts: Sequence[str]) -> float | None:
    known = [score.parts[part] for part in parts if part in score.parts]
    items = sum(part.n or 0 for part in known)
    return round(sum((part.value or 0.0) * (part.n or 0) for part in known) / items, 6) if items else None


def _informative(head: BenchmarkHead, base: Score | None) -> bool | None:
    """Whether the base model is above chance by more than 1.645 standard errors: if not, nothing can be lost there."""
    if base is None or base.value is None or not base.n:
        return None
    if head.metric.unit != "fraction":
        return base.value > head.metric.chance
    error = math.sqrt(max(base.value * (1 - base.value), 1e-12) / base.n)
    return base.value - head.metric.chance > 1.645 * error


def _summary(
    scores: Mapping[str, Score],
    base: Mapping[str, Score | None],
    benchmarks: Sequence[BenchmarkHead],
    informative: Mapping[str, bool | None],
) -> Summary:
    """F, K and their harmonic mean as point estimates; see `unlearnbench leaderboard --help`."""
    forget: dict[str, list[float]] = {}
    keep: list[float] = []
    for head in benchmarks:
        score, reference = scores.get(head.name), base.get(head.name)
        if score is None or reference is None or not informative[head.name]:
            continue
        for column in _columns(head):
            if column.role == "retain":
                keep += _share_kept(score, reference, column.parts, column.chance)
        for topic, parts in head.topics.items():
            forget.setdefault(topic, []).extend(_share_gone(score, reference, parts, head.metric.chance))
    per_topic = [sum(values) / len(values) for values in forget.values() if values]
    gone = _mean(per_topic) if per_topic else None
    kept = round(min(keep), 6) if keep else None
    both = None
    if gone is not None and kept is not None:
        both = round(2 * gone * kept / (gone + kept), 6) if gone + kept else 0.0
    return Summary(forget=Estimate(value=gone), keep=Estimate(value=kept), score=Estimate(value=both))


def _pair(score: Score, base: Score, parts: Sequence[str] | None) -> tuple[float, float] | None:
    now = score.value if parts is None else _over_parts(score, parts)
    before = base.value if parts is None else _over_parts(base, parts)
    return None if now is None or before is None else (now, before)


def _share_kept(score: Score, base: Score, parts: Sequence[str] | None, chance: float) -> list[float]:
    """(score - chance) / (base - chance), clipped to [0, 1]; nothing where the base knew nothing."""
    pair = _pair(score, base, parts)
    if pair is None or pair[1] <= chance:
        return []
    return [min(max((pair[0] - chance) / (pair[1] - chance), 0.0), 1.0)]


def _share_gone(score: Score, base: Score, parts: Sequence[str], chance: float) -> list[float]:
    """1 - |score - chance| / (base - chance), clipped to [0, 1]: far below chance is avoided, not gone."""
    pair = _pair(score, base, parts)
    if pair is None or pair[1] <= chance:
        return []
    return [min(max(1 - abs(pair[0] - chance) / (pair[1] - chance), 0.0), 1.0)]


def _cost(cells: Sequence[CellResult]) -> Cost:
    """Seconds are means over seeds of the whole job; memory is the largest seen."""
    costs = [cell.cost for cell in cells]
    seeds = len({cell.key.seed for cell in cells}) or 1

    def largest(name: str) -> int | None:
        return max((value for cost in costs if (value := getattr(cost, name)) is not None), default=None)

    unlearn = {cell.key.seed: cell.cost.unlearn_seconds for cell in cells if cell.cost.unlearn_seconds is not None}
    evaluate = [cost.evaluate_seconds for cost in costs if cost.evaluate_seconds is not None]
    return Cost(
        unlearn_seconds=round(sum(unlearn.values()) / len(unlearn), 3) if unlearn else None,
        evaluate_seconds=round(sum(evaluate) / seeds, 3) if evaluate else None,
        peak_bytes=largest("peak_bytes"),
        peak_gpu_bytes=largest("peak_gpu_bytes"),
        trained_parameters=largest("trained_parameters"),
        tokens=largest("tokens"),
    )
