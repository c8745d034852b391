"""noisy: noise on every weight, of two sizes.

Source: made up.
Deviations: none.
"""

from collections.abc import Iterator, Sequence

import torch
from pydantic import PositiveFloat

from unlearnbench.api import Attack, Attacked, AttackSpec, AttackWork, Options, Victim, hookimpl


class Noisy(Attack):
    """Noise on the weights.

    Args:
        size: the larger noise, as a share of each weight's own spread.
    """

    random = True

    def __init__(self, *, size: PositiveFloat = 0.1) -> None:
        self.size = size

    def trials(self) -> Sequence[Options]:
        return [{"size": self.size / 10}, {"size": self.size}]

    def estimate(self, blocks: int) -> AttackWork:
        return AttackWork(states=2)

    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        with torch.no_grad():
            for weight in victim.model.parameters():
                weight.add_(torch.randn_like(weight) * weight.std() * float(str(trial["size"])))
        yield Attacked()


@hookimpl
def unlearnbench_attacks() -> list[AttackSpec]:
    return [AttackSpec(name="noisy", factory=Noisy, summary="noise on the weights", source="made up", access="weights")]
