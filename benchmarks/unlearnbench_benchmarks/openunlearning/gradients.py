"""The attack on membership by gradients: how strongly a text would change the model's weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from unlearnbench.api import Answered, Subject, upcast
from unlearnbench_benchmarks.openunlearning.profiles import Profile
from unlearnbench_benchmarks.openunlearning.templates import hidden_token

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def gradient_norms(subject: Subject, texts: Sequence[Answered], profile: Profile) -> list[float]:
    """Return for each text the mean over weight tensors of the norm of the loss's gradient; NaN of no counted token.

    One text at a time; beside the model's weights, their gradient stands in memory.

    Args:
        subject: argument of `Benchmark.evaluate`; its model stays as it is.
        texts: texts in tokens, and where each one's counted tokens begin.
        profile: profile, which decides whether the last of them counts.
    """
    model = subject.model
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]  # tied ones are there once
    before = [weight.requires_grad for weight in weights]
    hidden = hidden_token(subject.tokenizer, profile)
    try:
        for weight in weights:
            weight.requires_grad_(True)
        return [_norm(model, weights, text, profile, hidden) for text in texts]
    finally:
        for weight, trained in zip(weights, before, strict=True):
            weight.requires_grad_(trained)


def mean_norm(gradients: Iterable[Tensor]) -> float:
    """Return the mean of the tensors' L2 norms, in float32 or wider: not the norm of all together."""
    norms = [float(upcast(gradient).norm()) for gradient in gradients]
    return sum(norms) / len(norms)


def _norm(
    model: PreTrainedModel, weights: Sequence[nn.Parameter], text: Answered, profile: Profile, hidden: int | None
) -> float:
    first, end = max(text.start, 1), len(text.ids) if profile.last else len(text.ids) - 1
    if end <= first:
        return float("nan")
    ids = torch.tensor([text.ids[:end]], device=model.device)
    mask = torch.ones_like(ids) if hidden is None else (ids != hidden).long()
    with torch.enable_grad():
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, first - 1 : -1]  # (n, V)
        loss = nn.functional.cross_entropy(upcast(logits), ids[0, first:])
        found = cast("Sequence[Tensor | None]", torch.autograd.grad(loss, weights, allow_unused=True))
    return mean_norm(gradient for gradient in found if gradient is not None)
