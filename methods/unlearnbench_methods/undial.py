"""UNDIAL: on forget texts, learn the untouched model's distribution with the true token's logit lowered.

Source: Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models", NAACL
    2025, arXiv:2402.10052; settings: OpenUnlearning, src/trainer/unlearn/undial.py.
    L = gamma mean CE(softmax(z_0 - beta onehot(y)), softmax(z)) + alpha R(retain)
    over forget tokens y, with the model's logits z and the untouched model's z_0
Deviations:
    - Means are taken over each sequence's tokens, then over sequences; OpenUnlearning's over all tokens of a batch.
    - Only positions that predict a counted token count; OpenUnlearning averages over prompts and padding, too, and lets the
      label -100 lower some other token's logit there.
    - No second model: the untouched one's final hidden states are kept, or it is put back for a moment.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
Streams: forget and retain of one topic per update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.api import (
    AdamW,
    FrozenOutputs,
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
    upcast,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class UNDIAL(UnlearningMethod):
    """Self-distillation with adjusted logits. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        beta: amount by which the true token's logit is lowered.
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
        beta: PositiveFloat = 10.0,
        forget_weight: NonNegativeFloat = 1.0,
        retain_weight: NonNegativeFloat = 0.0,
        retain: RetainKind = "nll",
        lr: PositiveFloat = 1e-4,
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
        forget = self.context.forget
        self.untouched = FrozenOutputs(self)
        self.untouched.prepare([forget[index] for index in range(len(forget))])

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        stream = batch["forget"]
        predicting, targets = next_tokens(stream["labels"])
        before = self.untouched.hidden(stream)[predicting]  # (N, D)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            taught = self.untouched.logits(before[part])
            return [lowered(logits, taught, targets[part], self.beta), next_token_nll(logits, targets[part])]

        with self.one_forward(stream, *self.held.streams(batch)):
            hidden = self.final_hidden(stream)
            loss = over_positions(self.model, hidden, predicting, loss_of, (self.forget_weight, 0.0))
            held = self.held(batch["retain"])
        self.log("forget/nll", loss.terms[1])
        return loss.total + held

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


def lowered(logits: Tensor, taught: Tensor, targets: Tensor, beta: float) -> Tensor:
    """Return the cross-entropy to another model's distribution with the true tokens' logits lowered.

    Args:
        logits: (N, V), of the model that learns.
        taught: (N, V), of the other; no gradient is taken.
        targets: (N,) int64, the true tokens.
        beta: amount by which their logits are lowered.

    Returns:
        (N,) float32 or wider, nats.
    """
    rows = torch.arange(len(targets), device=targets.device)
    target = upcast(taught.detach()).index_put((rows, targets), upcast(taught.detach())[rows, targets] - beta)
    return F.cross_entropy(upcast(logits), target.softmax(-1), reduction="none")


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="undial",
            factory=UNDIAL,
            summary="learn the untouched model's distribution with the true token's logit lowered",
            source="arXiv:2402.10052",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta": Log(3.0, 30.0)},
        )
    ]
