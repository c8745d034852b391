"""Intervals of measures that are no means hold the truth as often as they say, on simulated items."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.comparisons import of_scores
from scipy import stats

from unlearnbench.leaderboard.resampling import ResampledScores, Run
from unlearnbench.leaderboard.shares import Subset
from unlearnbench.leaderboard.statistics import quantiles
from unlearnbench.records.cells import CellResult, Measure, Metric
from unlearnbench.records.manifest import MeasureHead

METRIC = Metric(role="forget", chance=0.0, unit="points")
CORRELATED = 0.7  # of a row's and the reference's values of one item
TABLES, ROWS, RESAMPLES = 12, 20, 400


def draw(rng, parts, rows, shift):
    """The values of rows, the last of them the reference: {part: (rows + 1, n)}."""
    found = {}
    for part, n in parts.items():
        shared, own = rng.normal(size=n), rng.normal(size=(rows + 1, n))
        values = CORRELATED * shared + (1 - CORRELATED**2) ** 0.5 * own
        values[:-1] += shift.get(part, 0.0)
        found[part] = values
    return found


def covered(reduction, truth, shift, parts, *, against=(), scale=None):
    """The share of 95% intervals that hold the true figure, over simulated comparisons."""
    members = [part for part in parts if part not in against]
    measure = Measure(name="m", metric=METRIC, parts=members, against=list(against), reduction=reduction)
    head = MeasureHead(
        name="b:m", metric=METRIC, parts=list(parts), forget_parts=[], topics={}, source="b", read_as=measure
    )  # fmt: skip
    hits = total = 0
    for table in range(TABLES):
        rng = np.random.default_rng([table, len(reduction)])
        values = draw(rng, parts, ROWS, shift)
        if scale is not None:
            values = {part: scale(own) for part, own in values.items()}
        runs = [Run(f"row{number}", 0) for number in range(ROWS)] + [Run("never", 0)]
        outcomes = {n: of_scores({part: own[n] for part, own in values.items()}) for n in range(ROWS + 1)}
        cells = {n: CellResult.model_construct(value=None, parts={}) for n in outcomes}
        scores = ResampledScores(runs, RESAMPLES, reference=["never"])
        scores.add(head, [], cells, outcomes)
        subset = Subset("b:m", tuple(parts))
        for number in range(ROWS):
            low, high = quantiles(scores.draws[subset][number])
            value = scores.values[subset][number]
            hits += min(low, value) <= truth <= max(high, value)
            total += 1
    return hits / total


@pytest.mark.parametrize("n", [40, 400])
@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0])
def test_ks(n, shift):
    truth = 2 * stats.norm.cdf(shift / 2) - 1
    found = covered("ks", truth, {"forget": shift}, {"forget": n})
    assert found > 0.91, found


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_auc(shift):
    truth = stats.norm.cdf(shift / 2**0.5)
    found = covered("auc", truth, {"in": shift}, {"in": 120, "out": 100}, against=["out"])
    assert 0.91 < found < 0.99, found


def test_difference():
    found = covered("difference", 0.3, {"forget": 0.3}, {"forget": 100})
    assert 0.91 < found < 0.99, found


def test_relative_auc():
    area = stats.norm.cdf(1 / 2**0.5)
    found = covered("relative-auc", area / 0.5 - 1, {"in": 1.0}, {"in": 150, "out": 150}, against=["out"])
    assert 0.91 < found < 0.99, found


def test_harmonic():
    """Log-normal values, so that means are positive: exp(mu + 1/2)."""
    shift = {"retain": 0.0, "world": 0.5}
    means = [np.exp(mu + 0.5) for mu in shift.values()]
    found = covered("harmonic", 2 / sum(1 / mean for mean in means), shift, {"retain": 200, "world": 150}, scale=np.exp)
    assert 0.90 < found < 0.99, found
