"""relearn: a few updates of further training, and what they bring back.

Source: Lucki et al. 2024, arXiv:2409.18025 (ten samples bring most back); Deep Ignorance, O'Brien et al. 2025,
    arXiv:2508.06601, and EleutherAI's log of unrestrained fine-tuning, github.com/EleutherAI/unlearn, for the rates: none suits
    all models, and a badly chosen one makes every model look robust.
Deviations: full fine-tuning with AdamW, no decay; several rates, and the best rate and number of updates is chosen on questions
    that are not reported. Padding does not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt

from unlearnbench.api import (
    IGNORE,
    AdamW,
    Attack,
    Attacked,
    AttackSpec,
    AttackWork,
    Options,
    Stream,
    Victim,
    hookimpl,
    next_token_nll,
    unknown_name,
)

DOSES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # updates after which a model is scored
WARM_UP = 0.1  # share of the updates in which the rate rises
# from those of 7B models to those of the sandbox's; a model that a rate breaks is not chosen
RATES = [2e-5, 1e-4, 5e-4, 1e-3]
SIDES = ("forget", "retain")


class Relearn(Attack):
    """Further training on the topics' texts."""

    axis = "update"
    random = True

    def __init__(
        self,
        *,
        argument: str = "forget",
        steps: PositiveInt = 10,
        rates: Annotated[list[PositiveFloat], Field(min_length=1)] = RATES,
        batch_size: PositiveInt = 8,
        max_length: Annotated[int, Field(ge=2)] = 512,
    ) -> None:
        if argument not in SIDES:
            raise unknown_name("side of relearn", argument, SIDES, "It stands behind the colon, as in relearn:retain.")
        self._side: Literal["forget", "retain"] = "retain" if argument == "retain" else "forget"
        self._steps, self._rates = steps, rates
        self._batch_size, self._max_length = batch_size, max_length
        self.teaches = self._side == "forget"

    def trials(self) -> Sequence[Options]:
        return [{"lr": rate} for rate in self._rates]

    def estimate(self, blocks: int) -> AttackWork:
        doses = {dose for dose in DOSES if dose < self._steps} | {self._steps}
        return AttackWork(states=len(doses) * len(self._rates), updates=self._steps * len(self._rates))

    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        model, rate = victim.model, float(str(trial["lr"]))
        batches = victim.schedule(self._side, steps=self._steps, batch_size=self._batch_size, max_length=self._max_length)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        optimizer = AdamW(model.parameters(), lr=rate, master_weights=True)
        for update in range(1, self._steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, update / max(WARM_UP * self._steps, 1.0))
            with torch.enable_grad():
                loss = loss_of(victim, batches[update - 1])
                loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            victim.step(float(loss.detach()))
            if update in DOSES or update == self._steps:
                yield Attacked(at=update)


def loss_of(victim: Victim, batch: Stream) -> torch.Tensor:
    """Return the mean negative log-likelihood of a batch's counted tokens, a scalar in nats per token."""
    ids, mask, labels = (batch[key].to(victim.model.device) for key in ("input_ids", "attention_mask", "labels"))  # (B, T)
    logits = victim.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]  # (B, T-1, V)
    targets = labels[:, 1:]  # (B, T-1)
    counted = targets != IGNORE
    return next_token_nll(logits[counted], targets[counted]).mean()


@hookimpl
def unlearnbench_attacks() -> list[AttackSpec]:
    return [
        AttackSpec(
            name="relearn",
            factory=Relearn,
            summary="a few updates of further training on the texts to forget, or with relearn:retain on those to keep",
            source="Lucki et al. 2024, arXiv:2409.18025",
            access="weights",
            teaches=True,
            reads_corpora=True,
        )
    ]
