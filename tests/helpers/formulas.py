"""The roster's losses as the papers write them, on whole logits, sequence by sequence: what the methods are held against.

Every formula takes both sides of a batch. What a method takes no gradient through (a weight, a target) comes from `frozen`,
the same weights' logits as constants, so that a finite difference of the formula is the derivative that the method claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearnbench.data.batches import IGNORE


@dataclass
class Side:
    """One stream of a batch as three models see it; logits are (B, T, V), labels (B, T)."""

    logits: Tensor
    frozen: Tensor
    untouched: Tensor
    labels: Tensor

    def sequences(self) -> Iterator[Sequence]:
        """Each sequence's counted tokens only."""
        for row, labels in enumerate(self.labels):
            at = [t for t in range(len(labels) - 1) if labels[t + 1] != IGNORE]
            targets = [int(labels[t + 1]) for t in at]
            yield Sequence(self.logits[row, at], self.frozen[row, at], self.untouched[row, at], targets)


@dataclass
class Sequence:
    """The counted tokens of one sequence: logits (N, V), and what comes next."""

    logits: Tensor
    frozen: Tensor
    untouched: Tensor
    targets: list[int]

    def log_p(self, which: str = "logits") -> Tensor:
        """(N,), of the tokens that come next."""
        logs: Tensor = getattr(self, which).log_softmax(-1)
        return torch.stack([logs[n, target] for n, target in enumerate(self.targets)])


def mean_over(side: Side, value) -> Tensor:
    return torch.stack([value(sequence) for sequence in side.sequences()]).mean()


def cross_entropy(side: Side) -> Tensor:
    return mean_over(side, lambda s: -s.log_p().mean())


def divergence(side: Side) -> Tensor:
    def value(s: Sequence) -> Tensor:
        before = s.untouched.log_softmax(-1)
        return (before.exp() * (before - s.logits.log_softmax(-1))).sum(-1).mean()

    return mean_over(side, value)


def grad_ascent(forget: Side, retain: Side) -> Tensor:
    return -cross_entropy(forget)


def grad_diff(forget: Side, retain: Side, gamma: float, alpha: float) -> Tensor:
    return -gamma * cross_entropy(forget) + alpha * cross_entropy(retain)


def grad_diff_kl(forget: Side, retain: Side, gamma: float, alpha: float) -> Tensor:
    return -gamma * cross_entropy(forget) + alpha * divergence(retain)


def descend(side: Side) -> Tensor:
    return cross_entropy(side)


def simnpo(forget: Side, retain: Side, beta: float, delta: float, gamma: float, alpha: float) -> Tensor:
    ascent = mean_over(forget, lambda s: -2 / beta * torch.sigmoid(beta * (-s.log_p().mean() - delta)).log())
    return gamma * ascent + alpha * cross_entropy(retain)


def weighted(forget: Side, retain: Side, confidence: float, doubt: float, gamma: float, alpha: float) -> Tensor:
    """WGA's with doubt 0, SatImp's otherwise."""

    def value(s: Sequence) -> Tensor:
        p = s.log_p("frozen").exp()
        return (p**confidence * (1 - p) ** doubt * s.log_p()).mean()

    return gamma * mean_over(forget, value) + alpha * cross_entropy(retain)


def ce_u(forget: Side, skip: int) -> Tensor:
    def value(s: Sequence) -> Tensor:
        losses = []
        for n, target in list(enumerate(s.targets))[skip:]:
            others = [v for v in range(s.logits.shape[1]) if v != target]
            losses.append(-(s.frozen[n, others].softmax(-1) * s.logits[n].log_softmax(-1)[others]).sum())
        return torch.stack(losses).mean()

    return mean_over(forget, value)


def pdu(forget: Side, retain: Side, gamma: float, multiplier: float, bound: float) -> Tensor:
    flatness = mean_over(forget, lambda s: torch.stack([(z.max() - z.sum() / len(z)) ** 2 for z in s.logits]).mean())
    return gamma * flatness + multiplier * (cross_entropy(retain) - bound)


def npo(forget: Side, retain: Side, beta: float, gamma: float, alpha: float) -> Tensor:
    def value(s: Sequence) -> Tensor:
        ratio = s.log_p().sum() - s.log_p("untouched").sum()
        return -2 / beta * torch.sigmoid(-beta * ratio).log()

    return gamma * mean_over(forget, value) + alpha * cross_entropy(retain)


def dpo(winner: Side, forget: Side, retain: Side, beta: float, gamma: float, alpha: float) -> Tensor:
    losses = []
    for preferred, loser in zip(winner.sequences(), forget.sequences(), strict=True):
        ratios = [s.log_p().sum() - s.log_p("untouched").sum() for s in (preferred, loser)]
        losses.append(-2 / beta * torch.sigmoid(beta * (ratios[0] - ratios[1])).log())
    return gamma * torch.stack(losses).mean() + alpha * cross_entropy(retain)


def undial(forget: Side, retain: Side, beta: float, gamma: float, alpha: float) -> Tensor:
    def value(s: Sequence) -> Tensor:
        target = s.untouched.clone()
        for n, token in enumerate(s.targets):
            target[n, token] -= beta
        return -(target.softmax(-1) * s.logits.log_softmax(-1)).sum(-1).mean()

    return gamma * mean_over(forget, value) + alpha * cross_entropy(retain)
