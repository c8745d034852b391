"""The hash that identifies unlearned weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlearnbench.system.files import content_hash

if TYPE_CHECKING:
    from torch import Tensor


def weights_hash(base: str, dtype: str, delta: Mapping[str, Tensor]) -> str:
    """Return the hash of a model's weights: of where they came from, and of the bits of every tensor that changed.

    Args:
        base: hash of the base model's files.
        dtype: dtype of the weights.
        delta: the changed tensors, or an adapter's factors, by name; any dtype, on the CPU.
    """
    import torch

    sums: list[tuple[str, str]] = []
    for name, tensor in sorted(delta.items()):
        bits = tensor.contiguous().flatten().view(torch.uint8).numpy()
        sums.append((name, hashlib.sha256(bits.data).hexdigest()))
    return content_hash([base, dtype, sums])
