"""The retain terms to choose from: losses that hold a model in place on retain texts."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unlearnbench.data.batches import Stream, UnlearnBatch
from unlearnbench.models.head import over_positions
from unlearnbench.models.tensors import next_tokens, token_kl
from unlearnbench.training.frozen_base import FrozenOutputs
from unlearnbench.training.method import UnlearningMethod

RetainKind = Literal["nll", "kl"]
"""The type of an option that leaves the retain term to the user: the loss on retain texts, or the divergence on them."""


class RetainTerm:
    """The negative log-likelihood of retain texts, or the divergence of the model from its untouched state.

    Make one in `__init__`, `prepare` it in `on_fit_start`, and call it on the retain side in `training_step`:

        class GradDiff(UnlearningMethod):
            def __init__(self, model, *, retain: RetainKind = "nll", retain_weight: float = 1.0) -> None:
                super().__init__(model)
                self.held = RetainTerm(self, retain, retain_weight)

            def on_fit_start(self) -> None:
                self.model.eval()  # dropout would make the untouched and the trained model differ from the start
                self.held.prepare()

            def training_step(self, batch, batch_idx):
                return self.held(batch["retain"]) - self.nll(batch["forget"])

    Args:
        method: the method whose model is held.
        kind: `nll`, or `kl` for KL(untouched || model) over the positions that predict a counted token; its gradient is
            exactly zero as long as the model has not moved.
        weight: the weight of the term in the loss; at 0 it does not run.
    """

    def __init__(self, method: UnlearningMethod, kind: RetainKind, weight: float) -> None:
        self._method, self._kind, self._weight = method, kind, weight
        self._untouched: FrozenOutputs | None = None

    def prepare(self) -> None:
        """Compute what the untouched model answers to the retain texts, if `kind` asks for it; call it in `on_fit_start`."""
        if self._kind == "kl" and self._weight:
            retain = self._method.context.retain
            self._untouched = FrozenOutputs(self._method)
            self._untouched.prepare([retain[index] for index in range(len(retain))])

    def streams(self, batch: UnlearnBatch) -> tuple[Stream, ...]:
        """Return the streams of a batch that the term runs the model on, for `UnlearningMethod.one_forward`.

        Args:
            batch: the batch of an update.

        Returns:
            its retain side; nothing where the weight is 0.
        """
        return (batch["retain"],) if self._weight else ()

    def __call__(self, stream: Stream) -> Tensor:
        """Return the weighted term, and log it without its weight as `retain/nll` or `retain/kl`.

        Args:
            stream: (B, T), the retain side of the batch.

        Returns:
            scalar, float32 or wider, with gradient: the mean over each sequence's counted tokens, then over sequences, in
            nats per token, times the weight; 0 where the weight is 0.
        """
        if not self._weight:
            return torch.zeros((), device=stream["input_ids"].device)
        value = self._method.nll(stream) if self._untouched is None else self._divergence(stream, self._untouched)
        self._method.log(f"retain/{self._kind}", value)
        return self._weight * value

    def _divergence(self, stream: Stream, untouched: FrozenOutputs) -> Tensor:
        predicting, _ = next_tokens(stream["labels"])
        before = untouched.hidden(stream)[predicting]  # (N, D)

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            return [token_kl(logits, untouched.logits(before[part]))]

        return over_positions(self._method.model, self._method.final_hidden(stream), predicting, loss_of).total
