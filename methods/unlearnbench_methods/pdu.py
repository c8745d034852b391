"""PDU: flatten the logits on forget texts while the loss on retain texts stays below a bound.

Source: Entesari et al., "Constrained Entropic Unlearning: A Primal-Dual Framework for Large Language Models",
    arXiv:2506.05314; settings: OpenUnlearning, src/trainer/unlearn/pdu.py.
    L = gamma f + lambda (CE(retain) - epsilon), f = mean over forget tokens of (max_v z - mean_v z)^2 of their logits z;
    lambda <- max(0, lambda + step (CE(retain) - epsilon)) after each update past the warm-up
Deviations:
    - Means are taken over each sequence's tokens, then over sequences; OpenUnlearning's over all tokens of a batch.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
    - f counts the positions whose logits predict a counted token; OpenUnlearning's mask is one position late.
    - epsilon follows from the untouched model's loss on the first retain batch of each topic, times 1 + slack, unless it is
      given; OpenUnlearning asks for a number.
    - lambda moves at every update, by the loss of the whole batch; OpenUnlearning can move it once per epoch.
Streams: forget and retain of one topic per update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    AdamW,
    Log,
    MethodSpec,
    SalientShare,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    hookimpl,
    next_tokens,
    over_positions,
    salient_rows,
    upcast,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class PDU(UnlearningMethod):
    """Primal-dual unlearning. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        forget_weight: weight of the flattening, gamma.
        multiplier: lambda at the start.
        dual_step: step size of lambda per update, per nat by which the constraint is violated.
        dual_warmup: number of updates before lambda moves.
        bound: epsilon, nats per token; None: the untouched model's loss, times 1 + slack.
        slack: margin in `bound`'s default, as a share of the untouched model's loss.
        lr: learning rate.
        adapter: `lora` trains a low-rank adapter, `none` every weight.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights, which this learning rate would hardly move.
        salient: share of the weights' rows that are trained, those with the largest forget gradients (SURE); 1 trains all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        forget_weight: NonNegativeFloat = 1.0,
        multiplier: NonNegativeFloat = 50.0,
        dual_step: NonNegativeFloat = 1.0,
        dual_warmup: NonNegativeInt = 63,
        bound: PositiveFloat | None = None,
        slack: NonNegativeFloat = 0.1,
        lr: PositiveFloat = 1e-5,
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        master_weights: bool = True,
        salient: SalientShare = 1.0,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.lr, self.master_weights, self.salient = lr, master_weights, salient
        self.use_adapter(adapter, rank)
        self.forget_weight, self.multiplier = forget_weight, multiplier
        self.dual_step, self.dual_warmup = dual_step, dual_warmup
        self.bound, self.slack = bound, slack
        self._retained: list[Tensor] = []

    def on_fit_start(self) -> None:
        self.model.eval()
        if self.bound is None:
            self.bound = (1 + self.slack) * self._initial_loss()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        assert self.bound is not None
        with self.one_forward(batch["forget"], batch["retain"]):
            flatness, retained = self.flatness(batch["forget"]), self.nll(batch["retain"])
        self._retained.append(retained.detach())
        self.log_dict({"forget/flatness": flatness, "retain/nll": retained, "multiplier": self.multiplier})
        return self.forget_weight * flatness + self.multiplier * (retained - self.bound)

    def flatness(self, stream: Stream) -> Tensor:
        """Return f, a scalar: the squared logits; 0 where every token is as likely as any other."""
        predicting, _ = next_tokens(stream["labels"])
        hidden = self.final_hidden(stream)
        return over_positions(self.model, hidden, predicting, lambda logits, part: [logit_margin(logits)]).total

    def on_train_batch_end(self, outputs: object, batch: UnlearnBatch, batch_idx: int) -> None:
        if (batch_idx + 1) % self.context.accumulate:
            return
        retained, self._retained = torch.stack(self._retained).mean(), []
        if self.context.retain.share.world > 1:
            retained = torch.as_tensor(self.all_gather(retained)).mean()  # every process has the same lambda
        assert self.bound is not None
        if batch_idx // self.context.accumulate >= self.dual_warmup:
            self.multiplier = max(0.0, self.multiplier + self.dual_step * (float(retained) - self.bound))

    @torch.no_grad()
    def _initial_loss(self) -> float:
        streams = [self.context.retain.update(topic) for topic in range(len(self.context.topics))]
        with self.computation():
            return sum(float(self.nll(self.transfer_batch_to_device(s, self.device, 0))) for s in streams) / len(streams)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


def logit_margin(logits: Tensor) -> Tensor:
    """The square of how far the largest logit is above their mean: (N, V) -> (N,), float32 or wider."""
    z = upcast(logits)
    return (z.max(dim=-1).values - z.mean(dim=-1)).square()


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="pdu",
            factory=PDU,
            summary="flatten the logits on forget texts under a bound on the retain loss",
            source="arXiv:2506.05314",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "multiplier": Log(5.0, 200.0), "slack": Log(0.03, 1.0)},
        )
    ]
