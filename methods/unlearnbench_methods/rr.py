"""RR (circuit breakers): turn the representations of forget texts away from what they were, hold those of retain texts.

Source: Zou et al., "Improving Alignment and Robustness with Circuit Breakers", NeurIPS 2024, arXiv:2406.04313; its public
    code, lorra_circuit_breaker.
    L = c_s mean_{l in targets} relu(cos(h_l(x_forget), h_l^0(x_forget))) + c_r mean_l ||h_l(x_retain) - h_l^0(x_retain)||_2,
    c_s = alpha (1 - k / 2K), c_r = retain_weight alpha k / 2K at update k of K; h_l the output of block l, 0-based.
Deviations:
    - `targets` number the outputs of blocks. The public code indexes hidden_states, whose entry l is the input of block l: its
      10 is our 9.
    - Means are over counted tokens, within each sequence, then over sequences. The public code's retain norm averages over
      padding, too, whose masked entries are zeros, so that the term shrinks with the padding of its batch.
    - The retain term is over the blocks that can change; the embeddings' output, which the public code counts, is always 0.
    - The schedule follows the budget: the coefficients meet at the last update, as the public code's do after 150.
    - Adapters have no dropout and a scale of 1, so that both models agree at the start.
    - Latent adversarial training, which EleutherAI/unlearn adds, perturbs what goes into the first adapted block by steps of a
      fixed length, to make the forget term large; theirs perturbs the embeddings and several blocks with Adam. Its coefficients
      (5t to retain, 5 - 1.25t to forget, t up to 1) are not offered.
    - No second model, and no forward beyond the last target: the frozen one is the adapter switched off.
Streams: forget and retain of one topic per update, topics in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.api import (
    IGNORE,
    PROJECTIONS,
    AdamW,
    BlockOutputs,
    Log,
    MethodSpec,
    SplitForward,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    UsageError,
    displacement,
    hookimpl,
    mean_over,
    select_parameters,
    train_only,
    upcast,
    worst_case,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RR(UnlearningMethod):
    """Representation rerouting. Defaults: the public code's for 7B and 8B models.

    Args:
        model: a decoder-only language model.
        targets: blocks whose outputs are turned away, 0-based.
        layers: adapted blocks; None means all up to the last target.
        parameters: regular expression for the adapted matrices of these blocks.
        alpha: weight of both terms.
        retain_weight: weight of the retain term alone; ours, since norms differ between models by orders of magnitude.
        lr: learning rate, constant.
        adapter: `lora` trains a low-rank adapter on the chosen matrices, `none` the matrices themselves.
        rank: rank of the adapter.
        master_weights: true steps float32 copies of narrower weights; an adapter's factors are float32 anyway.
        lat_steps: steps of a latent adversary, which perturbs the input of the first adapted block on forget texts; 0: no
            adversary.
        lat_radius: length of that perturbation, as a share of each position's norm.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        targets: list[int] = [9, 19],  # noqa: B006 - read only
        layers: list[int] | None = None,
        parameters: str = PROJECTIONS,
        alpha: PositiveFloat = 10.0,
        retain_weight: NonNegativeFloat = 1.0,
        lr: PositiveFloat = 1e-4,
        adapter: Literal["none", "lora"] = "lora",
        rank: PositiveInt = 16,
        master_weights: bool = True,
        lat_steps: NonNegativeInt = 0,
        lat_radius: PositiveFloat = 0.1,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        if not targets:
            raise UsageError("rr turns the outputs of some blocks away; give it at least one in targets.")
        last = max(targets)
        blocks = layers if layers is not None else list(range(last + 1))
        select_parameters(model, parameters, targets)  # a wrong target is named as it was given
        if not blocks or min(blocks) > min(targets) or max(blocks) > last:
            raise UsageError(
                f"rr adapts blocks from the first of its targets {targets} or below, to {last}; got layers {blocks}."
            )
        chosen = select_parameters(model, parameters, blocks)
        train_only(model, chosen)
        self.use_adapter(adapter, rank, [name.removesuffix(".weight") for name in chosen])
        self.keep_original()
        first = min(blocks)
        self.turned = BlockOutputs(self, targets, first=first)
        self.held = BlockOutputs(self, range(first, last + 1), first=first)
        self.last_needed = last
        self.alpha, self.retain_weight, self.lr, self.master_weights = alpha, retain_weight, lr, master_weights
        self.lat_steps, self.lat_radius = lat_steps, lat_radius

    def on_fit_start(self) -> None:
        self.model.eval()  # dropout would make the frozen and the trained model differ from the start

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> Tensor:
        topic = batch["forget"]["topic"]
        counted, real = batch["forget"]["labels"] != IGNORE, batch["forget"]["attention_mask"].bool()
        split = self.turned.split(batch["forget"])
        before = self.turned.frozen(split)

        def agreement(split: SplitForward) -> Tensor:
            return rerouting(self.turned.updated(split), before, counted)

        forget = agreement(worst_case(split, agreement, real, steps=self.lat_steps, radius=self.lat_radius))
        kept = self.held.kept(batch["retain"])
        retain = displacement(self.held.updated(kept.split), kept.frozen, batch["retain"]["labels"] != IGNORE)
        self.log_dict({f"forget/{topic}": forget, f"retain/{topic}": retain})
        progress = self.progress(batch_idx // self.context.accumulate)
        return self.alpha * ((1 - progress) * forget + self.retain_weight * progress * retain)

    def progress(self, step: int) -> float:
        """Return the progress: 0 at the first update, nearly a half at the last, where both terms count the same."""
        return step / (2 * self.context.steps)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return AdamW(self.trainable(), lr=self.lr, master_weights=self.master_weights)

    def on_train_end(self) -> None:
        self.held.clear()


def rerouting(updated: Sequence[Tensor], frozen: Sequence[Tensor], counted: Tensor) -> Tensor:
    """Return the mean over blocks of relu(cos): orthogonal and opposite activations cost nothing.

    At the start it is 1 with a slope of zero, so that rounding alone chooses where the first update goes.

    Args:
        updated: (B, T, D) of each block, from the trained model.
        frozen: (B, T, D) of each block, from the untouched model.
        counted: (B, T) bool.
    """
    cosines = [F.cosine_similarity(upcast(new), upcast(old), dim=-1) for new, old in zip(updated, frozen, strict=True)]
    return torch.stack([mean_over(cosine.relu(), counted) for cosine in cosines]).mean()


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="rr",
            factory=RR,
            summary="turn forget representations away from what they were, hold retain representations",
            source="arXiv:2406.04313",
            training=Training(steps=150, batch_size=16, max_length=512),
            space={"lr": Log(1e-5, 5e-3), "alpha": Log(1.0, 50.0), "retain_weight": Log(0.25, 4.0)},
        )
    ]
