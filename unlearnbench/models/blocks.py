"""A model's decoder blocks and parameters by name: the blocks there are, the parameters that train, the blocks that stay."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from unlearnbench.errors import UsageError

# a slice, not a character class: digits, colons and commas only, at the very end
_SLICE = re.compile(r"\[([\d\s:,]+)\]$")


def decoder_of(model: nn.Module) -> Any:
    """Return the part of a language model that holds its decoder blocks and their config; of a multimodal model the
    text part.
    """
    whole: Any = model
    return whole.get_decoder() if hasattr(whole, "get_decoder") else whole


def body_of(model: nn.Module) -> Any:
    """Return the part of a language model that computes the final hidden states: all but the head."""
    whole: Any = model
    return whole.model if whole.base_model is whole else whole.base_model  # Llama 4 calls its body otherwise than it says


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """Return the qualified name of a model's list of decoder blocks, and that list.

    Args:
        model: a decoder-only language model.

    Returns:
        the name, as in `model.layers`, `gpt_neox.layers` or `transformer.h`, and the blocks, lowest first.

    Raises:
        UsageError: the model has no list of as many modules as its config has layers.
    """
    decoder = decoder_of(model)
    count = getattr(decoder.config, "num_hidden_layers", None)
    for name, module in decoder.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            prefix = next(name for name, module in model.named_modules() if module is decoder)
            return f"{prefix}.{name}".lstrip("."), module
    raise UsageError(f"{type(model).__name__} has no list of {count} decoder blocks; this method needs a decoder-only model.")


def keep_blocks(model: nn.Module, count: int | None, back: Sequence[nn.Module] = ()) -> list[nn.Module]:
    """Take the upper decoder blocks out of a model, or put them back; what is left works as a shorter model.

    Args:
        model: a decoder-only language model.
        count: number of blocks that stay; None: all that are in it.
        back: blocks to put back on top.

    Returns:
        the blocks that were taken out, lowest first.
    """
    blocks = decoder_blocks(model)[1]
    taken = list(blocks)[count:] if count is not None else []
    if taken:
        del blocks[count:]
    blocks.extend(back)
    decoder_of(model).config.num_hidden_layers = len(blocks)
    return taken


def select_parameters(model: nn.Module, pattern: str, blocks: Sequence[int]) -> dict[str, nn.Parameter]:
    """Return the parameters of some blocks whose names match a pattern.

    Args:
        model: a decoder-only language model.
        pattern: a regular expression, searched in the name below the block (`mlp.down_proj.weight`); `OUTPUT_PROJECTION` and
            `PROJECTIONS` fit many families.
        blocks: block numbers, from 0.

    Returns:
        the parameters by their qualified names, block by block; for `train_only`.

    Raises:
        UsageError: a block or parameter that the model lacks; says what it has.
    """
    prefix, layers = decoder_blocks(model)
    for block in blocks:
        if not 0 <= block < len(layers):
            raise UsageError(f"There is no block {block}: {type(model).__name__} has blocks 0 to {len(layers) - 1}.")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"'{pattern}' is not a valid regular expression: {error}.") from error
    found: dict[str, nn.Parameter] = {}
    for block in blocks:
        named = dict(layers[block].named_parameters())
        matching = {f"{prefix}.{block}.{name}": parameter for name, parameter in named.items() if expression.search(name)}
        if not matching:
            have = ", ".join(named)
            raise UsageError(f"No parameter of block {block} of {type(model).__name__} matches '{pattern}'; it has: {have}.")
        found |= matching
    return found


def split_slice(pattern: str) -> tuple[str, tuple[slice | int, ...] | None]:
    """Split `NAME[0, 14336:]` into the pattern for the name and the slice of the tensor.

    Families that keep all experts in one tensor need it: Mixtral's expert 0 is a slice of `mlp.experts.gate_up_proj`.

    Args:
        pattern: a regular expression for parameters' names, with or without a slice in brackets behind it.

    Returns:
        the regular expression, for `select_parameters`, and the slice, for `train_only`; None where there is no slice.
    """
    found = _SLICE.search(pattern)
    if found is None:
        return pattern, None
    parts: list[slice | int] = []
    for text in found.group(1).split(","):
        numbers = [int(number) if number.strip() else None for number in text.split(":")]
        parts.append(slice(*numbers) if len(numbers) > 1 else numbers[0] or 0)
    return pattern[: found.start()], tuple(parts)


def _train_slice(parameters: Mapping[str, nn.Parameter], part: tuple[slice | int, ...]) -> list[RemovableHandle]:
    """Zero the gradients outside a slice of each parameter."""
    handles: list[RemovableHandle] = []
    for name, parameter in parameters.items():
        mask = torch.zeros_like(parameter, dtype=torch.bool)
        try:
            mask[part] = True
            size = parameter[part].numel()
        except IndexError:
            size = 0
        if size == 0:
            raise UsageError(f"{name} has the shape {tuple(parameter.shape)}; there is nothing at the given slice.")
        handles.append(parameter.register_hook(functools.partial(torch.mul, mask)))
    return handles


def train_only(
    model: nn.Module, parameters: Mapping[str, nn.Parameter], part: tuple[slice | int, ...] | None = None
) -> list[RemovableHandle]:
    """Let gradients reach these parameters, or a slice of each, and no others.

    Args:
        model: a language model.
        parameters: the parameters to train, by name, as `select_parameters` gives them.
        part: the slice of each parameter that trains, from `split_slice`; outside of it gradients are zero. None trains whole
            parameters.

    Returns:
        handles to `remove()` after training; empty without a slice.

    Raises:
        UsageError: a parameter has no such slice.
    """
    chosen = {id(parameter) for parameter in parameters.values()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in chosen)
    return _train_slice(parameters, part) if part is not None else []
