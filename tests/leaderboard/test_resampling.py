"""What is resampled together, and what happens where there is little to resample."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.comparisons import accuracy, answered, cell, of_scores, rating

from unlearnbench.leaderboard.intervals import estimate
from unlearnbench.leaderboard.resampling import ResampledScores, Run
from unlearnbench.leaderboard.shares import Subset
from unlearnbench.leaderboard.statistics import LEVEL
from unlearnbench.records.cells import CellKey

RESAMPLES = 4000


def tally_of(head, *outcomes):
    """One run for each of the outcomes, as rows called 0, 1, ..."""
    resampled = ResampledScores([Run(str(number), 0) for number in range(len(outcomes))], RESAMPLES)
    keys = [CellKey(variant=run.variant, benchmark=head.name, seed=run.seed) for run in resampled.runs]
    cells = {number: cell(keys[number], one) for number, one in enumerate(outcomes) if one is not None}
    there = {number: one for number, one in enumerate(outcomes) if one is not None}
    subsets = [Subset(head.name, tuple(head.parts)), *(Subset(head.name, (part,)) for part in head.parts)]
    resampled.add(head, subsets, cells, there)
    return resampled, subsets[0]


def test_parts_are_resampled_apart():
    """A part that is all right and one that is all wrong: the whole does not vary, however the items are drawn."""
    head = accuracy("mmlu", ["easy", "hard"])
    resampled, whole = tally_of(head, answered({"easy": 1.0, "hard": 0.0}, 50))
    assert np.ptp(resampled.draws[whole]) < 1e-6
    assert estimate(resampled.quantity("0", whole), LEVEL).low is None
    easy = resampled.parts["mmlu", "easy"]["0"]
    assert (easy.value, easy.high, easy.n) == (1.0, 1.0, 50)
    assert 0.9 < easy.low < 1


def test_parts_of_one_item_are_resampled_together():
    """57 subjects with one question each would not vary at all within their parts; together they are 57 questions."""
    parts = [f"subject-{number}" for number in range(57)]
    one = of_scores({part: np.array([float(number % 2)]) for number, part in enumerate(parts)})
    resampled, whole = tally_of(accuracy("mmlu", parts), one)
    share = 28 / 57
    assert resampled.draws[whole].std() == pytest.approx(np.sqrt(share * (1 - share) / 56), rel=0.05)


def test_conversations_are_units():
    turns = {"stem": np.repeat(np.random.default_rng(0).uniform(1, 10, 30), 2)}
    resampled, whole = tally_of(rating("mt_bench", ["stem"]), of_scores(turns, turns=2))
    assert resampled.units[whole] == 30
    alone = turns["stem"][::2]
    assert resampled.draws[whole].std() == pytest.approx(alone.std(ddof=1) / np.sqrt(30), rel=0.05)


def test_equal_ratings_have_no_interval():
    resampled, whole = tally_of(rating("mt_bench", ["stem"]), of_scores({"stem": np.full(40, 10.0)}))
    figure = estimate(resampled.quantity("0", whole), LEVEL)
    assert (figure.value, figure.low, figure.high) == (10.0, None, None)


def test_equal_cells_have_equal_draws():
    """Two models that are right on everything do not differ, however unsure their accuracy is."""
    right = answered({"all": 1.0}, 80)
    resampled, whole = tally_of(accuracy("mmlu", ["all"]), right, right)
    assert np.ptp(resampled.draws[whole][0]) > 0
    assert np.array_equal(resampled.draws[whole][0], resampled.draws[whole][1])


def test_a_missing_cell_is_no_number():
    resampled, whole = tally_of(accuracy("mmlu", ["all"]), answered({"all": 0.5}, 40), None)
    assert np.isnan(resampled.values[whole][1])
    assert resampled.quantity("1", whole) is None
    assert "1" not in resampled.parts["mmlu", "all"]


def test_parts_weigh_by_what_is_scored_in_them():
    """A row that lost most of one part: its mean and its draws agree, and so do those of a row that lost the part wholly."""
    scores = {"stem": np.full(40, 8.0), "math": np.full(40, 2.0)}
    some, none = ({part: one.copy() for part, one in scores.items()} for _ in range(2))
    some["math"][10:], none["math"][:] = np.nan, np.nan
    resampled, whole = tally_of(rating("mt_bench", ["stem", "math"]), of_scores(scores), of_scores(some), of_scores(none))
    assert [round(float(value), 4) for value in resampled.values[whole]] == [5.0, 6.8, 8.0]
    assert np.allclose(resampled.draws[whole].mean(axis=1), [5.0, 6.8, 8.0], atol=0.02)
    assert "2" not in resampled.parts["mt_bench", "math"]
