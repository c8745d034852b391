"""SCRUB: a student leaves its teacher on forget texts and stays with it on retain texts, in turns.

Source: Kurmanji, Triantafillou, Hayes and Triantafillou, "Towards Unbounded Machine Unlearning", NeurIPS 2023,
    arXiv:2302.09880; reference code meghdadk/SCRUB; settings for language models: Li et al., arXiv:2403.03218.
    min step, retain: alpha KL(teacher || student) + gamma CE;  max step, forget: -KL(teacher || student).
Deviations:
    - KL over the vocabulary at every counted position; the reference's softmax over dimension 1 would be time here.
    - Steps instead of epochs: up to `forget_steps` max and min steps alternate, afterwards only min steps.
      The WMDP paper does not say how it interleaves them.
    - All topics take a max step, then all a min step, so that alternation of topics and of steps do not coincide.
    - Constant learning rate; the reference decays it at listed epochs.
    - Rewinding (SCRUB+R) compares losses where the reference compares classification errors. Its validation texts are
      the last tenth of each forget corpus, which are then not trained on.
Streams: forget in max steps, retain in min steps. What the teacher answers is computed once per text and kept as final
hidden states; where that would take more memory than the weights, it is the same module with its adapter switched off or the
original weights put back. The very first max step has no gradient: the student still is the teacher.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from unlearnbench.api import (
    AdamW,
    FrozenOutputs,
    Log,
    LossOf,
    MethodSpec,
    SalientShare,
    Schedule,
    ShareOf,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    UsageError,
    hookimpl,
    next_token_nll,
    next_tokens,
    over_positions,
    salient_rows,
    token_kl,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHECKPOINTS = 10  # of the min phase, for rewinding


class SCRUB(UnlearningMethod):
    """Scalable remembering and unlearning unbound.

    Args:
        model: a language model.
        alpha: weight of the KL term on retain texts; the reference's large-scale setting.
        gamma: weight of the language-model loss on retain texts; from the same setting.
        temperature: temperature of both distributions; from the same setting.
        forget_steps: number of updates during which max steps are taken; the WMDP paper's 300 of 600.
        first: kind of step that the forget phase begins with.
        lr: learning rate; the largest of the WMDP paper's search.
        optimizer: `adamw`, or `sgd` with momentum .9 as in the reference's large-scale setting.
        weight_decay: weight decay; decoupled for adamw.
        adapter: `lora` trains a low-rank adapter, `none` every weight.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights; with adamw.
        salient: share of the weights' rows that are trained, those with the largest forget gradients (SURE), with adamw; 1
            trains all.
        rewind: SCRUB+R: true goes back to the checkpoint whose forget loss is closest to that of unseen texts of the topic.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        alpha: NonNegativeFloat = 0.001,
        gamma: NonNegativeFloat = 0.99,
        temperature: PositiveFloat = 4.0,
        forget_steps: NonNegativeInt = 300,
        first: Literal["max", "min"] = "max",
        lr: PositiveFloat = 1e-5,
        optimizer: Literal["adamw", "sgd"] = "adamw",
        weight_decay: NonNegativeFloat = 0.0,
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        master_weights: bool = True,
        salient: SalientShare = 1.0,
        rewind: bool = False,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        if salient < 1 and optimizer != "adamw":
            raise UsageError(f"scrub.salient={salient:g} needs adamw; set scrub.optimizer=adamw, or salient to 1.")
        self.alpha, self.gamma, self.temperature = alpha, gamma, temperature
        self.forget_steps, self.first = forget_steps, first
        self.lr, self.optimizer, self.weight_decay = lr, optimizer, weight_decay
        self.master_weights, self.salient, self.rewind = master_weights, salient, rewind
        self.use_adapter(adapter, rank)
        self.checkpoints: list[tuple[float, dict[str, Tensor]]] = []

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make teacher and student differ from the start
        self._unseen = self.context.forget.hold_out(0.1) if self.rewind else None
        self.teacher = FrozenOutputs(self)
        forget, retain = self.context.forget, self.context.retain
        maximal = [self.is_max_step(index // self.context.accumulate) for index in range(len(retain))]
        asked = [(forget if is_max else retain)[index] for index, is_max in enumerate(maximal) if is_max or self.alpha]
        self.teacher.prepare(asked)

    def is_max_step(self, step: int) -> bool:
        """Return whether update `step`, counted from 0, is a max step: it leaves the teacher on forget texts."""
        if step >= self.forget_steps:
            return False
        round_number = step // len(self.context.topics)
        return round_number % 2 == (0 if self.first == "max" else 1)

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        if self.is_max_step(batch_idx // self.context.accumulate):
            loss = -self.divergence(batch["forget"])
            self.log("max/kl", -loss)
            return loss
        stream = batch["retain"]
        if not self.alpha:
            nll = self.nll(stream)
            self.log("min/nll", nll)
            return self.gamma * nll
        predicting, targets = next_tokens(stream["labels"])
        kl_of = self._kl_of(stream, predicting)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            return [*kl_of(logits, part), next_token_nll(logits, targets[part])]

        hidden = self.final_hidden(stream)
        loss = over_positions(self.model, hidden, predicting, loss_of, (self.alpha, self.gamma))
        self.log_dict({"min/kl": loss.terms[0], "min/nll": loss.terms[1]})
        return loss.total

    def divergence(self, stream: Stream) -> Tensor:
        """Return KL(teacher || student) over the positions that predict a counted token, times temperature squared."""
        predicting, _ = next_tokens(stream["labels"])
        hidden = self.final_hidden(stream)
        return over_positions(self.model, hidden, predicting, self._kl_of(stream, predicting)).total

    def _kl_of(self, stream: Stream, predicting: Tensor) -> LossOf:
        taught = self.teacher.hidden(stream)[predicting]  # (N, D)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            return [token_kl(logits, self.teacher.logits(taught[part]), self.temperature)]

        return loss_of

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(self.trainable(), lr=self.lr, momentum=0.9, weight_decay=self.weight_decay)
        rows = salient_rows(self, self.salient)
        return AdamW(
            self.trainable(), lr=self.lr, weight_decay=self.weight_decay, master_weights=self.master_weights, rows=rows
        )

    def on_train_batch_end(self, outputs: object, batch: UnlearnBatch, batch_idx: int) -> None:
        if (batch_idx + 1) % self.context.accumulate:
            return
        done, total = (batch_idx + 1) // self.context.accumulate, self.context.steps
        every = max((total - self.forget_steps) // CHECKPOINTS, 1)
        if self._unseen is not None and (done == total or (done > self.forget_steps and done % every == 0)):
            weights = {name: parameter.detach().clone() for name, parameter in self.named_trainable().items()}
            self.checkpoints.append((self._loss(self.context.forget), weights))

    def on_train_end(self) -> None:
        if self._unseen is None:
            return
        wanted = self._loss(self._unseen)  # of the last student, as in the reference
        _, weights = self.checkpoints[rewind_to([loss for loss, _ in self.checkpoints], wanted)]
        with torch.no_grad():
            for name, parameter in self.named_trainable().items():
                parameter.copy_(weights[name])

    @torch.no_grad()
    def _loss(self, schedule: Schedule) -> float:
        """Return the mean loss over one batch of each topic, in nats per token."""
        streams = [schedule.update(topic) for topic in range(len(self.context.topics))]
        return sum(float(self.nll(self.transfer_batch_to_device(s, self.device, 0))) for s in streams) / len(streams)


def rewind_to(forget_losses: list[float], wanted: float) -> int:
    """Return the index of the checkpoint whose forget loss is closest to the wanted one; the earliest of equals."""
    return min(range(len(forget_losses)), key=lambda index: abs(forget_losses[index] - wanted))


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="scrub",
            factory=SCRUB,
            summary="leave the teacher on forget texts, stay with it on retain texts, in turns",
            source="arXiv:2302.09880",
            training=Training(steps=600, batch_size=2, max_length=512),
            space={  # the WMDP paper searched alpha from 1e-4 to 10, the learning rate, and 100 of 400 or 300 of 600 steps
                "lr": Log(1e-6, 2e-3),
                "alpha": Log(1e-4, 10.0),
                "forget_steps": ShareOf("steps", 0.25, 0.75),
            },
        )
    ]
