"""The control random-noise: a row's weights if they had changed as much, but at random."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def add_noise(base: Mapping[str, Tensor], changed: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return the base's tensors plus Gaussian noise that has, tensor by tensor, the norm of the change.

    Args:
        base: tensors by name, any float dtype.
        changed: same tensors as another row left them.
        seed: seed; with a tensor's name it decides the noise, whatever other tensors there are.

    Returns:
        The noisy tensors in the dtype of the base; the norms are equal up to its rounding.
    """
    noisy: dict[str, Tensor] = {}
    for name, tensor in sorted(changed.items()):
        start = base[name].float()
        number = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big", signed=True)
        noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(number))
        size = (tensor.float() - start).norm() / noise.norm()
        noisy[name] = (start + size * noise).to(base[name].dtype).contiguous()
    return noisy
