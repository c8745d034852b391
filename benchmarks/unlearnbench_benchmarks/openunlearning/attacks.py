"""The measures of attacks on membership, of forget texts against texts that no model was taught."""

from __future__ import annotations

from collections.abc import Iterable

from unlearnbench.api import Measure, Metric

TITLES = {"mia_loss": "loss", "mia_zlib": "zlib", "mia_min_k": "Min-40%", "mia_min_k_plus_plus": "Min-40%++"}
"""Attack that needs no gradient and no second model -> its title."""
BY_GRADIENT = {"mia_gradnorm": "gradient norm"}


def attack_measures(forget: str, holdout: str, *, gradnorm: bool) -> Iterable[Measure]:
    """Yield the AUC of each attack, as OpenUnlearning signs it, and privacy leakage.

    Args:
        forget: part of the texts that are to be forgotten.
        holdout: part of the texts that were never trained on.
        gradnorm: True has the attack by gradients, too.
    """
    for name, title in (TITLES | (BY_GRADIENT if gradnorm else {})).items():
        area = Metric(name=f"AUC of {title}", role="forget", chance=0.5)
        yield Measure(name=name, metric=area, parts=[holdout], against=[forget], reduction="auc")
    leakage = Metric(name="privacy leakage", role="forget", better="lower", chance=0.0, ideal=0.0, unit="share")
    yield Measure(name="privleak", of="mia_min_k", metric=leakage, parts=[forget], against=[holdout], reduction="relative-auc")
