"""AltPO: prefer other plausible answers, several for each text, to the answer that is to be forgotten.

Source: Mekala et al., "Alternate Preference Optimization for Unlearning Factual Knowledge in Large Language Models", COLING
    2025, arXiv:2409.13474; settings: OpenUnlearning.
    L = gamma (-(2 / beta) mean log sigmoid(beta (g(alternative) - g(forget)))) + alpha R(retain)
    with g = nll_0 - nll, by how much an answer is likelier than the untouched model made it, nll the sum over its tokens
Deviations:
    - The alternatives come from the forget corpus' column `alternative`, one text or a list; the paper lets the model itself
      write them, a step that belongs before the comparison. Each pass over the corpus takes the next one of the list.
    - No second model: what the untouched one says of a text is one number, computed once before the first update.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
Streams: forget, whose corpus needs the column `alternative`, and retain of one topic per update.
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


class AltPO(UnlearningMethod):
    """Alternate preference optimisation. Defaults: the middle of OpenUnlearning's grid.

    Args:
        model: a language model.
        beta: inverse temperature.
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
        retain_weight: NonNegativeFloat = 2.0,
        retain: RetainKind = "nll",
        lr: PositiveFloat = 2e-5,
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
        self.alternatives = True
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()
        forget = self.context.forget
        for index in range(len(forget)):
            stream = forget[index]
            assert "alternative" in stream  # `alternatives` asks for it
            self.before.prepare([stream["alternative"], stream])

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        forget = batch["forget"]
        assert "alternative" in forget
        with self.one_forward(forget, forget["alternative"], *self.held.streams(batch)):
            winner, loser = self.before.gain(forget["alternative"]), self.before.gain(forget)
            held = self.held(batch["retain"])
        self.log_dict({"alternative/gain": winner.mean(), "forget/gain": loser.mean()})
        return self.forget_weight * log_sigmoid_loss(winner - loser, self.beta) + held

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="altpo",
            factory=AltPO,
            summary="prefer other plausible answers to what is to be forgotten",
            source="arXiv:2409.13474",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta": Log(0.05, 0.5), "retain_weight": Log(0.5, 5.0)},
        )
    ]
