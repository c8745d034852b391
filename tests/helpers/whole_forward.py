"""The plain way to what the package computes in parts: losses of whole logits, the output of a block by stopping behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from unlearnbench.models.blocks import decoder_blocks
from unlearnbench.models.tensors import mean_over, token_cross_entropy, token_kl


class Reached(Exception):
    """Ends a forward once the wanted block has answered."""


def kl_divergence(logits: Tensor, target: Tensor, counted: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(target || model) over the vocabulary at every counted position, both softened, times temperature squared.

    Where the two agree bit for bit, value and gradient are exactly zero.

    Args:
        logits: (B, T, V), of the model that learns; upcast to float32.
        target: (B, T, V), of the teacher; no gradient is taken.
        counted: (B, T) bool, positions that count.
        temperature: divides both logits; the square keeps gradients comparable (Hinton et al., arXiv:1503.02531).

    Returns:
        scalar float32, nats per position: mean over each sequence's counted positions, then over sequences.
    """
    return mean_over(token_kl(logits, target, temperature), counted)


def distillation(logits: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """`token_cross_entropy` at every counted position.

    Args:
        logits: (B, T, V), of the model that learns; upcast to float32.
        target: (B, T, V), of the frozen one; no gradient is taken.
        counted: (B, T) bool, positions that count.

    Returns:
        scalar float32, nats per position: mean over each sequence's counted positions, then over sequences.
    """
    return mean_over(token_cross_entropy(logits, target), counted)


def activations_at(model: nn.Module, block: int, inputs: Mapping[str, Tensor]) -> Tensor:
    """The output of one decoder block; the blocks above it, the final norm and the head do not run.

    Args:
        model: a decoder-only language model.
        block: 0-based; its output is transformers' `hidden_states[block + 1]`.
        inputs: `input_ids` and `attention_mask`, both (B, T).

    Returns:
        (B, T, D) in the model's dtype.
    """
    caught: list[Tensor] = []

    def catch(_module: nn.Module, _args: Any, output: Any) -> None:
        caught.append(output if isinstance(output, Tensor) else output[0])
        raise Reached

    handle = decoder_blocks(model)[1][block].register_forward_hook(catch)
    try:
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
    except Reached:
        return caught[0]
    finally:
        handle.remove()
    raise RuntimeError(f"block {block} of {type(model).__name__} did not run")
