"""lens: what the lower blocks already know, read through the model's own final norm and head.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; on unlearned models as in Lucki et al. 2024, arXiv:2409.18025.
Deviations: blocks only, for what attention or MLP write alone is no residual stream. One block is chosen, on questions that are
    not reported, and every model chooses its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import PositiveInt

from unlearnbench.api import Attack, Attacked, AttackSpec, AttackWork, Options, Victim, decoder_blocks, hookimpl, keep_blocks


class Lens(Attack):
    """The model cut behind one of its blocks.

    Args:
        every: number of blocks from one that is read to the next.
    """

    axis = "block"

    def __init__(self, *, every: PositiveInt = 1) -> None:
        self._every = every

    def estimate(self, blocks: int) -> AttackWork:
        return AttackWork(states=len(range(0, blocks - 1, self._every)))

    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        last = len(decoder_blocks(victim.model)[1]) - 1  # behind it stands what the model itself answers
        for block in range(0, last, self._every):
            above = keep_blocks(victim.model, block + 1)
            try:
                yield Attacked(at=block)
            finally:
                keep_blocks(victim.model, None, above)


@hookimpl
def unlearnbench_attacks() -> list[AttackSpec]:
    return [
        AttackSpec(
            name="lens",
            factory=Lens,
            summary="the answers that the lower blocks give, through the model's own final norm and head",
            source="nostalgebraist 2020; Lucki et al. 2024, arXiv:2409.18025",
            access="activations",
        )
    ]
