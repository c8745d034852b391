"""The plain way to score, for models that cannot be packed: texts padded to the longest, and a check that it is right."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch
from torch import Tensor, nn

from unlearnbench.errors import UsageError
from unlearnbench.models.blocks import body_of
from unlearnbench.scoring.choice.prefix_trees import Tree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_right: WeakSet[nn.Module] = WeakSet()  # models that the trial has shown to be


@torch.inference_mode()
def padded_logits(
    model: PreTrainedModel, pad: int, batch: Sequence[Tree], wanted: Sequence[int], hidden: int | None = None
) -> Tensor:
    """Return the logits after some tokens of texts in one batch.

    Args:
        model: a language model in eval mode.
        pad: padding token.
        batch: texts, without branches.
        wanted: indices of tokens in the texts laid end to end.
        hidden: token that attention does not see; it has its place all the same.

    Returns:
        (len(wanted), V), in the model's dtype.
    """
    ids, mask, places = _padded(pad, batch, hidden)
    rows, positions = torch.tensor([places[index] for index in wanted], device=model.device).T  # (n,), (n,)
    with _head_only_at(model, rows, positions):
        return model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits[0]


@torch.inference_mode()
def padded_hidden(
    model: PreTrainedModel, pad: int, batch: Sequence[Tree], wanted: Sequence[int], hidden: int | None = None
) -> Tensor:
    """Return what the head reads after some tokens of texts in one batch.

    Args:
        model: a language model in eval mode.
        pad: padding token.
        batch: texts, without branches.
        wanted: indices of tokens in the texts laid end to end.
        hidden: token that attention does not see; it has its place all the same.

    Returns:
        (len(wanted), D), in the model's dtype.
    """
    ids, mask, places = _padded(pad, batch, hidden)
    rows, positions = torch.tensor([places[index] for index in wanted], device=model.device).T  # (n,), (n,)
    inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
    return body_of(model)(**inputs, use_cache=False).last_hidden_state[rows, positions]


def _padded(pad: int, batch: Sequence[Tree], hidden: int | None) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """Return texts padded on the right, (B, T), their mask, and row and position of each token of the texts laid end to end."""
    width = max(len(tree.ids) for tree in batch)
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    places: list[tuple[int, int]] = []
    for number, tree in enumerate(batch):
        ids[number, : len(tree.ids)] = torch.tensor(tree.ids)  # what is causal never sees the padding
        mask[number, : len(tree.ids)] = 1
        places += [(number, place) for place in range(len(tree.ids))]
    if hidden is not None:
        mask[ids == hidden] = 0
    return ids, mask, places


@contextmanager
def _head_only_at(model: PreTrainedModel, rows: Tensor, positions: Tensor) -> Generator[None]:
    """Let the output head see only some positions, as one sequence: logits are (1, n, V).

    Done before the head and not after, since the head is most of a small model; whatever the model does to its logits
    afterwards (soft caps, scaling) still happens.
    """
    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportAssignmentType]

    def gather(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0][rows, positions].unsqueeze(0), *arguments[1:])  # (B, T, D) -> (1, n, D)

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def require_causal_logits(model: PreTrainedModel) -> None:
    """Refuse a model whose logits after a token change with what follows it, such as a longer text in the batch.

    Tried once on a few tokens, whatever its family promises.

    Raises:
        UsageError: it cannot be scored.
    """
    if model in _right:
        return
    vocabulary = int(model.config.get_text_config().vocab_size)
    text = [(7 * place * place + 3) % vocabulary for place in range(40)]
    beginning = text[:17]
    batch = [Tree(text, len(text)), Tree(beginning, len(beginning))]
    ends = [len(beginning) - 1, len(text) - 1, len(text) + len(beginning) - 1]
    together = padded_logits(model, 0, batch, ends).float()
    alone = [
        model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1] for ids in (beginning, text)
    ]
    expected = torch.stack([alone[0], alone[1], alone[0]]).float()
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1  # of the largest logit; to see another token changes far more
    if not bool((together - expected).abs().max() <= tolerance * expected.abs().max()):
        raise UsageError(
            f"{type(model).__name__} predicts otherwise after the same tokens when others follow them, and cannot be scored; "
            "take a causal language model."
        )
    _right.add(model)
