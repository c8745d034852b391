"""Losses that several methods share, as pure functions; the method modules name their sources."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def log_sigmoid_loss(margin: Tensor, beta: float) -> Tensor:
    """-(2 / beta) mean log sigmoid(beta * margin): NPO's, SimNPO's and DPO's, which differ in their margins.

    As beta goes to 0 it goes to (2 log 2) / beta - mean margin: the margin is raised with a constant slope, as in gradient
    ascent. Where beta * margin is large the slope is gone.

    Args:
        margin: (B,), nats; larger for a sequence that is forgotten already.
        beta: inverse temperature, above 0.

    Returns:
        scalar, in the margin's dtype.
    """
    return -(2 / beta) * F.logsigmoid(beta * margin).mean()
