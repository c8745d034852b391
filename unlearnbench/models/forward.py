"""Partial forwards: parameters by name, activations at a block, the frozen model without a second copy."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unlearnbench.models.blocks import decoder_blocks
from unlearnbench.system.memory import give_back


class _Reached(Exception):  # noqa: N818 - a signal, not an error
    """The end of a forward, raised once the wanted block has answered."""


@dataclass(frozen=True, kw_only=True)
class SplitForward:
    """A forward that has run up to its first trained block; calling it runs the rest, as often as wanted.

    The frozen and the updated model agree below the first trained block, so both start from here.

    Attributes:
        blocks: the blocks from the first trained one to the last one that is needed.
        hidden: (B, T, D), what goes into the first of them; without a graph.
        calls: the other arguments that the model calls each block with: masks, positions.
        tupled: the number of things that this family's blocks return in a tuple; 0 where they return the hidden states alone.
    """

    blocks: Sequence[nn.Module]
    hidden: Tensor
    calls: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]
    tupled: int = 0

    @property
    def prefix(self) -> dict[str, Tensor]:
        """The tensors with which the blocks below need not run again; `BlockOutputs` keeps them."""
        return {"hidden": self.hidden, "tupled": torch.tensor(self.tupled)}

    def each(self) -> Iterator[Tensor]:
        """Yield the output of each block in turn, with the weights as they are now: (B, T, D) in the model's dtype."""
        hidden = self.hidden
        for block, (arguments, options) in zip(self.blocks, self.calls, strict=True):
            output = block(hidden, *arguments, **options)
            hidden = output if isinstance(output, Tensor) else output[0]
            yield hidden

    def __call__(self) -> Tensor:
        """Return the output of the last block, with the weights as they are now: (B, T, D) in the model's dtype."""
        (last,) = deque(self.each(), maxlen=1)
        return last


@torch.no_grad()
def split_forward(
    model: nn.Module, inputs: Mapping[str, Tensor], *, first: int, last: int, known: Mapping[str, Tensor] | None = None
) -> SplitForward:
    """Run the embeddings and the blocks below the first trained one, without gradients.

    Args:
        model: a decoder-only language model; dropout must be off, or the prefix would be random.
        inputs: `input_ids` and `attention_mask`, both (B, T).
        first: 0-based, the first block whose weights may change.
        last: the last block whose output is wanted; what is above never runs.
        known: the `prefix` of an earlier call with the same inputs; the blocks below `first` do not run then.
    """
    blocks = decoder_blocks(model)[1]
    suffix = list(blocks[first : last + 1])
    own_forward = suffix[0].forward
    hidden: list[Tensor] = []
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    # some families' blocks return a tuple, and the model unpacks it
    tupled = 0 if known is None else int(known["tupled"])

    def note(_module: Any, _arguments: Any, output: Any) -> None:
        nonlocal tupled
        tupled = 0 if isinstance(output, Tensor) else len(output)

    def record(hidden_states: Tensor, *arguments: Any, **options: Any) -> Any:
        hidden.append(hidden_states)
        calls.append((arguments, options))
        if len(calls) == len(suffix):
            raise _Reached
        if known is None and first == 0 and len(calls) == 1:  # there is no block below to look at
            note(None, None, own_forward(hidden_states, *arguments, **options))
        return passed(hidden_states)

    def passed(hidden_states: Tensor, *_arguments: Any, **_options: Any) -> Any:
        return (hidden_states, *[None] * (tupled - 1)) if tupled else hidden_states

    replaced: dict[nn.Module, Callable[..., Any]] = dict.fromkeys(suffix, record)
    if known is not None:
        replaced |= dict.fromkeys(blocks[:first], passed)
    handle = blocks[first - 1].register_forward_hook(note) if first and known is None else None
    try:
        with replaced_forward(replaced):
            model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
    except _Reached:
        below = hidden[0] if known is None else known["hidden"].to(hidden[0])
        return SplitForward(blocks=suffix, hidden=below, calls=calls, tupled=tupled)
    finally:
        if handle is not None:
            handle.remove()
    raise RuntimeError(f"block {last} of {type(model).__name__} did not run")


@contextmanager
def replaced_forward(replacements: Mapping[nn.Module, Callable[..., Any]]) -> Generator[None]:
    """Let modules compute something else for a while."""
    before = {module: vars(module).get("forward") for module in replacements}
    try:
        for module, forward in replacements.items():
            module.forward = forward
        yield
    finally:
        for module, forward in before.items():
            del module.forward
            if forward is not None:
                module.forward = forward


@contextmanager
def checkpointed(model: nn.Module) -> Generator[None]:
    """Compute each decoder block's activations again in the backward pass instead of keeping them.

    Unlike transformers' own, this does not depend on train mode, in which dropout would be on. What the forward left free of a
    CPU's memory is given back before the head comes.
    """
    blocks = decoder_blocks(model)[1]
    again = {b: functools.partial(checkpoint, b.forward, use_reentrant=False, preserve_rng_state=False) for b in blocks}
    handle = blocks[-1].register_forward_hook(_give_back)
    try:
        with replaced_forward(again):
            yield
    finally:
        handle.remove()


def _give_back(block: nn.Module, *_: Any) -> None:
    if next(block.parameters()).device.type == "cpu":
        give_back()


@contextmanager
def swapped(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> Generator[None]:
    """Give parameters other values for a while, without copying: the frozen model is the same module.

    Args:
        parameters: parameters by name.
        values: tensors of the same shape, dtype and device, by the same names.
    """
    current = {name: parameters[name].data for name in values}
    try:
        for name, value in values.items():
            parameters[name].data = value
        yield
    finally:
        for name, tensor in current.items():
            parameters[name].data = tensor


@torch.no_grad()
def copy_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return detached copies of parameters, on their device."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}
