"""From the values of items to one figure, for R resamples of the items at once; pure.

Every function takes how often each resample holds an item; ones, in a single row, give the figure of the items as they are.

Source: Mann and Whitney (1947) for the area under the ROC curve with ties counted as halves; Smirnov (1939) for the statistic.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def harmonic(means: Sequence[Floats]) -> Floats:
    """Harmonic mean of means of one shape; 0 where one of them is not above 0."""
    stacked = np.stack(means)
    inverse = np.sum(1 / np.where(stacked > 0, stacked, np.nan), axis=0)
    return np.where((stacked <= 0).any(axis=0), 0.0, len(stacked) / inverse)


def auc(members: Floats, others: Floats, of_members: Floats, of_others: Floats) -> Floats:
    """Probability that a member's value lies above a non-member's, ties counted as halves.

    Args:
        members: (M,) values.
        others: (N,) values.
        of_members: (R, M), how often each resample holds a member.
        of_others: (R, N), likewise.

    Returns:
        (R,).
    """
    order = np.argsort(others, kind="stable")
    below = np.zeros((len(of_others), len(others) + 1), dtype=of_others.dtype)
    np.cumsum(of_others[:, order], axis=1, out=below[:, 1:])
    low, high = (np.searchsorted(others[order], members, side) for side in ("left", "right"))
    wins = (of_members * (below[:, low] + below[:, high])).sum(axis=1) / 2
    return wins / (of_members.sum(axis=1) * below[:, -1])


def ks(row: Floats, reference: Floats, of_row: Floats, of_reference: Floats) -> Floats:
    """Largest distance between two distribution functions.

    Args:
        row: (N,) values.
        reference: (M,) values.
        of_row: (R, N), how often each resample holds an item.
        of_reference: (R, M), likewise.

    Returns:
        (R,).
    """
    values = np.concatenate([row, reference])
    order = np.argsort(values, kind="stable")
    weights = [of_row / of_row.sum(axis=1, keepdims=True), -of_reference / of_reference.sum(axis=1, keepdims=True)]
    apart = np.cumsum(np.concatenate(weights, axis=1)[:, order], axis=1)
    last = np.append(np.diff(values[order]) > 0, True)  # of equal values: the step is made by all of them
    return np.abs(apart[:, last]).max(axis=1)
