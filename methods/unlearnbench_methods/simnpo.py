"""SimNPO: NPO with the length-normalised loss itself in place of its distance from a reference.

Source: Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", arXiv:2410.07163;
    settings: OpenUnlearning, src/trainer/unlearn/simnpo.py.
    L = gamma (-(2 / beta) mean log sigmoid(beta (nll(forget) / |forget| - delta))) + alpha R(retain)
Deviations:
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
Streams: forget and retain of one topic per update.
No reference model, unless `retain=kl` asks what it answered to retain texts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    AdamW,
    Linear,
    Log,
    MethodSpec,
    RetainKind,
    RetainTerm,
    SalientShare,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    hookimpl,
    log_sigmoid_loss,
    next_tokens,
    salient_rows,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class SimNPO(UnlearningMethod):
    """Simple negative preference optimisation. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        beta: inverse temperature.
        delta: mean loss above which a sequence counts less, nats per token.
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
        beta: PositiveFloat = 4.5,
        delta: NonNegativeFloat = 0.0,
        forget_weight: NonNegativeFloat = 0.125,
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
        self.beta, self.delta = beta, delta
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        stream = batch["forget"]
        lengths = next_tokens(stream["labels"])[0].sum(dim=1)  # (B,)
        with self.one_forward(stream, *self.held.streams(batch)):
            nll, held = self.sequence_nll(stream) / lengths, self.held(batch["retain"])
        self.log("forget/nll", nll.mean())
        return self.forget_weight * log_sigmoid_loss(nll - self.delta, self.beta) + held

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="simnpo",
            factory=SimNPO,
            summary="raise each forget text's mean loss until it is large, without a reference",
            source="arXiv:2410.07163",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta": Linear(2.5, 5.5), "forget_weight": Log(0.05, 1.0)},
        )
    ]
