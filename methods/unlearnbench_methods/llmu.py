"""LLMU: ascend on forget texts, answer their prompts with something unrelated, stay close to the original on normal texts.

Source: Yao, Xu and Liu, "Large Language Model Unlearning", arXiv:2310.10683; reference code
    kevinyaobytedance/llm_unlearn, unlearn_harm.py.
    L = w_bad (-CE(bad)) + w_random mean_k CE(mismatch_k) + w_normal D,
    D = -sum_v p_0(v) log p(v), mean over positions: the forward KL plus a constant, so not zero at the start.
Deviations:
    - Corpora without prompts: bad = the forget text; a mismatch = the first part of a forget text followed by a retain
      text, scored on the latter only; normal = the retain text. With prompt and response, a mismatch is the prompt
      followed by a retain response.
    - Padding never counts; the reference counts it in D and hard-codes its id.
    - Mismatches are scored on the answer, not on nearly the whole sequence.
    - No stopping rule: the reference's compares a negative loss with a positive threshold and can never stop.
    - No second model: what the frozen one answers is computed once per text and kept as final hidden states; where that
      would take more memory than the weights, its adapter is switched off or the original weights are put back.
    - The three terms share one forward, cut into pieces only where it would keep too much for the backward pass.
Streams: forget and retain of one topic per update; random answers come from the topic's retain corpus.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    IGNORE,
    AdamW,
    Example,
    FrozenOutputs,
    Log,
    MethodSpec,
    SalientShare,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    hookimpl,
    loss_in_pieces,
    over_positions,
    prompts_of,
    salient_rows,
    splice,
    token_cross_entropy,
)

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from transformers import PreTrainedModel


class LLMU(UnlearningMethod):
    """Gradient ascent with mismatched answers and a divergence on normal text. Defaults: the reference code's.

    Args:
        model: a language model.
        bad_weight: weight of the ascent on forget texts.
        random_weight: weight of the mismatched answers.
        normal_weight: weight of the divergence on retain texts.
        answers: number of mismatched answers per prompt, K; the same K texts answer every prompt of a batch.
        prefix: share of a forget text that serves as prompt where the corpus has none.
        lr: learning rate at the start; it falls linearly to zero, unless `lr_schedule` says otherwise.
        adapter: `lora` trains a low-rank adapter, `none` every weight.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights, which this learning rate would hardly move.
        salient: share of the weights' rows that are trained, those with the largest forget gradients (SURE); 1 trains all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        bad_weight: NonNegativeFloat = 0.5,
        random_weight: NonNegativeFloat = 1.0,
        normal_weight: NonNegativeFloat = 1.0,
        answers: PositiveInt = 5,
        prefix: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        lr: PositiveFloat = 2e-6,
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        master_weights: bool = True,
        salient: SalientShare = 1.0,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.bad_weight, self.random_weight, self.normal_weight = bad_weight, random_weight, normal_weight
        self.answers, self.prefix, self.lr = answers, prefix, lr
        self.master_weights, self.salient = master_weights, salient
        self.use_adapter(adapter, rank)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the frozen and the trained model differ from the start
        self._pools = {corpus.topic: corpus.examples for corpus in self.context.retain.corpora}
        self._drawn: list[int] = []
        self.original = FrozenOutputs(self)
        if self.normal_weight:
            retain = self.context.retain
            self.original.prepare([retain[index] for index in range(len(retain))])

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        bad = batch["forget"]
        if batch_idx % self.context.accumulate == 0:
            self._drawn = self.draw(bad["topic"])
        weights = {"bad": -self.bad_weight, "random": self.random_weight, "normal": self.normal_weight}
        sources = {"bad": lambda: bad, "random": lambda: self.mismatch(bad, self._drawn), "normal": lambda: batch["retain"]}
        # a term without weight does not run: what is left is composed as if the others were not there
        streams = {name: sources[name]() for name, weight in weights.items() if weight}
        sizes = {name: len(stream["input_ids"]) for name, stream in streams.items()}
        terms: dict[str, Tensor] = {}

        def loss_of(piece: Mapping[str, Stream]) -> Tensor:
            losses: list[Tensor] = []
            for (name, stream), hidden in zip(piece.items(), self.joined_hidden(list(piece.values())), strict=True):
                mean = self.divergence(hidden, stream) if name == "normal" else self.nll_of(hidden, stream)
                share = mean * (len(hidden) / sizes[name])
                terms[name] = terms.get(name, 0.0) + share.detach()
                losses.append(weights[name] * share)
            return torch.stack(losses).sum()

        loss = loss_in_pieces(self.model, streams, loss_of)
        self.log_dict({name: -term if name == "bad" else term for name, term in terms.items()})
        return loss

    def divergence(self, hidden: Tensor, stream: Stream) -> Tensor:
        """Return the divergence on a stream whose final hidden states, (B, T, D), are given."""
        real = stream["attention_mask"].bool()
        frozen = self.original.hidden(stream)[real]  # (N, D)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            target = self.original.logits(frozen[part])
            return [token_cross_entropy(logits, target)]

        return over_positions(self.model, hidden, real, loss_of).total

    def draw(self, topic: str) -> list[int]:
        """Draw the K retain texts of a topic that answer an update's prompts, by number."""
        return torch.randint(len(self._pools[topic]), (self.answers,)).tolist()

    def mismatch(self, bad: Stream, drawn: Sequence[int]) -> Stream:
        """Return each prompt of the batch with each of the K drawn retain texts as its answer: (B * K, T)."""
        pool = self._pools[bad["topic"]]
        replies = [_reply(pool[index], self.context.tokenizer.bos_token_id) for index in drawn]
        width = bad["input_ids"].shape[1]
        examples = [splice(prompt, reply, width) for prompt in prompts_of(bad, self.prefix) for reply in replies]
        return self.stream_of(examples, bad)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        rows = salient_rows(self, self.salient)
        optimizer = AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights, rows=rows)
        steps = self.context.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _reply(example: Example, bos: object) -> list[int]:
    """Return the counted tokens of a retain text without the token that opens every text: here it would stand in the middle."""
    counted = [label for label in example.labels if label != IGNORE]
    return counted[1:] if counted[0] == bos and len(counted) > 1 else counted


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="llmu",
            factory=LLMU,
            summary="ascend on forget texts, mismatch their answers, stay close on normal texts",
            source="arXiv:2310.10683",
            training=Training(steps=1000, batch_size=2, max_length=512),
            space={  # the WMDP paper searched learning rate, steps and the weight of forgetting
                "lr": Log(1e-6, 2e-3),
                "bad_weight": Log(0.25, 2.0),
                "normal_weight": Log(0.5, 5.0),
            },
        )
    ]
