"""WGA: gradient ascent in which a token counts less, the less likely it already is.

Source: Wang et al., "Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond", ICLR 2025,
    arXiv:2502.19301; settings: OpenUnlearning, src/trainer/unlearn/wga.py.
    L = -gamma mean(sg[p^beta] nll) + alpha R(retain), p = exp(-nll) of each forget token, sg without gradient
Deviations:
    - Means are taken over each sequence's tokens, then over sequences; OpenUnlearning's over all tokens of a batch.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
    - No reference model is loaded; OpenUnlearning loads one and never uses it.
Streams: forget and retain of one topic per update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    AdamW,
    Log,
    MethodSpec,
    RetainKind,
    RetainTerm,
    SalientShare,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    hookimpl,
    next_token_nll,
    next_tokens,
    over_positions,
    salient_rows,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WGA(UnlearningMethod):
    """Weighted gradient ascent. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        beta: exponent of a token's probability in its weight; 0 is gradient ascent.
        forget_weight: weight of the forget term, gamma.
        retain_weight: weight of the retain term, alpha.
        retain: loss on retain texts: `nll`, or `kl`, the divergence from the untouched model.
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
        beta: NonNegativeFloat = 1.0,
        forget_weight: NonNegativeFloat = 1.0,
        retain_weight: NonNegativeFloat = 1.0,
        retain: RetainKind = "nll",
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
        self.beta = beta
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        stream = batch["forget"]
        predicting, targets = next_tokens(stream["labels"])

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            nll = next_token_nll(logits, targets[part])
            return [weighted_ascent(nll, self.beta), nll]

        with self.one_forward(stream, *self.held.streams(batch)):
            hidden = self.final_hidden(stream)
            ascent = over_positions(self.model, hidden, predicting, loss_of, (self.forget_weight, 0.0))
            held = self.held(batch["retain"])
        self.log("forget/nll", ascent.terms[1])
        return ascent.total + held

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


def weighted_ascent(nll: Tensor, beta: float) -> Tensor:
    """Return -p^beta nll with p = exp(-nll) and no gradient through the weight.

    Args:
        nll: (N,), nats per token.
        beta: exponent of the token's probability: above 0, tokens that are forgotten already count less.

    Returns:
        (N,), in the dtype of `nll`.
    """
    return -((-nll.detach()).exp() ** beta) * nll


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="wga",
            factory=WGA,
            summary="raise the loss of forget tokens, less where it is high already",
            source="arXiv:2502.19301",
            training=Training(steps=63, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta": Log(0.2, 5.0), "retain_weight": Log(0.5, 5.0)},
        )
    ]
