"""The figures of TOFU and MUSE by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unlearnbench_benchmarks.openunlearning.figures import (
    attack_auc,
    closeness,
    closer_to_one,
    exact_memorization,
    extraction_strength,
    forget_quality,
    harmonic_mean,
    least_likely,
    memorization_score,
    normalised_probability,
    privacy_leakage,
    relative_difference,
    true_better,
    truth_probability,
    truth_ratio,
    z_scores,
    zlib_ratio,
)


def test_normalised_probability():
    assert normalised_probability([0.2], [[0.1, 0.1, 0.0]])[0] == pytest.approx(0.5 - 1.25e-10, abs=1e-15)


def test_truth_ratio():
    """The geometric mean over wrong answers, not the arithmetic one that the paper writes."""
    assert truth_ratio([0.5], [[1.0, 2.0]])[0] == pytest.approx(math.exp(-1), abs=1e-9)
    assert truth_ratio([0.5], [[1.0, 2.0]], arithmetic=True)[0] == pytest.approx(0.4148304099, abs=1e-9)
    assert truth_probability([0.5], [[1.0, 2.0]])[0] == pytest.approx(0.7310585786, abs=1e-9)
    assert truth_probability([0.5], [[1.0, 2.0]], 0)[0] == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-15)
    assert closer_to_one([0.5, 2, 1]).mean() == pytest.approx(2 / 3, abs=1e-9)
    assert true_better([0.5, 2, 1]).mean() == pytest.approx(1 / 6)


def test_truth_ratio_of_a_collapsed_model():
    """OpenUnlearning's summand hides it; without, the ratio is exact however unlikely both answers are."""
    assert truth_ratio([50.0], [[49.0]])[0] == pytest.approx(5.24e-12, rel=1e-3)
    assert truth_ratio([50.0], [[49.0]], 0)[0] == pytest.approx(math.e)
    assert truth_ratio([2000.0], [[1999.0]], 0)[0] == pytest.approx(math.e)


def test_model_utility():
    assert harmonic_mean([0.9, 0.8, 0.5, 0.4, 0.8, 0.5, 0.45, 0.8, 0.6]) == pytest.approx(0.5901639344, abs=1e-9)
    assert harmonic_mean([0.9, 0.0, 0.5]) == 0
    assert harmonic_mean([0.5] * 9) == pytest.approx(0.5)


def test_forget_quality():
    half = forget_quality([0.2, 0.4, 0.6, 0.8], [0.5, 0.7, 0.9, 1.1])
    assert (half.statistic, half.n) == (0.5, 4)
    assert half.p == pytest.approx(0.7714285714, abs=1e-9)  # exact; the asymptotic one would be about .5
    assert forget_quality([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]).p == pytest.approx(2 / math.comb(10, 5))
    assert forget_quality([1, 2, 3], [1, 2, 3])[:2] == (0, 1)
    apart = forget_quality(np.arange(400), np.arange(400) + 400)
    assert apart.p == pytest.approx(1.0636e-239, rel=1e-4)
    ratios, others = np.array([0.1, 0.3, 2, 4]), np.array([0.2, 0.5, 0.7, 3])
    assert forget_quality(ratios, others) == pytest.approx(forget_quality(1 / ratios, 1 / others))


@pytest.mark.parametrize(
    ("hits", "exact", "floored", "clean"),
    [
        ("10111", 0.8, 0.6, 0.6),
        ("11111", 1, 1, 1),
        ("11110", 0.8, 0.2, 0),
        ("00001", 0.2, 0.2, 0.2),
        ("", None, 0, None),
    ],
)
def test_memorization(hits, exact, floored, clean):
    found = [hit == "1" for hit in hits]
    assert exact_memorization(found) == exact
    assert extraction_strength(found) == floored
    assert extraction_strength(found, floor=False) == clean


def test_attack_auc():
    """7.5 of 9 pairs."""
    assert attack_auc([0.1, 0.2, 0.6], [0.3, 0.6, 0.9]) == pytest.approx(7.5 / 9)
    assert attack_auc([0.3, 0.6, 0.9], [0.1, 0.2, 0.6]) == pytest.approx(1.5 / 9)
    assert attack_auc([1, 1], [1, 1, 1]) == 0.5
    assert attack_auc([0.1, math.nan, 0.2, 0.6], [0.3, 0.6, 0.9]) == pytest.approx(7.5 / 9)
    with pytest.raises(ValueError, match="no holdout, no attack"):
        attack_auc([0.1], [])


def test_privacy_leakage():
    area = 7.5 / 9
    assert privacy_leakage(area, 0.6) == pytest.approx(-58.3333333, abs=1e-6)
    assert privacy_leakage(area, area) == 0
    muse = 100 * ((1 - area) - (1 - 0.6)) / (1 - 0.6)  # as MUSE writes it, with the AUC turned round
    assert privacy_leakage(area, 0.6, 0) == pytest.approx(muse)
    assert relative_difference(0.75, 0.5) == pytest.approx(50)


def test_min_k():
    assert least_likely([-0.1, -2, -0.5, -3, -0.2]) == pytest.approx(2.5)
    assert least_likely([-0.1, -2, -0.5, -3, -0.2], 0.2) == 3
    assert least_likely([-0.7]) == 0.7
    assert least_likely([]) == 0


def test_min_k_plus_plus():
    """Two tokens: with two outcomes, the one of probability p is sqrt((1 - p) / p) deviations away."""
    p = np.array([[0.5, 0.5], [0.9, 0.1]])
    logs = np.log(p)
    means, squares = (p * logs).sum(1), (p * logs**2).sum(1)
    scores = z_scores([logs[0, 0], logs[1, 1]], means, squares - means**2)
    assert scores == pytest.approx([0, -3])
    assert least_likely(scores) == pytest.approx(3)
    assert least_likely(scores, 1) == pytest.approx(1.5)


def test_zlib():
    assert zlib_ratio(1.5, "abc") == pytest.approx(1.5 / 11)
    assert zlib_ratio(1, "The author is Jane.") == pytest.approx(1 / 27)
    assert zlib_ratio(1, "a" * 20) == pytest.approx(1 / 11)
    assert math.isnan(zlib_ratio(1, ""))


def test_scores_of_the_2025_paper():
    retained = {"extraction_strength": 0.0589589, "exact_memorization": 0.5848885}
    retained |= {"forget_Q_A_PARA_Prob": 0.0534084, "forget_truth_ratio_prob": 0.5673484}
    assert memorization_score(retained) == pytest.approx(0.5848471, abs=1e-6)
    full = {"extraction_strength": 0.7062685, "exact_memorization": 0.9739358}
    full |= {"forget_Q_A_PARA_Prob": 0.1004176, "forget_truth_ratio_prob": 0.6849836}
    assert memorization_score(full) == pytest.approx(0.0868484, abs=1e-6)
    assert closeness(0.99665, 0.3826125) == pytest.approx(0.0054261, abs=1e-6)
    assert closeness(0.4, 0.4) == 1
    assert closeness(0, 0.5) == 0
