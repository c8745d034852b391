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
    - The frozen model is the same module with the original weights put back, or its adapter switched off.
Streams: forget and retain of one topic per update; random answers come from the topic's retain corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    IGNORE,
    Example,
    MethodSpec,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    collate,
    distillation,
    hookimpl,
    padding_id,
)

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from transformers import PreTrainedModel


class LLMU(UnlearningMethod):
    """Gradient ascent with mismatched answers and a divergence on normal text. Defaults: the reference code's.

    Args:
        model: a language model.
        bad_weight: of the ascent on forget texts.
        random_weight: of the mismatched answers.
        normal_weight: of the divergence on retain texts.
        answers: mismatched answers per prompt, K; the same K for every prompt of a batch.
        prefix: share of a forget text that serves as prompt where the corpus has none.
        lr: learning rate at the start; falls linearly to zero.
        adapter: `lora` trains a low-rank adapter, `none` every weight.
        rank: of the adapter.
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
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.bad_weight, self.random_weight, self.normal_weight = bad_weight, random_weight, normal_weight
        self.answers, self.prefix, self.lr = answers, prefix, lr
        self.use_adapter(adapter, rank)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the frozen and the trained model differ from the start
        self._pools = {corpus.topic: corpus.examples for corpus in self.context.retain.corpora}

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        bad, normal = batch["forget"], batch["retain"]
        with self.reference():
            target = self.logits(normal)  # (B, T, V)
        losses = {
            "bad": -self.nll(bad),
            "random": self.nll(self.mismatch(bad)),
            "normal": distillation(self.logits(normal), target, normal["attention_mask"].bool()),
        }
        self.log_dict(dict(losses))
        return self.bad_weight * losses["bad"] + self.random_weight * losses["random"] + self.normal_weight * losses["normal"]

    def mismatch(self, bad: Stream) -> Stream:
        """Each prompt of the batch with each of K answers drawn from the retain corpus: (B * K, T)."""
        pool = self._pools[bad["topic"]]
        drawn = torch.randint(len(pool), (self.answers,)).tolist()
        replies = [_reply(pool[index], self.context.tokenizer.bos_token_id) for index in drawn]
        width = bad["input_ids"].shape[1]
        prompts = [_prompt(ids, labels, mask, self.prefix) for ids, labels, mask in _rows(bad)]
        examples = [_splice(prompt, reply, width) for prompt in prompts for reply in replies]
        stream = collate(examples, bad["topic"], padding_id(self.context.tokenizer), self.padding_side)
        device = bad["input_ids"].device
        return Stream(
            input_ids=stream["input_ids"].to(device),
            attention_mask=stream["attention_mask"].to(device),
            labels=stream["labels"].to(device),
            topic=stream["topic"],
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.trainable(), lr=self.lr, weight_decay=0.0)
        steps = self.context.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / steps, 0.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _rows(stream: Stream) -> Sequence[tuple[Tensor, Tensor, Tensor]]:
    return list(zip(stream["input_ids"], stream["labels"], stream["attention_mask"].bool(), strict=True))


def _prompt(ids: Tensor, labels: Tensor, mask: Tensor, share: float) -> list[int]:
    """The prompt of a sequence, or the first part of one that has none."""
    own: list[int] = ids[mask].tolist()
    prompt = int((labels[mask] == IGNORE).sum())
    return own[: prompt or max(int(len(own) * share), 1)]


def _reply(example: Example, bos: object) -> list[int]:
    """What counts of a retain text, without the token that opens every text: it stands in the middle of one here."""
    counted = [label for label in example.labels if label != IGNORE]
    return counted[1:] if counted[0] == bos and len(counted) > 1 else counted


def _splice(prompt: list[int], reply: list[int], width: int) -> Example:
    """A whole prompt and as much of somebody else's answer as the batch is wide; at least one token of it."""
    kept = reply[: max(width - len(prompt), 1)]
    return Example(prompt + kept, [IGNORE] * len(prompt) + kept)


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="llmu",
            factory=LLMU,
            summary="ascend on forget texts, mismatch their answers, stay close on normal texts",
            source="arXiv:2310.10683",
            training=Training(steps=1000, batch_size=2, max_length=512),
        )
    ]
