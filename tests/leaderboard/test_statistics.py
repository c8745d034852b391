"""Intervals and tests by hand where that can be done, by simulation where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from unlearnbench.leaderboard import statistics as own
from unlearnbench.leaderboard.statistics import Quantity

RESAMPLES = 2000


def quantity(scores: np.ndarray, rng: np.random.Generator, resamples: int = RESAMPLES) -> Quantity:
    """The mean of (S, N) scores."""
    draws = own.resampled_means(scores, np.arange(scores.shape[1]), rng, resamples)
    return Quantity(float(scores.mean()), draws.mean(axis=0), scores.mean(axis=1), draws)


def test_resampled_means_have_the_standard_error_of_the_mean():
    """Four items 0, 0, 1, 1: sample variance 1/3, so the mean's error is sqrt(1/12); a plain bootstrap has sqrt(1/16)."""
    rng = np.random.default_rng(0)
    draws = own.resampled_means(np.array([[0.0, 0.0, 1.0, 1.0]]), np.arange(4), rng, 200_000)
    assert draws.mean() == pytest.approx(0.5, abs=0.005)
    assert draws.std() == pytest.approx(math.sqrt(1 / 12), rel=0.01)


def test_every_cell_is_resampled_alike():
    scores = np.random.default_rng(0).random((3, 40))
    draws = own.resampled_means(np.vstack([scores, scores[0] + 1]), np.arange(40), np.random.default_rng(1), 500)
    assert np.allclose(draws[3] - draws[0], 1, atol=1e-5)


def test_turns_of_one_conversation_are_drawn_together():
    """Two turns that always agree are worth one item."""
    rng = np.random.default_rng(0)
    once = rng.random((1, 50))
    twice = np.repeat(once, 2, axis=1)
    alone = own.resampled_means(once, np.arange(50), rng, 20_000).std()
    together = own.resampled_means(twice, np.arange(100) // 2, rng, 20_000).std()
    assert together == pytest.approx(alone, rel=0.03)
    assert own.resampled_means(twice, np.arange(100), rng, 20_000).std() == pytest.approx(alone / math.sqrt(2), rel=0.03)


def test_resampling_in_blocks_changes_nothing(monkeypatch):
    scores = np.random.default_rng(0).random((2, 30))
    sizes = []
    for block in (30, 2**20):
        monkeypatch.setattr(own, "DRAWS_AT_ONCE", block)
        sizes.append(own.resampled_means(scores, np.arange(30), np.random.default_rng(1), 5000).std())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_holm_by_hand():
    """.01 x 3, then max(that, .04 x 2), then max(that, .03 x ...): sorted .01 .03 .04 -> .03, .06, .06."""
    assert own.holm(np.array([0.04, 0.01, 0.03])).tolist() == pytest.approx([0.06, 0.03, 0.06])


def test_mcnemar_is_a_sign_test_of_the_items_that_differ():
    """Of 12 items on which they differ, the first is right on 10: the binomial test of 10 in 12."""
    first = np.array([1] * 10 + [0] * 2 + [1] * 50 + [0] * 30)
    second = np.array([0] * 10 + [1] * 2 + [1] * 50 + [0] * 30)
    p = own.mcnemar(np.stack([first, second]).astype(np.float32))
    assert p[0, 1] == pytest.approx(stats.binomtest(10, 12).pvalue)
    assert p[1, 0] == p[0, 1]
    assert p[0, 0] == 1


def test_wilson_and_binomial_against_scipy():
    found = stats.binomtest(17, 20).proportion_ci(method="wilson").low
    assert own.wilson_low(17, 20) == pytest.approx(found)
    values = np.array([1.0] * 70 + [0.0] * 130)
    p = own.p_above(values, np.arange(200), 0.25, binary=True)
    assert p == pytest.approx(stats.binomtest(70, 200, 0.25, alternative="greater").pvalue)


def test_ratings_above_chance_go_by_conversation():
    turns = np.array([1.0, 3.0, 2.0, 2.0, 1.0, 5.0])
    p = own.p_above(turns, np.array([0, 0, 1, 1, 2, 2]), 1.0, binary=False)
    assert p == pytest.approx(stats.ttest_1samp([2, 2, 3], 1.0, alternative="greater").pvalue)


def test_all_right_is_not_certainty():
    """Jeffreys at 20 of 20: from about .88 to 1; more items say more."""
    draws = own.draws_of_certainty(True, 20, np.random.default_rng(0), 100_000)
    low, _ = own.quantiles(draws)
    assert low == pytest.approx(stats.beta.ppf(0.025, 20.5, 0.5), abs=0.002)
    assert own.quantiles(own.draws_of_certainty(False, 2000, np.random.default_rng(0)))[1] < 0.002


def test_ranks_count_who_is_better():
    better = np.array([[False, False, True], [False, False, True], [False, False, False]])
    assert own.ranks(better) == [1, 1, 3]


def test_pareto_keeps_equals():
    assert own.pareto([(0.5, 0.5), (0.5, 0.5), (0.4, 0.5), (0.1, 0.9)]) == [True, True, False, True]


def coverage(rng: np.random.Generator, rows: int, seeds: int, items: int, seed_sd: float, hardness: float) -> float:
    """Share of rows whose interval holds the mean of the world that items and seeds are drawn from.

    Args:
        rng: of items, seeds and answers.
        rows: comparisons simulated.
        seeds: of each.
        items: of each, in one stratum.
        seed_sd: standard deviation of a seed's own accuracy.
        hardness: standard deviation of the items' accuracy; 0 for items that are all alike.
    """
    world = np.clip(0.6 + hardness * rng.normal(size=2_000_000), 0.02, 0.98).mean()
    item = np.clip(0.6 + hardness * rng.normal(size=(rows, 1, items)), 0.02, 0.98)
    accuracy = item + seed_sd * rng.normal(size=(rows, seeds, 1))
    scores = (rng.random((rows, seeds, items)) < accuracy).astype(np.float32)
    draws = own.resampled_means(scores.reshape(rows * seeds, items), np.arange(items), rng, RESAMPLES)
    drawn = draws.reshape(rows, seeds, RESAMPLES)
    found = [
        own.interval(Quantity(float(scores[r].mean()), drawn[r].mean(axis=0), scores[r].mean(axis=1), drawn[r]))
        for r in range(rows)
    ]
    return float(np.mean([low <= world <= high for low, high in found]))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("items", "hardness"), [(150, 0.0), (400, 0.2)])
def test_coverage_without_seed_variance(seeds, items, hardness):
    """2,500 comparisons: the simulation's own standard error is .0044."""
    found = coverage(np.random.default_rng([seeds, items]), 2500, seeds, items, 0.0, hardness)
    assert 0.93 <= found <= 0.97


@pytest.mark.parametrize("seeds", [5, 10])
@pytest.mark.parametrize("seed_sd", [0.0, 0.01, 0.02, 0.04])
def test_coverage_with_seed_variance(seeds, seed_sd):
    """From five seeds on: other items and other seeds."""
    found = coverage(np.random.default_rng([seeds, int(100 * seed_sd)]), 1200, seeds, 400, seed_sd, 0.2)
    assert found >= 0.92
    if seed_sd == 0:
        assert 0.93 <= found <= 0.97


def test_few_seeds_speak_of_themselves_only():
    """Three seeds that differ widely: the interval is that of the items, however far apart the seeds are."""
    rng = np.random.default_rng(0)
    scores = np.stack([rng.random(500) < share for share in (0.3, 0.5, 0.7)]).astype(np.float32)
    three, five = quantity(scores, rng), quantity(np.vstack([scores, scores[:2]]), rng)
    low, high = own.interval(three)
    assert high - low < 0.08
    low, high = own.interval(five)
    assert high - low > 0.3


def false_better(rng: np.random.Generator, tables: int, rows: int, seeds: int, seed_sd: float) -> float:
    """Share of tables of equal rows in which somebody is called better: the family-wise error."""
    wrong = 0
    for _ in range(tables):
        item = np.clip(0.6 + 0.2 * rng.normal(size=(1, 1, 300)), 0.02, 0.98)
        accuracy = item + seed_sd * rng.normal(size=(rows, seeds, 1))
        scores = (rng.random((rows, seeds, 300)) < accuracy).astype(np.float32)
        draws = own.resampled_means(scores.reshape(-1, 300), np.arange(300), rng, 500).reshape(rows, seeds, -1)
        figures = [
            Quantity(float(s.mean()), d.mean(axis=0), s.mean(axis=1), d, 300) for s, d in zip(scores, draws, strict=True)
        ]
        wrong += bool(own.compare_pairs(figures).better().any())
    return wrong / tables


@pytest.mark.parametrize(("rows", "seeds", "seed_sd"), [(2, 1, 0.0), (6, 1, 0.0), (4, 5, 0.0), (4, 5, 0.04), (3, 8, 0.02)])
def test_at_most_one_table_in_twenty_has_a_false_better(rows, seeds, seed_sd):
    """600 tables: .05 plus three standard errors of the simulation."""
    found = false_better(np.random.default_rng([rows, seeds]), 600, rows, seeds, seed_sd)
    assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


def test_a_true_difference_is_found_on_identical_items():
    """One row is right wherever the other is, and on 3% more: paired, that is far beyond doubt; unpaired it is not."""
    rng = np.random.default_rng(0)
    first = (rng.random(1000) < 0.6).astype(np.float32)
    second = first.copy()
    second[np.flatnonzero(first == 0)[:30]] = 1
    draws = own.resampled_means(np.stack([first, second]), np.arange(1000), rng, RESAMPLES)
    pairs = own.compare_pairs(
        [Quantity(float(s.mean()), d, s.mean(keepdims=True), d[None]) for s, d in zip((first, second), draws, strict=True)]
    )
    assert pairs.better()[1, 0]
    assert not pairs.better()[0, 1]
    unpaired = 0.03 / math.sqrt(2 * 0.24 / 1000)
    assert 2 * stats.norm.sf(unpaired) > 0.05


def test_equal_rows_are_not_better():
    scores = (np.random.default_rng(0).random((1, 200)) < 0.5).astype(np.float32)
    one = quantity(scores, np.random.default_rng(1))
    pairs = own.compare_pairs([one, one])
    assert pairs.adjusted[0, 1] == 1
    assert own.best_shares([one, one], np.random.default_rng(0)) == [0.5, 0.5]


def test_what_has_no_score_counts_in_no_mean():
    """Beside a whole row, which does not notice: a row that lost every third item, and one that has a single item left."""
    rng = np.random.default_rng(5)
    whole = rng.normal(5, 2, 90).astype(np.float32)
    holes, single = whole.copy(), np.full(90, np.nan, np.float32)
    holes[::3], single[7] = np.nan, 4.0
    units = np.arange(90)
    draws = own.resampled_means(np.stack([whole, holes, single]), units, np.random.default_rng(1), 4000)
    alone = own.resampled_means(whole[None], units, np.random.default_rng(1), 4000)
    assert np.allclose(draws[0], alone[0], rtol=1e-5)  # products of other shapes round otherwise
    assert np.isfinite(draws).all()
    left = holes[np.isfinite(holes)]
    assert draws[1].mean() == pytest.approx(left.mean(), abs=0.02)
    assert draws[1].std() == pytest.approx(left.std(ddof=1) / np.sqrt(60), rel=0.06)
    assert np.all(draws[2] == 4.0)


def test_conversations_may_lack_a_turn():
    """Ten conversations of two turns; without the second turn of one its first still counts."""
    scores = np.arange(20, dtype=np.float32)
    scores[1] = np.nan
    draws = own.resampled_means(scores[None], np.repeat(np.arange(10), 2), np.random.default_rng(2), 4000)
    assert draws.mean() == pytest.approx(np.nanmean(scores), abs=0.15)
    alone = own.resampled_means(np.array([[np.nan, 3.0]], np.float32), np.zeros(2, np.int64), np.random.default_rng(2), 8)
    assert np.array_equal(alone, np.full((1, 8), 3.0))
