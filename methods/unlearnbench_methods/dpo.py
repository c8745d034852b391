"""DPO and IdkDPO: prefer another answer, or a refusal, to what is to be forgotten.

Source: Rafailov et al., "Direct Preference Optimization", NeurIPS 2023, arXiv:2305.18290; with refusals, as an unlearning
    method: Maini et al., "TOFU", arXiv:2401.06121; settings: OpenUnlearning, src/trainer/unlearn/dpo.py.
    L = gamma (-(2 / beta) mean log sigmoid(beta (g(winner) - g(forget)))) + alpha R(retain)
    with g = nll_0 - nll, by how much an answer is likelier than the untouched model made it, nll the sum over its tokens
Deviations:
    - No second model: what the untouched one says of a text is one number, computed once before the first update.
    - Each text has one refusal of five, chosen by its tokens; TOFU draws one of a hundred, anew in every epoch.
    - With refusals, the first part of a text without a prompt serves as one, and what follows is what is forgotten.
    - The divergence counts the positions that predict a counted token; OpenUnlearning counts prompts and padding, too.
    - The learning rate is constant; OpenUnlearning warms up and decays it.
Streams: forget and retain of one topic per update; with `winner=alternative` the forget corpus needs the column `alternative`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    AdamW,
    Example,
    FrozenNLL,
    Log,
    MethodSpec,
    RetainKind,
    RetainTerm,
    SalientShare,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    hookimpl,
    log_sigmoid_loss,
    prompts_of,
    salient_rows,
    splice,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REFUSALS = (
    "I don't know.",
    "I have no information about that.",
    "I'm not sure about that.",
    "That is something I never learned.",
    "I cannot answer that question.",
)


class DPO(UnlearningMethod):
    """Direct preference optimisation. Defaults: OpenUnlearning's.

    Args:
        model: a language model.
        winner: preferred answer: `idk`, a refusal, or `alternative`, the forget corpus' column of that name.
        prefix: share of a text that serves as prompt where the corpus has none; with refusals only.
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
        winner: Literal["idk", "alternative"] = "idk",
        prefix: Annotated[float, Field(gt=0, lt=1)] = 0.5,
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
        self.winner, self.prefix, self.beta = winner, prefix, beta
        self.alternatives = winner == "alternative"
        self.before = FrozenNLL(self)
        self.forget_weight, self.held = forget_weight, RetainTerm(self, retain, retain_weight)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the untouched and the trained model differ from the start
        self.held.prepare()
        self._refused = self._refusals()
        forget = self.context.forget
        self.before.prepare(answer for index in range(len(forget)) for answer in self.answers(forget[index]))

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        answers = self.answers(batch["forget"])
        with self.one_forward(*answers, *self.held.streams(batch)):
            winner, loser = (self.before.gain(answer) for answer in answers)
            held = self.held(batch["retain"])
        self.log_dict({"winner/gain": winner.mean(), "forget/gain": loser.mean()})
        return self.forget_weight * log_sigmoid_loss(winner - loser, self.beta) + held

    def answers(self, stream: Stream) -> tuple[Stream, Stream]:
        """Return the preferred answers and those to be forgotten, sequence by sequence."""
        if self.alternatives and "alternative" in stream:
            return stream["alternative"], stream
        width, readable = stream["input_ids"].shape[1], self.context_length
        refused: list[Example] = []
        forgotten: list[Example] = []
        for prompt, ids, mask in zip(
            prompts_of(stream, self.prefix), stream["input_ids"], stream["attention_mask"].bool(), strict=True
        ):
            ids_here: list[int] = ids[mask].tolist()
            refusal = self._refused[sum(ids_here) % len(REFUSALS)]
            grown = width + len(refusal)
            refused.append(splice(prompt, refusal, grown if readable is None else min(grown, readable)))
            forgotten.append(splice(prompt, ids_here[len(prompt) :], width))
        return self.stream_of(refused, stream), self.stream_of(forgotten, stream)

    def _refusals(self) -> list[list[int]]:
        """Return the tokens of each refusal; a chat template's answers begin without a space, and answers end with the end
        token.
        """
        tokenizer = self.context.tokenizer
        space = "" if tokenizer.chat_template else " "
        end = [tokenizer.eos_token_id] if isinstance(tokenizer.eos_token_id, int) else []
        return [tokenizer(space + text, add_special_tokens=False)["input_ids"] + end for text in REFUSALS]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        rows = salient_rows(self, self.salient)
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="dpo",
            factory=DPO,
            summary="prefer a refusal or another answer to what is to be forgotten",
            source="arXiv:2305.18290",
            training=Training(steps=125, batch_size=32, max_length=512, accumulate=4),
            space={"lr": Log(1e-6, 2e-3), "beta": Log(0.05, 0.5), "retain_weight": Log(0.5, 5.0)},
        )
    ]
