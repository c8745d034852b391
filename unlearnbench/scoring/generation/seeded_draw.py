"""Seeded draws of tokens: a draw depends on its own seed and place and on nothing else in the batch."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def noisy(logits: Tensor, temperature: float, seed: str, place: int) -> Tensor:
    """Return the noisy logits whose largest is one token of one answer.

    The largest of log-probabilities plus independent Gumbel noise is a draw from the distribution (Gumbel 1954).

    Args:
        logits: (V,) float32.
        temperature: sampling temperature; 0 takes the likeliest token.
        seed: seed of the answer, any text.
        place: place of the token in the answer, from 0.

    Returns:
        (V,) float32.
    """
    if temperature <= 0:
        return logits
    number = int.from_bytes(hashlib.sha256(f"{seed} {place}".encode()).digest()[:7])
    uniform = torch.rand(len(logits), generator=torch.Generator().manual_seed(number))
    noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
    return logits / temperature + noise.to(logits.device)
