"""GradDiff: raise the loss on forget texts and lower it on retain texts.

Source: Liu, Liu and Stone, "Continual Learning and Private Unlearning", CoLLAs 2022, arXiv:2203.12817; settings:
    OpenUnlearning, src/trainer/unlearn/grad_diff.py.
    L = -gamma CE(forget) + alpha R(retain), R the loss or KL(untouched || model)
Deviations:
    - Means are taken over each sequence's tokens, then over sequences; OpenUnlearning's over all tokens of a batch.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
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
    salient_rows,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GradDiff(UnlearningMethod):
    """Gradient difference. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
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
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        with self.one_forward(batch["forget"], *self.held.streams(batch)):
            nll, held = self.nll(batch["forget"]), self.held(batch["retain"])
        self.log("forget/nll", nll)
        return held - self.forget_weight * nll

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="grad-diff",
            factory=GradDiff,
            summary="raise the loss on forget texts, lower it on retain texts",
            source="arXiv:2203.12817",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "retain_weight": Log(0.5, 8.0)},
        )
    ]
