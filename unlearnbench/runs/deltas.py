"""What tells unlearned weights from others."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from unlearnbench.system.files import content_hash

if TYPE_CHECKING:
    from torch import Tensor


def weights_hash(base: str, dtype: str, delta: Mapping[str, Tensor]) -> str:
    """What tells a model's weights from others: where they came from, and the bits of every tensor that changed.

    Args:
        base: hash of the base model's files.
        dtype: of the weights.
        delta: the changed tensors, or an adapter's factors, by name; any dtype, on the CPU.
    """
    import torch

    sums: list[tuple[str, str]] = []
    for name, tensor in sorted(delta.items()):
        bits = tensor.contiguous().flatten().view(torch.uint8).numpy()
        sums.append((name, hashlib.sha256(bits.data).hexdigest()))
    return content_hash([base, dtype, sums])
