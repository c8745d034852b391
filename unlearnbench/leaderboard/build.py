"""The table of a comparison, from its plan and finished cells: rows, intervals, verdicts and ranks; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearnbench.leaderboard.attacks import AttackFigures, AttackTable, hidden_by, with_worst
from unlearnbench.leaderboard.comparability import cell_name, check_comparable
from unlearnbench.leaderboard.context import SUMMARY, Cells, Items, TableContext, check_settings
from unlearnbench.leaderboard.intervals import estimate, limits_of, widened
from unlearnbench.leaderboard.ranking import Ranking, rank
from unlearnbench.leaderboard.resampling import RowShares
from unlearnbench.leaderboard.retraining import with_shares
from unlearnbench.leaderboard.shares import Subset, is_whole
from unlearnbench.leaderboard.statistics import SEEDS_NEEDED, Floats, Quantity, compare_pairs, interval, pareto
from unlearnbench.leaderboard.verdict_inputs import verdict_inputs
from unlearnbench.leaderboard.verdicts import judge
from unlearnbench.records.cells import CellResult, PartScore
from unlearnbench.records.costs import COSTS
from unlearnbench.records.leaderboard import (
    UNRANKED,
    Estimate,
    Leaderboard,
    Row,
    RowCost,
    Score,
    SeedShares,
    Status,
    Summary,
    TableSettings,
)
from unlearnbench.records.manifest import BASELINE, CHECKPOINT, Manifest, ManifestRow

SHARE = (0.0, 1.0)
__all__ = ["build_leaderboard", "check_settings"]


def build_leaderboard(
    manifest: Manifest, cells: Cells, items: Items | None = None, settings: TableSettings | None = None
) -> Leaderboard:
    """Build the table of a comparison. Rows: the baseline, then by rank, then the unranked ones.

    Args:
        manifest: rows and benchmarks of the comparison.
        cells: finished cells that belong to it.
        items: outcomes of the items of each finished cell. Without them the table has figures, but no intervals, verdicts or
            ranks.
        settings: settings of ranks, margins and reference.

    Raises:
        UsageError: cells differ in something that makes them incomparable, or the table has no figure of the name to rank by.
    """
    check_comparable(manifest, cells)
    context = TableContext(manifest, cells, items or {}, settings or TableSettings())
    under_attack = _under_attack(context, items or {})
    made = [_row(head, context, under_attack.get(head.variant)) for head in manifest.rows]
    rows = with_shares(made, manifest, cells, context.reference)
    unranked = context.why_unranked()
    figures = {} if unranked or not context.items else _ranked_figures(rows, context, context.settings.rank_by)
    ranking = rank(figures, _one_seed_answers(rows, context), context.settings.level)
    return Leaderboard(
        schema=2,  # pyright: ignore[reportCallIssue]
        recipe=manifest.recipe,
        settings=context.settings,
        reference=context.reference,
        benchmarks=context.benchmarks(),
        topics=context.topics(),
        columns=context.columns,
        attacks=manifest.attacks or None,
        rows=_ordered(_with_places(rows, ranking), figures, context.reference),
        pairs=ranking.pairs,
        best=_best(rows, context) if figures else {},
        unranked=unranked,
        failures=[
            {"cell": name, "status": cell.status, "error": cell.error or ""}
            for name, cell in cells.items()
            if cell.status != "done"
        ],
    )


def _under_attack(context: TableContext, items: Items) -> dict[str, dict[str, AttackFigures]]:
    """Return the figures of every attack on every row; none where there are no items, as in a table in passing."""
    if not context.manifest.attacks or not any(name in items for row in context.manifest.rows for name in row.attacked):
        return {}
    table = AttackTable(context, items)
    labels = [attack.label for attack in context.manifest.attacks]
    return {row.variant: {label: table.figures(row, label) for label in labels} for row in context.manifest.rows}


def _row(head: ManifestRow, context: TableContext, under_attack: Mapping[str, AttackFigures] | None = None) -> Row:
    """Return one row, without its rank."""
    of_row = [context.cells[name] for name in head.cells if name in context.cells]
    status = _status(head, of_row)
    error = next((cell.error or "" for cell in of_row if cell.status != "done"), "")
    columns = _columns(head, context)
    scores = {name: score for name in context.heads if (score := _score(head, name, context)) is not None}
    summary = None if head.variant == BASELINE else _summary(context.shares(head), context)
    verdict, evidence = None, []
    if head.variant != BASELINE:
        inputs = verdict_inputs(head, context, summary, status, error)
        inputs = inputs._replace(hidden=hidden_by(under_attack or {}, context.settings.level))
        verdict, evidence = judge(inputs, context.settings.damage_margin)
    return Row(
        variant=head.variant,
        method=head.method,
        hash=head.hash,
        tuned=head.tuned,
        rank=None,
        verdict=verdict,
        evidence=evidence,
        status=status,
        seeds=head.seeds,
        intervals=_what_intervals_speak_of(head, scores)
        if any(column.low is not None for column in columns.values())
        else None,
        summary=summary,
        scores=scores,
        columns=columns,
        attacks=None if under_attack is None else with_worst(under_attack, context.settings.level),
        cost=_cost(of_row),
    )


def _status(head: ManifestRow, of_row: Sequence[CellResult]) -> Status:
    states = {cell.status for cell in of_row}
    if "diverged" in states:
        return "diverged"
    if "failed" in states:
        return "failed"
    return "done" if len(of_row) == len(head.cells) else "pending"


def _what_intervals_speak_of(head: ManifestRow, scores: Mapping[str, Score]) -> str:
    if head.method in (BASELINE, CHECKPOINT):
        return "items"
    seeds = min(len(score.by_seed) for score in scores.values())
    return "items; these seeds" if seeds < SEEDS_NEEDED else "items and seeds"


def _columns(head: ManifestRow, context: TableContext) -> dict[str, Estimate]:
    found = {title: context.resampled.quantity(head.variant, subset) for title, subset in context.subsets.items()}
    limits = {column.title: limits_of(context.heads[column.benchmark]) for column in context.columns}
    level = context.settings.level
    return {title: estimate(quantity, level, limits=limits[title]) for title, quantity in found.items() if quantity is not None}


def _score(head: ManifestRow, name: str, context: TableContext) -> Score | None:
    """Return the mean over the finished seeds; a part's n counts its items once."""
    benchmark = context.heads[name]
    found: dict[str, CellResult] = {}
    for seed in head.seeds:
        cell = context.cells.get(cell_name(head, name, seed))
        if cell is not None and cell.status == "done" and cell.n:
            found[str(seed)] = cell
    whole = context.resampled.quantity(head.variant, Subset(name, tuple(benchmark.parts)))
    if not found or (whole is None and any(cell.value is None for cell in found.values())):
        return None  # a figure against a reference that has no items yet
    n = next(iter(found.values())).n
    asked = sum(cell.asked or cell.n for cell in found.values())
    by_seed = {seed: cell.value for seed, cell in found.items() if cell.value is not None}
    if len(by_seed) < len(found):
        assert whole is not None
        by_seed = dict(zip(found, map(float, np.round(whole.by_seed, 6)), strict=True))
    values = list(by_seed.values())
    spread = Estimate(value=None, n=n)
    if whole is not None:
        spread = estimate(whole, context.settings.level, n, limits=limits_of(benchmark))
    parts = {part: rows.get(head.variant) for (where, part), rows in context.resampled.parts.items() if where == name}
    resampled = {turn: rows for (where, turn), rows in context.resampled.turns.items() if where == name}
    turns = {turn: rows[head.variant] for turn, rows in resampled.items() if head.variant in rows}
    return Score(
        value=round(sum(values) / len(values), 6),
        low=spread.low,
        high=spread.high,
        n=n,
        by_seed=by_seed,
        coverage=round(sum(cell.n for cell in found.values()) / asked * len(found) / len(head.seeds), 6),
        scored=sum(cell.n for cell in found.values()),
        asked=asked,
        missing=dict(sum((Counter(cell.missing) for cell in found.values()), Counter[str]())),
        partial=sum(cell.partial for cell in found.values()),
        figures=_figures(list(found.values())),
        parts={part: part_score for part, part_score in parts.items() if part_score is not None},
        groups={**_groups(list(found.values())), **turns},
        truncated=max(cell.truncated for cell in found.values()),
    )


def _figures(cells: Sequence[CellResult]) -> dict[str, float]:
    """Return each figure's mean over the seeds that have it."""
    names = dict.fromkeys(name for cell in cells for name in cell.figures)
    found = {name: [cell.figures[name] for cell in cells if name in cell.figures] for name in names}
    return {name: round(sum(values) / len(values), 6) for name, values in found.items()}


def _groups(cells: Sequence[CellResult]) -> dict[str, Estimate]:
    """Return each group's mean over seeds."""
    found: dict[str, list[PartScore]] = {}
    for cell in cells:
        for name, group in cell.groups.items():
            found.setdefault(name, []).append(group)
    return {
        name: Estimate(value=round(sum(o.value for o in of_seeds) / len(of_seeds), 6), n=of_seeds[0].n)
        for name, of_seeds in found.items()
    }


def _summary(shares: RowShares | None, context: TableContext) -> Summary:
    """Return F, K and S with their intervals, widened where resampling alone makes them too narrow: F is folded at the ideal,
    and K is a minimum.
    """
    nothing, level = Estimate(value=None), context.settings.level
    if shares is None:
        return Summary(forget=nothing, keep=nothing, score=nothing)
    forget, keep, score = (
        nothing if quantity is None else estimate(quantity, level, limits=SHARE, share=True)
        for quantity in map(shares.quantity, ("forget", "keep", "score"))
    )
    straight, straight_score, kept = shares.quantity("straight"), shares.quantity("straight_score"), shares.kept()
    if forget.low is not None and straight is not None:
        forget = widened(forget, *interval(straight, level))
    if score.low is not None and straight_score is not None:
        score = widened(score, *interval(straight_score, level))
    if keep.low is not None and kept:
        # the smallest of several noisy shares lies below the smallest share: no upper end may lie below all of theirs
        shared = 1 - (1 - level) / len(kept)
        keep = widened(keep, 1.0, min(interval(share, shared)[1] for share in kept.values()))
    distances, reaches = _distances(shares, context) if context.ideals else ({}, None)
    return Summary(
        forget=forget,
        keep=keep,
        score=score,
        topics={name: round(float(share), 6) for name, share in shares.value.topics.items()},
        kept={name: round(float(share), 6) for name, share in shares.value.kept.items()},
        by_seed={str(seed): _of_seed(shares, place) for place, seed in enumerate(shares.seeds)},
        distances=distances,
        reaches=reaches,
    )


def _distances(shares: RowShares, context: TableContext) -> tuple[dict[str, Estimate], bool | None]:
    """Return each topic's distance from the reference, and whether the row reaches it.

    Equivalence is tested by two one-sided tests (Schuirmann 1987), each at 1 - level, which amounts to an interval at
    1 - 2 (1 - level) wholly within the margin. Requiring it of every topic needs no further correction (Berger 1982).
    """
    margin, level = context.settings.reference_margin, 1 - 2 * (1 - context.settings.level)
    referred = {target.name for target in context.forget if target.subset in context.ideals}
    found = {topic: estimate(left, level, share=True) for topic, left in shares.left().items() if topic in referred}
    ends = [end for distance in found.values() for end in (distance.low, distance.high)]
    return found, all(abs(end) < margin for end in ends if end is not None) if ends and None not in ends else None


def _of_seed(shares: RowShares, place: int) -> SeedShares:
    """Return F, K and S of one seed; null where they are undefined."""
    figures = (float(array[place]) for array in (shares.by_seed.forget, shares.by_seed.keep, shares.by_seed.score))
    forget, keep, score = (round(share, 6) if np.isfinite(share) else None for share in figures)
    return SeedShares(forget=forget, keep=keep, score=score)


def _best(rows: Sequence[Row], context: TableContext) -> dict[str, str]:
    """Return, by figure, the ranked row that is significantly better than every other."""
    best: dict[str, str] = {}
    for name in (*context.subsets, *SUMMARY):
        figures = _ranked_figures(rows, context, name)
        if len(figures) > 1:
            better = compare_pairs(list(figures.values()), context.settings.level).better()
            leaders = better.sum(axis=1) == len(figures) - 1
            if leaders.any():
                best[name] = list(figures)[int(leaders.argmax())]
    return best


def _ranked_figures(rows: Sequence[Row], context: TableContext, by: str) -> dict[str, Quantity]:
    """Return one figure of each row that can be ranked; higher is better."""
    heads = {head.variant: head for head in context.manifest.rows}
    figures: dict[str, Quantity] = {}
    for row in rows:
        if row.variant in (BASELINE, *context.reference) or row.status != "done" or row.verdict in UNRANKED:
            continue
        if by in SUMMARY:
            shares = context.shares(heads[row.variant])
            quantity = shares.quantity(by) if shares else None
        else:
            quantity = context.resampled.quantity(row.variant, context.subsets[by])
            quantity = None if quantity is None else _goodness(quantity, by, context)
        if quantity is not None:
            figures[row.variant] = quantity
    return figures


def _goodness(quantity: Quantity, title: str, context: TableContext) -> Quantity | None:
    """Return a column's score as a figure of which more is better: for a column to forget, minus the distance from its ideal.

    None where the ideal is the score of a reference that is not scored yet.
    """
    column = next(column for column in context.columns if column.title == title)
    sign = 1 if context.heads[column.benchmark].metric.better == "higher" else -1
    level = context.ideals.get(context.subsets[title])
    number = column.chance if column.role != "forget" else column.ideal
    if number is None:
        return None

    def good(score: Floats, ideal: Floats | float) -> Floats:
        return -np.abs(score - ideal) if column.role == "forget" else sign * score

    ideal, drawn = (level.value, level.draws) if level else (number, number)
    value = float(good(np.array(quantity.value), ideal))
    by_seed, seed_draws = good(quantity.by_seed, ideal), good(quantity.seed_draws, drawn)
    return Quantity(value, good(quantity.draws, drawn), by_seed, seed_draws, quantity.units)


def _one_seed_answers(rows: Sequence[Row], context: TableContext) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Return the right and wrong answers of every finished row with one seed, the base included, by column and row."""
    heads = {head.variant: head for head in context.manifest.rows}
    found: dict[str, dict[str, NDArray[np.float32]]] = {}
    for title, subset in context.subsets.items():
        for row in rows if not is_whole(context.heads[subset.benchmark]) else ():
            outcomes = context.outcomes(heads[row.variant], subset.benchmark)
            if row.status == "done" and len(outcomes) == 1 and outcomes[0].binary:
                asked = outcomes[0].in_parts(subset.parts)
                found.setdefault(title, {})[row.variant] = outcomes[0].scores[asked]
    return found


def _with_places(rows: Sequence[Row], ranking: Ranking) -> list[Row]:
    """Return the rows with their rank, their share of first places, and their membership in the Pareto front of (F, K)."""
    points = {
        row.variant: (row.summary.forget.value, row.summary.keep.value)
        for row in rows
        if row.variant in ranking.ranks and row.summary is not None
    }
    whole = {name: (F, K) for name, (F, K) in points.items() if F is not None and K is not None}
    front = dict(zip(whole, pareto(list(whole.values())), strict=True))
    placed: list[Row] = []
    for row in rows:
        changes: dict[str, Any] = {"rank": ranking.ranks.get(row.variant)}
        if row.summary is not None and row.variant in ranking.ranks:
            share = round(ranking.best_shares[row.variant], 6)
            changes["summary"] = row.summary.model_copy(update={"best_share": share, "pareto": front.get(row.variant)})
        placed.append(row.model_copy(update=changes))
    return placed


def _ordered(rows: Sequence[Row], figures: Mapping[str, Quantity], reference: Sequence[str]) -> list[Row]:
    """Return the rows in order: the baseline, the reference, ranked rows by rank and figure, then the rest by S."""

    def place(row: Row) -> tuple[int, int, float]:
        if row.variant == BASELINE:
            return 0, 0, 0.0
        if row.variant in reference:
            return 0, 1, 0.0
        if row.rank is not None:
            return 1, row.rank, -figures[row.variant].value
        value = row.summary.score.value if row.summary else None
        return (2, 0, -value) if value is not None and row.verdict not in UNRANKED else (3, 0, 0.0)

    return sorted(rows, key=place)


def _cost(cells: Sequence[CellResult]) -> RowCost:
    """Return the cost of a row from its cells: see `CostFigure.over`."""
    seeds = len({cell.key.seed for cell in cells}) or 1
    unlearned = len({cell.key.seed for cell in cells if cell.cost.unlearn_seconds is not None}) or 1
    figures: dict[str, float | None] = {}
    for figure in COSTS:
        values = [(cell.key.seed, value) for cell in cells if (value := figure.of(cell.cost)) is not None]
        if not values:
            continue
        if figure.over == "largest":
            figures[figure.field] = max(value for _, value in values)
        elif figure.over == "job":
            figures[figure.field] = round(sum(dict(values).values()) / unlearned, 3)
        else:
            figures[figure.field] = round(sum(value for _, value in values) / seeds, 3)
    return RowCost.model_validate(figures)
