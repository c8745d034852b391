"""fine-tune-retain: lower the loss on retain texts and do nothing else, a baseline for mere further training.

Source: none needed; the control of Golatkar et al., arXiv:1911.04933, who call it finetuning.
    L = CE(retain)
Deviations: none.
Streams: retain; the forget stream is not looked at.
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
    SalientShare,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    UsageError,
    hookimpl,
    salient_rows,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FineTuneRetain(UnlearningMethod):
    """Further training on retain texts. Defaults: those of gradient ascent, so that the two can be compared.

    Args:
        model: a language model.
        lr: learning rate.
        weight_decay: decoupled weight decay; with `salient` of 1 only.
        adapter: `lora` trains a low-rank adapter, `none` every weight.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights, which this learning rate would hardly move.
        salient: share of the weights' rows that are trained, those with the largest forget gradients (SURE); 1 trains all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        lr: PositiveFloat = 1e-5,
        weight_decay: NonNegativeFloat = 0.0,
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        master_weights: bool = True,
        salient: SalientShare = 1.0,
    ) -> None:
        if weight_decay and salient < 1:
            raise UsageError("weights that train only in some rows cannot decay; set weight_decay to 0, or salient to 1.")
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.lr, self.weight_decay, self.master_weights, self.salient = lr, weight_decay, master_weights, salient
        self.use_adapter(adapter, rank)

    def on_fit_start(self) -> None:
        self.model.eval()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        nll = self.nll(batch["retain"])
        self.log("retain/nll", nll)
        return nll

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(
            self.trainable(), lr=self.lr, weight_decay=self.weight_decay, master_weights=self.master_weights, rows=rows
        )


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="fine-tune-retain",
            factory=FineTuneRetain,
            summary="lower the loss on retain texts: a control",
            source="arXiv:1911.04933",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3)},
        )
    ]
