"""From a row's items to what its verdict looks at; pure."""

from __future__ import annotations

import numpy as np

from unlearnbench.leaderboard.context import Ground
from unlearnbench.leaderboard.statistics import LEVEL, interval
from unlearnbench.leaderboard.verdicts import Facts, Inversion, no_language, one_letter, rarest_letter
from unlearnbench.records.leaderboard import Status, Summary
from unlearnbench.records.manifest import RowHead


def facts_of(row: RowHead, ground: Ground, summary: Summary | None, status: Status, error: str) -> Facts:
    """What the rules look at; only the status where the row is not whole."""
    if status != "done" or not ground.items or ground.base is None:
        return Facts(status=status, error=error)
    return Facts(
        status=status,
        forget=summary.forget if summary else None,
        keep=summary.keep if summary else None,
        letter=_letter(row, ground),
        degenerate=_degenerate(row, ground),
        inversions=_inversions(row, ground),
    )


def _letter(row: RowHead, ground: Ground) -> tuple[float, str] | None:
    """`one_letter` over all retain columns together."""
    assert ground.base is not None
    own: list[list[np.ndarray]] = []
    base: list[np.ndarray] = []
    for column in ground.columns:
        known, mine = ground.outcomes(ground.base, column.benchmark), ground.outcomes(row, column.benchmark)
        if column.role == "retain" and known and mine and known[0].choices.max() >= 0:
            items = known[0].in_parts(ground.measures[column.title].parts)
            base.append(known[0].choices[items])
            own.append([one.choices[items] for one in mine])
    if not base:
        return None
    seeds = min(len(one) for one in own)
    return one_letter([np.concatenate([one[seed] for one in own]) for seed in range(seeds)], np.concatenate(base))


def _degenerate(row: RowHead, ground: Ground) -> float | None:
    """`no_language` on the retain column that looks worst."""
    assert ground.base is not None
    found: list[float] = []
    for column in ground.columns:
        known, mine = ground.outcomes(ground.base, column.benchmark), ground.outcomes(row, column.benchmark)
        if column.role == "retain" and known and mine:
            share = no_language(mine, known[0], known[0].in_parts(ground.measures[column.title].parts))
            found += [] if share is None else [share]
    return max(found, default=None)


def _inversions(row: RowHead, ground: Ground) -> list[Inversion]:
    """Every informative forget target, at a level shared among them: one of many falls below by chance."""
    assert ground.base is not None
    found: list[Inversion] = []
    for topic, measure, chance in ground.forget:
        quantity = ground.tally.quantity(row.variant, measure)
        known = ground.outcomes(ground.base, measure.benchmark)
        if quantity is None or not quantity.draws.size or not known:
            continue
        high = interval(quantity, 1 - (1 - LEVEL) / len(ground.forget))[1]
        floor = min(chance, rarest_letter(known[0], known[0].in_parts(measure.parts)))
        found.append(Inversion(f"{topic} ({measure.benchmark})", high, floor))
    return found
