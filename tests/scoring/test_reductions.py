"""Reductions against formulas written out, and against scipy and scikit-learn's definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from unlearnbench.records.cells import Measure, Metric
from unlearnbench.records.items import ItemResult
from unlearnbench.scoring.measures import faults, measure_score
from unlearnbench.scoring.reductions import auc, harmonic, ks

KNOWN = Metric(role="forget", chance=0.5)


def ones(values):
    return np.ones((len(values), 1))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_the_share_of_pairs(ties):
    rng = np.random.default_rng(3)
    members, others = rng.normal(0.5, 1, 40), rng.normal(0, 1, 55)
    if ties:
        members, others = members.round(), others.round()
    pairs = [1.0 if m > o else 0.5 if m == o else 0.0 for m, o in itertools.product(members, others)]
    assert auc(members, others, ones(members), ones(others))[0] == pytest.approx(np.mean(pairs))
    wins = stats.mannwhitneyu(members, others).statistic
    assert auc(members, others, ones(members), ones(others))[0] == pytest.approx(wins / (40 * 55))


@pytest.mark.parametrize("ties", [False, True])
def test_ks_is_scipys(ties):
    rng = np.random.default_rng(4)
    row, reference = rng.normal(0.3, 1, 60), rng.normal(0, 1, 80)
    if ties:
        row, reference = row.round(1), reference.round(1)
    expected = stats.ks_2samp(row, reference).statistic
    assert ks(row, reference, ones(row), ones(reference))[0] == pytest.approx(expected)


def test_counts_are_repetitions():
    """An item that a resample holds twice counts as two."""
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=12).round(1), rng.normal(size=9).round(1)
    of_a, of_b = rng.integers(0, 3, (12, 7)).astype(float), rng.integers(0, 3, (9, 7)).astype(float)
    for figure in (auc, ks):
        found = figure(a, b, of_a, of_b)
        for one, ca, cb in zip(found, of_a.T, of_b.T, strict=True):
            again = np.repeat(a, ca.astype(int)), np.repeat(b, cb.astype(int))
            assert one == pytest.approx(figure(*again, ones(again[0]), ones(again[1]))[0])


def test_harmonic_mean_of_means():
    assert harmonic([np.array([0.5, 0.0]), np.array([0.25, 1.0])]).tolist() == pytest.approx([1 / 3, 0.0])
    assert harmonic([np.array(0.4), np.array(-0.1)]) == 0.0


def items_of(**parts):
    return [
        ItemResult(id=f"{part}/{i}", part=part, score=0.0, values={"v": value})
        for part, values in parts.items()
        for i, value in enumerate(values)
    ]


def test_measure_of_a_cell():
    items = items_of(a=[0.2, 0.4], b=[0.9], c=[0.1, 0.3])
    parts = ["a", "b", "c"]
    mean = measure_score(Measure(name="m", of="v", metric=KNOWN, parts=["a", "b"]), parts, items)
    assert mean is not None
    assert (mean.value, mean.n, mean.parts["a"].value) == (0.5, 3, 0.3)
    area = Measure(name="area", of="v", metric=KNOWN, parts=["a"], against=["c"], reduction="auc")
    assert measure_score(area, parts, items).value == pytest.approx(0.75)
    against = Measure(name="d", of="v", metric=KNOWN, parts=["a"], reduction="ks")
    assert measure_score(against, parts, items).value is None
    assert measure_score(Measure(name="w", metric=KNOWN), parts, items) is None


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        ([Measure(name="a", metric=KNOWN), Measure(name="a", metric=KNOWN)], "Two measures are called 'a'"),
        ([Measure(name="a", metric=KNOWN, parts=["x"])], "speaks of a part 'x'; the benchmark's parts are p, q"),
        ([Measure(name="a", metric=KNOWN, parts=["p"], reduction="auc")], "needs the parts of the non-members"),
        ([Measure(name="a", metric=KNOWN, against=["p"])], "knows no non-members"),
        ([Measure(name="a", metric=KNOWN, parts=["p"], against=["p"], reduction="auc")], "none of them in `against`"),
    ],
)
def test_measures_that_cannot_be_made(measures, said):
    assert said in next(iter(faults(measures, ["p", "q"])))


def test_measures_have_plain_names():
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        Measure(name="Model Utility", metric=KNOWN)
