"""The values of one item, from one reading of its answers: every measure is made of these."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unlearnbench.api import AnswerReading
from unlearnbench_benchmarks.openunlearning.figures import (
    closer_to_one,
    exact_memorization,
    extraction_strength,
    least_likely,
    normalised_probability,
    true_better,
    truth_probability,
    truth_ratio,
    z_scores,
    zlib_ratio,
)
from unlearnbench_benchmarks.openunlearning.profiles import Profile

Values = dict[str, float]


class Losses(NamedTuple):
    """Mean negative log-likelihoods of an item's answers, nats per token; NaN of an answer without a counted token.

    Attributes:
        answer: loss of the answer.
        paraphrase: loss of the true rewording; of the answer where there is none.
        perturbed: losses of the false answers.
    """

    answer: float
    paraphrase: float
    perturbed: Sequence[float]


def loss_of(reading: AnswerReading) -> float:
    """Return the mean negative log-likelihood over the counted tokens, nats; NaN of none."""
    logs = reading.log_probabilities
    return -math.fsum(logs) / len(logs) if logs else math.nan


def token_values(reading: AnswerReading, text: str, profile: Profile) -> Values:
    """Return memorization and the scores of attacks on membership; what an item does not have is left out.

    Args:
        reading: reading of the answer; without moments there are no attacks.
        text: answer, for zlib.
        profile: profile.
    """
    end = len(reading.hits) if profile.last else len(reading.hits) - 1
    logs, hits = reading.log_probabilities[: max(end, 0)], reading.hits[: max(end, 0)]
    found: dict[str, float | None] = {
        "exact_memorization": exact_memorization(hits),
        "extraction_strength": extraction_strength(hits, floor=profile.floor),
    }
    if reading.means:
        loss, scored = loss_of(reading), bool(logs) or profile.floor
        scores = z_scores(logs, reading.means[: len(logs)], reading.variances[: len(logs)])
        found |= {
            "mia_loss": loss,
            "mia_zlib": zlib_ratio(loss, text),
            "mia_min_k": least_likely(logs) if scored else None,
            "mia_min_k_plus_plus": least_likely(scores) if scored else None,
        }
    return finite(found)


def answer_values(losses: Losses, profile: Profile, *, normalised: bool) -> Values:
    """Return probabilities and truth ratios.

    Args:
        losses: losses of the item's answers.
        profile: profile.
        normalised: True divides the probability by the sum over all answers, as for real authors and world facts.
    """
    probability = math.exp(-losses.answer) if math.isfinite(losses.answer) else math.nan
    found: dict[str, float | None] = {"avg_loss": losses.answer, "prob": probability}
    wrong = np.exp(-np.array(losses.perturbed, float))
    if len(wrong):
        found |= {"para_prob": math.exp(-losses.paraphrase), "pert_prob": float(wrong.mean())}
        right, all_wrong = [losses.paraphrase], [list(losses.perturbed)]
        ratio = truth_ratio(right, all_wrong, profile.epsilon)
        found |= {
            "truth_ratio": float(ratio[0]),
            "truth_ratio_closer": float(closer_to_one(ratio, profile.epsilon)[0]),
            "truth_ratio_better": float(true_better(ratio)[0]),
            "truth_ratio_prob": float(truth_probability(right, all_wrong, profile.epsilon)[0]),
        }
    share = float(normalised_probability([probability], [wrong], profile.epsilon)[0]) if normalised else probability
    return finite({**found, "utility_prob": share})


def finite(values: Mapping[str, float | None]) -> Values:
    """Return the values that there are."""
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
