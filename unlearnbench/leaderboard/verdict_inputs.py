"""The facts on a row's items that its verdict rests on; pure functions."""

from __future__ import annotations

import numpy as np

from unlearnbench.leaderboard.context import TableContext
from unlearnbench.leaderboard.statistics import interval
from unlearnbench.leaderboard.verdicts import Inversion, VerdictInputs, no_language, one_letter, rarest_letter
from unlearnbench.records.leaderboard import Status, Summary
from unlearnbench.records.manifest import ManifestRow


def verdict_inputs(
    row: ManifestRow, context: TableContext, summary: Summary | None, status: Status, error: str
) -> VerdictInputs:
    """Return the facts that the rules need; only the status where the row is not whole."""
    referred = row.variant in context.reference
    if status != "done" or not context.items or context.base is None:
        return VerdictInputs(status=status, error=error, reference=referred)
    return VerdictInputs(
        status=status,
        reference=referred,
        forget=summary.forget if summary else None,
        keep=summary.keep if summary else None,
        letter=_letter(row, context),
        degenerate=_degenerate(row, context),
        inversions=_inversions(row, context),
    )


def _letter(row: ManifestRow, context: TableContext) -> tuple[float, str] | None:
    """Return `one_letter` over all retain columns together."""
    assert context.base is not None
    by_column: list[list[np.ndarray]] = []
    base: list[np.ndarray] = []
    for column in context.columns:
        known, mine = context.outcomes(context.base, column.benchmark), context.outcomes(row, column.benchmark)
        if column.role == "retain" and column.primary and known and mine and known[0].choices.max() >= 0:
            items = known[0].in_parts(context.subsets[column.title].parts)
            base.append(known[0].choices[items])
            by_column.append([outcomes.choices[items] for outcomes in mine])
    if not base:
        return None
    seeds = min(len(choices) for choices in by_column)
    answers = [np.concatenate([choices[seed] for choices in by_column]) for seed in range(seeds)]
    return one_letter(answers, np.concatenate(base), context.settings.level)


def _degenerate(row: ManifestRow, context: TableContext) -> float | None:
    """Return `no_language` on the retain column that looks worst."""
    assert context.base is not None
    found: list[float] = []
    for column in context.columns:
        known, mine = context.outcomes(context.base, column.benchmark), context.outcomes(row, column.benchmark)
        if column.role == "retain" and known and mine:
            share = no_language(mine, known[0], known[0].in_parts(context.subsets[column.title].parts), context.settings.level)
            found += [] if share is None else [share]
    return max(found, default=None)


def _inversions(row: ManifestRow, context: TableContext) -> list[Inversion]:
    """Return every informative forget target, at a level shared among them: one of many falls beyond its ideal by chance."""
    assert context.base is not None
    found: list[Inversion] = []
    level = 1 - (1 - context.settings.level) / len(context.forget) if context.forget else context.settings.level
    for topic, subset, chance, _, folds in context.forget:
        quantity = context.resampled.quantity(row.variant, subset)
        known = context.outcomes(context.base, subset.benchmark)
        if quantity is None or not quantity.draws.size or not known or not folds:
            continue
        target = f"{topic} ({subset.benchmark})"
        if subset in context.ideals:
            ideal = context.ideals[subset]
            base = context.resampled.quantity(context.base.variant, subset)
            distance = context.resampled.distance(row.variant, subset, ideal, np.sign(base.value - ideal.value) if base else 1)
            if distance is not None:
                found.append(Inversion(target, interval(distance, level)[1], 0.0, "the reference"))
        else:
            floor = min(chance, rarest_letter(known[0], known[0].in_parts(subset.parts)))
            found.append(Inversion(target, interval(quantity, level)[1], floor))
    return found
