"""CE-U: on forget texts, train the model on its own distribution without the token that comes next in the text.

Source: Yang, "CE-U: Cross Entropy Unlearning", arXiv:2503.01224; settings: OpenUnlearning, src/trainer/unlearn/ceu.py.
    L = mean CE(softmax(sg[z] with z_y = -infinity), softmax(z)) over forget tokens y with logits z, sg without gradient
Deviations:
    - Means are taken over each sequence's tokens, then over sequences; OpenUnlearning's over all tokens of a batch.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
    - A response of `skip` tokens or fewer keeps its last one; OpenUnlearning would count nothing of it.
Streams: forget; the retain stream is not looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

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
    next_token_nll,
    next_tokens,
    over_positions,
    salient_rows,
    upcast,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CEU(UnlearningMethod):
    """Cross-entropy unlearning. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        skip: number of counted tokens at the beginning of each response that are left alone.
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
        skip: NonNegativeInt = 1,
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
        self.skip = skip

    def on_fit_start(self) -> None:
        self.model.eval()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        stream = batch["forget"]
        predicting, targets = later_tokens(stream, self.skip)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            return [without_truth(logits, targets[part]), next_token_nll(logits, targets[part])]

        hidden = self.final_hidden(stream)
        loss = over_positions(self.model, hidden, predicting, loss_of, (1.0, 0.0))
        self.log("forget/nll", loss.terms[1])
        return loss.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


def without_truth(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy to the model's own distribution without the true tokens, which is taken as constant.

    Args:
        logits: (N, V).
        targets: (N,) int64, the true tokens.

    Returns:
        (N,) float32 or wider, nats.
    """
    others = upcast(logits.detach()).scatter(1, targets.unsqueeze(1), float("-inf"))
    return F.cross_entropy(upcast(logits), others.softmax(-1), reduction="none")


def later_tokens(stream: Stream, skip: int) -> tuple[Tensor, Tensor]:
    """Return `next_tokens` without the first `skip` tokens of each sequence: (B, T) bool, and (N,) int64; at least one token
    stays.
    """
    predicting, _ = next_tokens(stream["labels"])
    counts = predicting.sum(dim=1, keepdim=True)
    later = predicting & (predicting.cumsum(dim=1) > (counts - 1).clamp(max=skip))
    return later, stream["labels"][:, 1:][later[:, :-1]]


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="ce-u",
            factory=CEU,
            summary="learn one's own distribution on forget texts without the true tokens",
            source="arXiv:2503.01224",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3)},
        )
    ]
