"""NPO: gradient ascent on forget texts that fades as a text moves away from the untouched model's likelihood of it.

Source: Zhang et al., "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning", COLM 2024,
    arXiv:2404.05868; settings: OpenUnlearning, src/trainer/unlearn/npo.py.
    L = gamma (-(2 / beta) mean log sigmoid(beta (nll(forget) - nll_0(forget)))) + alpha R(retain)
    with nll the sum over a text's counted tokens, nll_0 the untouched model's
Deviations:
    - No second model: what the untouched one says of a text is one number, computed once before the first update.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too. It is
      one of probabilities; MUSE's code passes raw logits where their logarithms belong.
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
    FrozenNLL,
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
    salient_rows,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NPO(UnlearningMethod):
    """Negative preference optimisation. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        beta: inverse temperature; near 0 it is gradient ascent, and the larger, the sooner a text counts as forgotten.
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
        beta: PositiveFloat = 0.1,
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
        self.beta, self.before = beta, FrozenNLL(self)
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()
        forget = self.context.forget
        self.before.prepare(forget[index] for index in range(len(forget)))

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        with self.one_forward(batch["forget"], *self.held.streams(batch)):
            gain, held = self.before.gain(batch["forget"]), self.held(batch["retain"])
        self.log("forget/gain", gain.mean())
        return self.forget_weight * log_sigmoid_loss(-gain, self.beta) + held

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="npo",
            factory=NPO,
            summary="raise the loss of forget texts over the untouched model's until it is large",
            source="arXiv:2404.05868",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta": Log(0.05, 0.5), "retain_weight": Log(0.5, 5.0)},
        )
    ]
