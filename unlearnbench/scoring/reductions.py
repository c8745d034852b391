"""Reductions of items' values to one figure, for R resamples of the items at once; pure.

Every function takes the counts of each item in each resample; a single column of ones gives the figure without resampling.

Source: Mann and Whitney (1947) for the area under the ROC curve with ties counted as halves; Smirnov (1939) for the statistic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def harmonic(means: Sequence[Floats]) -> Floats:
    """Return the harmonic mean of arrays of one shape, element by element; 0 where one of them is not above 0."""
    stacked = np.stack(means)
    inverse = np.sum(1 / np.where(stacked > 0, stacked, np.nan), axis=0)
    return np.where((stacked <= 0).any(axis=0), 0.0, len(stacked) / inverse)


def auc(members: Floats, others: Floats, of_members: Floats, of_others: Floats) -> Floats:
    """Return the probability that a member's value lies above a non-member's, ties counted as halves.

    Args:
        members: (M,) values.
        others: (N,) values.
        of_members: (M, R), counts of each member in each resample.
        of_others: (N, R), counts of each non-member in each resample.

    Returns:
        (R,), probabilities.
    """
    order = np.argsort(others, kind="stable")
    below = np.zeros((len(others) + 1, of_others.shape[1]), dtype=of_others.dtype)
    np.cumsum(of_others[order], axis=0, out=below[1:])
    low, high = (np.searchsorted(others[order], members, side) for side in ("left", "right"))
    beaten = below[low] if (low == high).all() else (below[low] + below[high]) / 2
    return np.einsum("mr,mr->r", of_members, beaten) / (of_members.sum(axis=0) * below[-1])


def ks_log_p(row: Floats, reference: Floats) -> float:
    """Return the base-10 logarithm of the p value of a two-sided Kolmogorov-Smirnov test, exact up to 10,000 values.

    Args:
        row: (N,) values of the row's items.
        reference: (M,) values of the reference's items.
    """
    from scipy.stats import ks_2samp  # not needed to show other figures, and slow to import

    found: Any = ks_2samp(row, reference)
    return float(np.log10(max(found.pvalue, np.finfo(float).tiny)))


def ks(row: Floats, reference: Floats, of_row: Floats, of_reference: Floats) -> Floats:
    """Return the largest distance between two empirical distribution functions (Kolmogorov-Smirnov statistic).

    Args:
        row: (N,) values of the row's items.
        reference: (M,) values of the reference's items.
        of_row: (N, R), counts of each of the row's items in each resample.
        of_reference: (M, R), counts of each of the reference's items in each resample.

    Returns:
        (R,), distances from 0 to 1.
    """
    values = np.concatenate([row, reference])
    order = np.argsort(values, kind="stable")
    totals = of_row.sum(axis=0), of_reference.sum(axis=0)
    alike = np.array_equal(*totals)  # whole numbers can then be added up, and are divided in the end
    weights = [of_row, -of_reference] if alike else [of_row / totals[0], -of_reference / totals[1]]
    dtype = np.int16 if alike and totals[0].max(initial=0) < np.iinfo(np.int16).max else of_row.dtype  # half of what is moved
    apart = np.concatenate(weights).astype(dtype)[order]
    np.cumsum(apart, axis=0, out=apart)
    last = np.append(np.diff(values[order]) > 0, True)  # of equal values: the step is made by all of them
    steps = apart if last.all() else apart[last]
    largest = np.maximum(steps.max(axis=0), -steps.min(axis=0))
    return largest / totals[0] if alike else largest
