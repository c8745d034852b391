"""The figures of TOFU, MUSE and OpenUnlearning: of one item from its tokens, of a model from its items; pure.

Source: TOFU (Maini et al., arXiv:2401.06121), MUSE (Shi et al., arXiv:2407.06460), Min-K% (Shi et al., arXiv:2310.16789),
    Min-K%++ (Zhang et al., arXiv:2404.02936), zlib and reference (Carlini et al., arXiv:2012.07805); all as in
    locuslab/open-unlearning at d3d7cf9, whose per-item logs give its aggregates by these formulas (`make
    parity-openunlearning`).
Deviations: what a profile of the benchmark repairs is an argument here.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]
EPSILON = 1e-10  # what OpenUnlearning adds to denominators
SHARE = 0.4  # of an item's tokens that Min-K% and Min-K%++ look at, in both benchmarks
LEAST_VARIANCE = 1e-6  # of Min-K%++, so that a certain token divides by no zero
UTILITY = tuple(
    f"{part}_{name}"
    for part, names in {
        "retain": ("Q_A_Prob", "Q_A_ROUGE", "Truth_Ratio"),
        "ra": ("Q_A_Prob_normalised", "Q_A_ROUGE", "Truth_Ratio"),
        "wf": ("Q_A_Prob_normalised", "Q_A_ROUGE", "Truth_Ratio"),
    }.items()
    for name in names
)
"""The nine figures whose harmonic mean is `model_utility`."""
MEMORIZATION = ("extraction_strength", "exact_memorization", "forget_Q_A_PARA_Prob", "forget_truth_ratio_prob")


def normalised_probability(right: ArrayLike, wrong: ArrayLike, epsilon: float = EPSILON) -> Floats:
    """Return the share of the right answer's probability among all answers': (N,).

    Args:
        right: (N,), probabilities of the right answers, each the geometric mean over its tokens.
        wrong: (N, W), those of the wrong answers.
        epsilon: number added to the denominator.
    """
    right, wrong = np.asarray(right, float), np.asarray(wrong, float)
    return right / (right + wrong.sum(axis=-1) + epsilon)


def truth_ratio(right: ArrayLike, wrong: ArrayLike, epsilon: float = EPSILON, *, arithmetic: bool = False) -> Floats:
    """Return how much likelier wrong answers are than the right one: (N,), above 0.

    This is the truth ratio of TOFU's and OpenUnlearning's code, P(wrong) / P(right), where P(wrong) is the geometric mean over
    the wrong answers.

    Args:
        right: (N,), mean negative log-likelihoods of the right answers, nats per token.
        wrong: (N, W), those of the wrong answers.
        epsilon: number added to the denominator; 0 divides in log space, where nothing underflows.
        arithmetic: True takes the arithmetic mean over the wrong answers, as TOFU's paper writes it.
    """
    right, wrong = np.asarray(right, float), np.asarray(wrong, float)
    mean = -np.log(np.exp(-wrong).mean(axis=-1)) if arithmetic else wrong.mean(axis=-1)
    if not epsilon:
        return np.exp(right - mean)
    return np.exp(-mean) / (np.exp(-right) + epsilon)


def truth_probability(right: ArrayLike, wrong: ArrayLike, epsilon: float = EPSILON) -> Floats:
    """Return P(right) / (P(right) + P(wrong)): (N,), from 0 to 1, the truth ratio of OpenUnlearning's paper.

    Args:
        right: (N,), mean negative log-likelihoods of the right answers, nats per token.
        wrong: (N, W), those of the wrong answers; P(wrong) is the geometric mean over them.
        epsilon: number added to the denominator; 0 divides in log space.
    """
    right, mean = np.asarray(right, float), np.asarray(wrong, float).mean(axis=-1)
    if not epsilon:
        return 1 / (1 + np.exp(right - mean))
    return np.exp(-right) / (np.exp(-right) + np.exp(-mean) + epsilon)


def closer_to_one(ratio: ArrayLike, epsilon: float = EPSILON) -> Floats:
    """Return min(r, 1/r) of truth ratios, from 0 to 1: the summand of `forget_truth_ratio`."""
    ratio = np.asarray(ratio, float)
    return np.minimum(ratio, 1 / (ratio + epsilon))


def true_better(ratio: ArrayLike) -> Floats:
    """Return max(0, 1 - r) of truth ratios: the summand of the truth ratio on what is kept."""
    return np.maximum(0, 1 - np.asarray(ratio, float))


def exact_memorization(hits: Sequence[bool]) -> float | None:
    """Return the share of tokens that are the model's likeliest; None of no token."""
    return float(np.mean(hits)) if len(hits) else None


def extraction_strength(hits: Sequence[bool], *, floor: bool = True) -> float | None:
    """Return the share of an answer's end that the model says by itself, given what stands before.

    Args:
        hits: N truth values, whether each token is the model's likeliest.
        floor: True as in OpenUnlearning: 1/N where not even the last token is said, 0 of no token. False: 0 and None.
    """
    count = len(hits)
    if not count:
        return 0.0 if floor else None
    suffix = next((number for number, hit in enumerate(reversed(hits)) if not hit), count)  # tokens of the end, all hit
    return max(suffix, 1 if floor else 0) / count


def least_likely(values: ArrayLike, share: float = SHARE) -> float:
    """Return minus the mean of the lowest values: Min-K% of log-probabilities, Min-K%++ of z-scores; 0 of none.

    Args:
        values: (N,), a number for each token.
        share: share of the tokens that count, one at least.
    """
    ordered = np.sort(np.asarray(values, float))
    return float(-ordered[: max(1, int(share * len(ordered)))].mean()) if len(ordered) else 0.0


def z_scores(log_probabilities: ArrayLike, means: ArrayLike, variances: ArrayLike) -> Floats:
    """Return how far tokens' log-probabilities lie above their expectation, in standard deviations: (N,).

    Args:
        log_probabilities: (N,), of the tokens that are there, nats.
        means: (N,), expectations of the log-probability under the model.
        variances: (N,), its variances.
    """
    deviations = np.sqrt(np.maximum(np.asarray(variances, float), LEAST_VARIANCE))
    return (np.asarray(log_probabilities, float) - np.asarray(means, float)) / deviations


def zlib_ratio(loss: float, text: str) -> float:
    """Return a loss over the length in bytes that zlib compresses the text to; NaN of no text."""
    return loss / len(zlib.compress(text.encode())) if text else float("nan")


def attack_auc(forget: ArrayLike, holdout: ArrayLike) -> float:
    """Return the probability that a held-out text scores higher than a forget text, ties counted as halves.

    Args:
        forget: (M,), scores of the attack on forget texts; the higher, the less likely a member. NaN does not count.
        holdout: (N,), its scores on texts that were never trained on.

    Raises:
        ValueError: nothing is left on one side.
    """
    forget, holdout = (side[np.isfinite(side)] for side in (np.asarray(forget, float), np.asarray(holdout, float)))
    if not len(forget) or not len(holdout):
        raise ValueError("no holdout, no attack: membership needs scores of forget texts and of held-out ones")
    ordered = np.sort(forget)
    below = (np.searchsorted(ordered, holdout, "left") + np.searchsorted(ordered, holdout, "right")) / 2
    return float(below.mean() / len(forget))


def privacy_leakage(area: float, reference: float, epsilon: float = EPSILON) -> float:
    """Return how far an attack's AUC is from the reference's, relative to that: 0 is as if never trained on, in percent.

    Args:
        area: `attack_auc` of the model.
        reference: AUC of a model that never knew the forget texts.
        epsilon: number added to the denominator.
    """
    return 100 * (reference - area) / (1 - reference + epsilon)


def relative_difference(area: float, reference: float, epsilon: float = EPSILON) -> float:
    """Return 100 (A - A_ref) / (A_ref + epsilon), OpenUnlearning's `rel_diff`."""
    return 100 * (area - reference) / (reference + epsilon)


class KolmogorovSmirnov(NamedTuple):
    """A two-sample test of Kolmogorov and Smirnov.

    Attributes:
        statistic: largest distance D of the two distribution functions.
        p: two-sided p value, exact up to 10,000 items: OpenUnlearning's and TOFU's forget quality.
        n: number of the model's items.
    """

    statistic: float
    p: float
    n: int


def forget_quality(ratios: ArrayLike, reference: ArrayLike) -> KolmogorovSmirnov:
    """Compare a model's truth ratios on the forget set with those of a model that never knew it.

    Args:
        ratios: (N,), `truth_ratio` of each item.
        reference: (M,), that of the reference.
    """
    from scipy.stats import ks_2samp

    found: Any = ks_2samp(np.asarray(ratios, float), np.asarray(reference, float))
    return KolmogorovSmirnov(float(found.statistic), float(found.pvalue), np.size(ratios))


def typical_distance(n: int) -> float:
    """Return the median of the Kolmogorov-Smirnov statistic of two samples of one distribution, n values each."""
    step = 1
    while 2 * _paths_beyond(n, step) > math.comb(2 * n, n):
        step += 1
    return (step - 0.5) / n  # P(D >= step / n) falls below a half here: between the two steps


def _paths_beyond(n: int, step: int) -> int:
    """Return the number of orders of two samples of n that are `step` / n or more apart (Gnedenko and Korolyuk 1951)."""
    return 2 * sum((-1) ** (turn + 1) * math.comb(2 * n, n - turn * step) for turn in range(1, n // step + 1))


def harmonic_mean(values: Sequence[float]) -> float:
    """Return the harmonic mean; 0 where a value is not above 0."""
    return len(values) / sum(1 / value for value in values) if min(values) > 0 else 0.0


def memorization_score(measures: Mapping[str, float]) -> float:
    """Return the harmonic mean of one minus each measure of `MEMORIZATION`; higher is forgotten.

    Source: OpenUnlearning (arXiv:2506.12618) as others quote it; no public code computes it.
    """
    return harmonic_mean([1 - measures[name] for name in MEMORIZATION])


def closeness(area: float, reference: float) -> float:
    """Return 1 - |A - A_ref| / max(A_ref, 1 - A_ref): 1 at the reference, 0 at the farthest AUC from it.

    Our choice, since the paper's own transformation is not published: bounded, symmetric, and without a target model.
    """
    return max(0.0, 1 - abs(area - reference) / max(reference, 1 - reference))
