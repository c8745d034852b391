"""The order of the rows: ranks, best shares and pair tests of the rows that can be ranked; pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unlearnbench.leaderboard.statistics import LEVEL, Quantity, best_shares, compare_pairs, holm_pairs, mcnemar, ranks
from unlearnbench.records.leaderboard import PairTest

SEED = 20_240_306  # of the noise that stands for other seeds in best shares


class Ranking(NamedTuple):
    """The ranks and the tests behind them; rows that are not ranked are missing.

    Attributes:
        ranks: rank of each row: 1 + the number of rows significantly better.
        best_shares: share of resamples in which a row is best.
        pairs: tests behind the ranks.
    """

    ranks: dict[str, int]
    best_shares: dict[str, float]
    pairs: list[PairTest]


def rank(
    rows: Mapping[str, Quantity], answers: Mapping[str, Mapping[str, NDArray[np.float32]]], level: float = LEVEL
) -> Ranking:
    """Rank rows by one figure, higher is better.

    Args:
        rows: figure of each row that may be ranked.
        answers: answers by column of right and wrong answers, (N,) of each row that has one seed; these may include rows that
            are not ranked, such as the base.
        level: level of the differences' intervals; tests are at 1 - level.
    """
    names = list(rows)
    tests: dict[tuple[str, str], PairTest] = {}
    places: dict[str, int] = {}
    shares: dict[str, float] = {}
    if names:
        quantities = list(rows.values())
        pairs = compare_pairs(quantities, level)
        better = pairs.better()
        places = dict(zip(names, ranks(better), strict=True))
        shares = dict(zip(names, best_shares(quantities, np.random.default_rng(SEED)), strict=True))
        for i, j in combinations(range(len(names)), 2):
            difference, half = float(pairs.difference[i, j]), float(pairs.half[i, j])
            tests[names[i], names[j]] = PairTest(
                rows=(names[i], names[j]),
                difference=round(difference, 6),
                low=round(difference - half, 6),
                high=round(difference + half, 6),
                p=float(f"{pairs.adjusted[i, j]:.4g}"),
                better=names[i] if better[i, j] else names[j] if better[j, i] else None,
            )
    for column, of_row in answers.items():
        for (first, other), p in _mcnemar(of_row).items():
            key = (first, other) if (first, other) in tests or (other, first) not in tests else (other, first)
            known = tests.get(key) or PairTest(rows=key)
            tests[key] = known.model_copy(update={"mcnemar": {**known.mcnemar, column: p}})
    return Ranking(places, shares, list(tests.values()))


def _mcnemar(answers: Mapping[str, NDArray[np.float32]]) -> dict[tuple[str, str], float]:
    """Return McNemar's p of each pair of rows, after Holm."""
    names = list(answers)
    if len(names) < 2:
        return {}
    adjusted = holm_pairs(mcnemar(np.stack(list(answers.values()))))
    return {(names[i], names[j]): float(f"{adjusted[i, j]:.4g}") for i, j in combinations(range(len(names)), 2)}
