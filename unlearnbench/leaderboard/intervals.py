"""Intervals of figures, from draws of resampled scores."""

from __future__ import annotations

import numpy as np

from unlearnbench.leaderboard.statistics import Quantity, interval
from unlearnbench.records.leaderboard import Estimate
from unlearnbench.records.manifest import ManifestBenchmark


def widened(estimate: Estimate, low: float, high: float) -> Estimate:
    """Return an estimate whose interval reaches at least to these ends, within 0 to 1."""
    assert estimate.low is not None
    assert estimate.high is not None
    low, high = max(min(estimate.low, low), 0.0), min(max(estimate.high, high), 1.0)
    return estimate.model_copy(update={"low": round(low, 6), "high": round(high, 6)})


def estimate(
    quantity: Quantity,
    level: float,
    n: int | None = None,
    *,
    limits: tuple[float, float] | None = None,
    share: bool = False,
) -> Estimate:
    """Return a figure with its interval.

    Args:
        quantity: figure of a row.
        level: level of the interval.
        n: number of its items.
        limits: ends that the figure cannot be beyond.
        share: True for a share of what the base knew, against which it is paired: no variance means no difference. A score that
            every resample repeats has no interval: that all items are rated alike does not mean that others would be.
    """
    value = round(quantity.value, 6)
    if not quantity.draws.size or (not share and not np.ptp(quantity.draws)):
        return Estimate(value=value, n=n)
    low, high = interval(quantity, level)
    if limits is not None:
        low, high = max(low, limits[0]), min(high, limits[1])
    return Estimate(value=value, low=round(min(low, value), 6), high=round(max(high, value), 6), n=n)


def limits_of(head: ManifestBenchmark) -> tuple[float, float] | None:
    """Return the lowest and highest score that a benchmark can give; None where they are not known."""
    signed = head.measure is not None and head.measure.reduction in ("difference", "relative-auc")
    return (0.0, 1.0) if head.metric.unit == "fraction" and not signed else None
