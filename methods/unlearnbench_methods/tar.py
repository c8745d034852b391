"""TAR: forget in a way that fine-tuning does not undo; every update simulates an adversary. Costly.

Source: Tamirisa et al., "Tamper-Resistant Safeguards for Open-Weight LLMs", ICLR 2025, arXiv:2408.00761; reference code
    rishub-tamirisa/tamper-resistance.
    Safeguard, the first updates: mean_l (1 - |cos(h_l(x_forget), v_token)|) + retain_weight CE(x_retain), v a random vector
    per token.
    Then, per update: an adversary fine-tunes a copy of the trained weights on forget texts for J steps; after every K-th, j,
    g += exp(decay (j - J)) grad of -H(p(. | x_forget)) at the attacked weights, H the entropy, x_forget held out from it;
    gradient = tamper_weight g + retain_weight grad of (CE(x_retain) + mean_l mean ||h_l(x_retain) - h_l^0(x_retain)||_2).
    g is first-order: taken at the attacked weights, applied to the outer ones.
Deviations:
    - The adversary is AdamW on forget texts alone, its learning rate drawn from the reference's three; the reference also
      begins some attacks on retain texts, with a switch at a Beta(6, 3) share of their steps.
    - The held-out texts are the first half of each forget corpus, the adversary's the second.
    - Means are over counted positions, within each sequence, then over sequences; padding never counts.
    - The outer optimizer is AdamW at a constant rate after a warm-up. The safeguard's updates are part of the budget; how many
      they are (250) is ours.
    - No second model: the untouched one is the adapter switched off, or the original weights, read from the model's files; the
      attacked one is the same module with other tensors.
Streams: forget (held out) and retain of one topic per update; the adversary's texts are of the same topic. One outer update
costs about as much as J + J / K + 3 ordinary ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from unlearnbench.api import (
    IGNORE,
    AdamW,
    Log,
    MethodSpec,
    Stream,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    decoder_blocks,
    displacement,
    hookimpl,
    mean_over,
    next_tokens,
    over_positions,
    upcast,
)

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRScheduler
    from transformers import PreTrainedModel

ADVERSARY_RATES = (2e-6, 2e-5, 4e-5)  # the reference's


class TAR(UnlearningMethod):
    """Tampering attack resistance. Defaults: the reference code's for 8B models.

    Args:
        model: a language model.
        mapping_steps: number of updates in the safeguard's first phase, random mapping; the others simulate adversaries.
        inner_steps: steps of each simulated adversary, J.
        inner_every: adversary's steps from one tamper-resistance gradient to the next, K.
        decay: decay of the weights of these gradients, backwards from the last step.
        tamper_weight: weight of their sum.
        retain_weight: weight of the retain terms.
        adversary_rates: learning rates of the adversaries, one of which is drawn per update.
        lr: learning rate of the model.
        warm_up: number of updates in which the learning rate rises to `lr`, unless `lr_schedule` says otherwise.
        adapter: `lora` trains a low-rank adapter, `none` every weight.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        mapping_steps: NonNegativeInt = 250,
        inner_steps: PositiveInt = 64,
        inner_every: PositiveInt = 4,
        decay: NonNegativeFloat = 0.0625,
        tamper_weight: NonNegativeFloat = 4.0,
        retain_weight: NonNegativeFloat = 1.0,
        adversary_rates: list[PositiveFloat] = list(ADVERSARY_RATES),  # noqa: B006 - read only
        lr: PositiveFloat = 2e-5,
        warm_up: NonNegativeInt = 32,
        adapter: Literal["none", "lora"] = "none",
        rank: PositiveInt = 32,
        master_weights: bool = True,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        self.mapping_steps, self.inner_steps, self.inner_every = mapping_steps, inner_steps, inner_every
        self.decay, self.tamper_weight, self.retain_weight = decay, tamper_weight, retain_weight
        self.adversary_rates, self.lr, self.warm_up, self.master_weights = adversary_rates, lr, warm_up, master_weights
        self.use_adapter(adapter, rank)

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the frozen and the trained model differ from the start
        self.attack = self.context.forget.hold_out(0.5)
        self.attack.batch_size = min(self.context.forget.batch_size, self.attack.batch_size)
        self.keep_original(in_memory=False)  # wanted once per update, which takes dozens of steps
        self._seed = torch.initial_seed() % 2**32

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        step = batch_idx // self.context.accumulate
        retain = batch["retain"]
        if step < self.mapping_steps:
            mapping, nll = self.random_mapping(batch["forget"]), self.nll(retain)
            self.log_dict({"mapping": mapping, "nll": nll})
            return mapping + self.retain_weight * nll
        # first, while no graph holds the weights that it moves
        slopes, entropy = self.tampering(batch["forget"], step)
        with self.frozen_model():
            frozen, _ = self._states(retain)
        states, final = self._states(retain)
        nll = self.nll_of(final, retain)
        moved = displacement(states, frozen, retain["labels"] != IGNORE)
        self.log_dict({"entropy": entropy, "nll": nll, "displacement": moved})
        return self.retain_weight * (nll + moved) + self.tamper_weight * with_gradient(self.named_trainable(), slopes)

    def random_mapping(self, stream: Stream) -> Tensor:
        """Return the mean over blocks and counted positions of 1 - |cos| to each token's random vector."""
        states, final = self._states(stream)
        vectors = token_vectors(stream["input_ids"], final.shape[-1], self._seed)  # (B, T, D)
        cosines = [F.cosine_similarity(upcast(hidden), vectors.to(upcast(hidden)), dim=-1) for hidden in states]  # (B, T) each
        return torch.stack([mean_over(1 - cosine.abs(), stream["labels"] != IGNORE) for cosine in cosines]).mean()

    def tampering(self, held_out: Stream, step: int) -> tuple[dict[str, Tensor], Tensor]:
        """Simulate one adversary; weights and gradients are restored afterwards.

        Args:
            held_out: forget texts that the adversary does not see.
            step: number of the update, which decides its texts and its learning rate.

        Returns:
            the weighted sum of tamper-resistance gradients, by parameter, and the entropy where the last was taken, in nats.
        """
        named = self.named_trainable()
        gradients = {name: parameter.grad for name, parameter in named.items()}
        sums = {name: torch.zeros_like(parameter) for name, parameter in named.items()}
        entropy = torch.zeros(())
        rate = random.Random(f"{self._seed} {step}").choice(self.adversary_rates)
        with self.scratch_weights(), torch.enable_grad():
            adversary = AdamW(named.values(), lr=rate, master_weights=self.master_weights)
            for inner in range(self.inner_steps):
                slopes = self._slopes(self.nll(self._attack_on(step, inner)), named)
                for name, parameter in named.items():
                    parameter.grad = slopes.pop(name)
                adversary.step()
                adversary.zero_grad()
                if (inner + 1) % self.inner_every == 0:
                    entropy = self.entropy(held_out)
                    weight = math.exp(self.decay * (inner + 1 - self.inner_steps))
                    for name, slope in self._slopes(-entropy, named).items():
                        sums[name].add_(slope, alpha=weight)
        for name, parameter in named.items():
            parameter.grad = gradients[name]
        return sums, entropy.detach()

    def entropy(self, stream: Stream) -> Tensor:
        """Return the mean entropy of the predictions of counted tokens, in nats."""

        def loss_of(logits: Tensor, _part: slice) -> list[Tensor]:
            logs = upcast(logits).log_softmax(dim=-1)
            return [-(logs.exp() * logs).sum(dim=-1)]

        predicting, _ = next_tokens(stream["labels"])
        return over_positions(self.model, self.final_hidden(stream), predicting, loss_of).total

    def _attack_on(self, step: int, inner: int) -> Stream:
        """Return the batch for an adversary's step: texts of its topic, from where the topic's last adversary stopped."""
        topics = len(self.context.topics)
        stream = self.attack.update(step % topics + topics * (step // topics * self.inner_steps + inner))
        return self.transfer_batch_to_device(stream, self.device, 0)

    def _states(self, stream: Stream) -> tuple[list[Tensor], Tensor]:
        """Return each block's output, the last one after the final norm, and that again: (B, T, D) each."""
        states: list[Tensor] = []

        def note(_module: nn.Module, _inputs: Any, output: Any) -> None:
            states.append(output if isinstance(output, Tensor) else output[0])

        # asked for hidden states, transformers would leave hooks on the model
        hooks = [block.register_forward_hook(note) for block in decoder_blocks(self.model)[1]]
        try:
            final = self.final_hidden(stream)
        finally:
            for hook in hooks:
                hook.remove()
        return [*states[:-1], final], final

    def _slopes(self, loss: Tensor, named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(named, slopes, strict=True))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / (self.warm_up + 1), 1.0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def token_vectors(ids: Tensor, width: int, seed: int) -> Tensor:
    """Draw a random vector for each token of the vocabulary, the same at every position: ids (B, T) -> (B, T, D) float32."""
    tokens, places = ids.cpu().unique(return_inverse=True)
    rows = [torch.randn(width, generator=torch.Generator().manual_seed(seed + token)) for token in tokens.tolist()]
    return torch.stack(rows)[places].to(ids.device)


def with_gradient(parameters: Mapping[str, nn.Parameter], slopes: Mapping[str, Tensor]) -> Tensor:
    """Return zero with the given gradients, so that gradients computed at other weights join an ordinary loss."""
    products = [(slopes[name] * parameter).sum() for name, parameter in parameters.items()]
    total = torch.stack(products).sum()
    return total - total.detach()


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="tar",
            factory=TAR,
            summary="forget so that fine-tuning does not bring it back; costly: each update simulates an adversary",
            source="arXiv:2408.00761",
            training=Training(steps=1000, batch_size=8, max_length=512),
            space={"lr": Log(1e-6, 2e-3), "tamper_weight": Log(0.5, 8.0), "retain_weight": Log(0.5, 4.0)},
        )
    ]
