"""prune: what is left of unlearning once the smallest weights are removed, as they are to make models smaller.

Source: magnitude pruning, Han et al. 2015, arXiv:1506.02626; on unlearned models as in composable-interventions, Kolbeinsson
    et al. 2024, arXiv:2407.06483.
Deviations: the share is of each matrix, not of all weights together; nothing is trained afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unlearnbench.api import Attack, Attacked, AttackSpec, Options, UsageError, Victim, decoder_blocks, hookimpl

PERCENT = "30"


def prune(weight: Tensor, share: float) -> Tensor:
    """Return a weight in which this share of its numbers, those of smallest magnitude, are 0; of equals the first.

    Args:
        weight: any shape and float dtype.
        share: share of its numbers, from 0 to 1; a fraction of a number is left out.
    """
    count = int(weight.numel() * share)
    smallest = weight.abs().flatten().sort(stable=True).indices[:count]
    return weight.flatten().index_fill(0, smallest, 0).view_as(weight)


def matrices(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the decoder blocks' matrices."""
    for block in decoder_blocks(model)[1]:
        yield from (weight for weight in block.parameters() if weight.ndim >= 2)


class Prune(Attack):
    """The smallest weights of each matrix set to 0."""

    def __init__(self, *, argument: str = PERCENT) -> None:
        if not argument.isdecimal() or not 0 < int(argument) < 100:
            raise UsageError(f"prune takes a whole percentage from 1 to 99 behind the colon, as in prune:30; got '{argument}'.")
        self._share = int(argument) / 100

    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        with torch.no_grad():
            for weight in matrices(victim.model):
                weight.copy_(prune(weight, self._share))
        yield Attacked()


@hookimpl
def unlearnbench_attacks() -> list[AttackSpec]:
    return [
        AttackSpec(
            name="prune",
            factory=Prune,
            summary="the smallest weights of each matrix set to 0: prune:30 for 30 percent of them",
            source="Han et al. 2015, arXiv:1506.02626",
            access="weights",
            stress=True,
        )
    ]
