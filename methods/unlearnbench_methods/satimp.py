"""SatImp: gradient ascent in which a token counts less where it is already forgotten and where the model is sure of it.

Source: Yang et al., "Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning", ICML 2025, arXiv:2505.11953;
    settings: OpenUnlearning, src/trainer/unlearn/satimp.py and its configuration.
    L = -gamma mean(sg[p^beta1 (1 - p)^beta2] nll) + alpha R(retain), p = exp(-nll) of each forget token, sg without gradient
Deviations:
    - Means are taken over each sequence's tokens, then over sequences; OpenUnlearning's over all tokens of a batch.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
    - gamma .1 and alpha 1 are those of OpenUnlearning's configuration; its README has them the other way round.
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


class SatImp(UnlearningMethod):
    """Saturation and importance weighting. Defaults: OpenUnlearning's configuration.

    Args:
        model: a language model.
        beta1: exponent of a token's probability in its weight.
        beta2: exponent of the probability's complement.
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
        beta1: NonNegativeFloat = 5.0,
        beta2: NonNegativeFloat = 1.0,
        forget_weight: NonNegativeFloat = 0.1,
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
        self.beta1, self.beta2 = beta1, beta2
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        stream = batch["forget"]
        predicting, targets = next_tokens(stream["labels"])

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            nll = next_token_nll(logits, targets[part])
            return [weighted_ascent(nll, self.beta1, self.beta2), nll]

        with self.one_forward(stream, *self.held.streams(batch)):
            hidden = self.final_hidden(stream)
            ascent = over_positions(self.model, hidden, predicting, loss_of, (self.forget_weight, 0.0))
            held = self.held(batch["retain"])
        self.log("forget/nll", ascent.terms[1])
        return ascent.total + held

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


def weighted_ascent(nll: Tensor, confidence: float, doubt: float) -> Tensor:
    """Return -p^confidence (1 - p)^doubt nll with p = exp(-nll) and no gradient through the weight.

    Args:
        nll: (N,), nats per token.
        confidence: exponent of the token's probability: above 0, tokens that are forgotten already count less.
        doubt: exponent of its complement: above 0, tokens that the model is sure of count less.

    Returns:
        (N,), in the dtype of `nll`.
    """
    probability = (-nll.detach()).exp()
    return -(probability**confidence) * (1 - probability) ** doubt * nll


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="satimp",
            factory=SatImp,
            summary="raise the loss of forget tokens that are neither forgotten nor certain",
            source="arXiv:2505.11953",
            training=Training(steps=63, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta1": Log(1.0, 10.0), "forget_weight": Log(0.05, 2.0)},
        )
    ]
