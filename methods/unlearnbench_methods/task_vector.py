"""Task-vector negation: fine-tune on the forget texts, then go the other way.

Source: Ilharco et al., "Editing Models with Task Arithmetic", ICLR 2023, arXiv:2212.04089; as an unlearning method for language
    models: Shi et al., "MUSE", arXiv:2407.06460.
    theta = theta_0 - scale (theta_tuned - theta_0), theta_tuned from fine-tuning theta_0 on the forget texts
Deviations:
    - With `adapter=lora` the vector is the adapter's product.
    - The learning rate is constant.
Streams: forget; the retain stream is not looked at.
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
    hookimpl,
    salient_rows,
    upcast,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class TaskVector(UnlearningMethod):
    """Task-vector negation. Defaults: ours; MUSE sweeps the scale from 1 to 16.

    Args:
        model: a language model.
        scale: distance to go, in lengths of the task vector; 0 leaves the model as it was.
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
        scale: NonNegativeFloat = 1.0,
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
        self.scale = scale

    def on_fit_start(self) -> None:
        self.model.eval()
        changing = self.changing() if self.adapter is None else {}
        self._original_weights = {name: weight.detach().clone() for name, weight in changing.items()}

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        nll = self.nll(batch["forget"])
        self.log("forget/nll", nll)
        return nll

    @torch.no_grad()
    def on_train_end(self) -> None:
        if self.adapter is not None:
            for layer in self.adapter.layers.values():
                layer.lora_B["default"].weight.mul_(-self.scale)
            return
        for name, weight in self.changing().items():
            weight.copy_(negated(self._original_weights.pop(name), weight, self.scale))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


def negated(original: Tensor, tuned: Tensor, scale: float) -> Tensor:
    """Go from the original away from the tuned weight, by `scale` times their distance; in float32 at least, rounded once, so
    that a scale of 0 gives the original's bits.
    """
    return (upcast(original) - scale * (upcast(tuned) - upcast(original))).to(original.dtype)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="task-vector",
            factory=TaskVector,
            summary="learn the forget texts, then subtract what was learnt",
            source="arXiv:2212.04089",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "scale": Log(1.0, 16.0)},
        )
    ]
