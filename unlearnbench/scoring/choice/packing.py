"""Forwards without padding: the texts of a batch packed into one row, a prefix that all share computed once.

Every layer but attention treats tokens one by one, so packed texts cost what their tokens cost. Attention is done in two
parts, each text with itself and every token with the shared prefix, merged by their log-sum-exps: the softmax over both,
without copying the prefix's keys and values for each text (as in Juravsky et al., "Hydragen", arXiv:2402.05099).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from unlearnbench.models.blocks import body_of, decoder_blocks, decoder_of
from unlearnbench.scoring.choice.prefix_trees import Tree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "unlearnbench_packed"  # the name under which transformers knows `_attend`
WINDOWS = ("sliding_window", "attention_chunk_size")  # what configs call the reach of a layer's attention, in tokens
COUNTED = ("attn_temperature_tuning",)  # what grows with a token's place in the row, which in a packed one is not its own
KeyValue = tuple[Tensor, Tensor]  # both (Hkv, P, D)


class Unsupported(Exception):  # noqa: N818 - a reason to take the plain way, not an error
    """The model's attention is not plain causal attention."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """The keys and values of tokens that precede every tree, by attention module."""

    length: int = 0
    layers: Mapping[nn.Module, KeyValue] = field(default_factory=dict)


EMPTY = Prefix()


@dataclass(kw_only=True)
class _Batch:
    """The state of the current forward that attention needs.

    Attributes:
        prefix: keys and values of the prefix that precedes every tree.
        grid: (B, T), the place of each tree's tokens in the packed batch; a tree that is shorter repeats the first token.
        real: (N,), the place of each token in the flattened grid.
        mask: additive mask, (B, 1, T, T); None where causal attention will do, since repetitions come last.
        recorded: each layer's keys and values, filled in where they are wanted.
    """

    prefix: Prefix
    grid: Tensor
    real: Tensor
    mask: Tensor | None
    recorded: dict[nn.Module, KeyValue] | None = None


_current: ContextVar[_Batch | None] = ContextVar("packed batch", default=None)
_packs: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def encode_prefix(model: PreTrainedModel, ids: Sequence[int], hidden: int | None = None) -> Prefix:
    """Run the tokens that precede every tree, and keep their keys and values.

    Args:
        model: a model that `packs`.
        ids: tokens of the prefix.
        hidden: token that attention does not see; it has its place all the same.

    Raises:
        Unsupported: the model's attention is not plain causal attention.
    """
    if not ids:
        return EMPTY
    recorded: dict[nn.Module, KeyValue] = {}
    tree = Tree(list(ids), len(ids))
    batch = _batch([tree], EMPTY, model, hidden)
    batch.recorded = recorded
    _forward(model, batch, [tree], [len(ids) - 1])
    if hidden in ids:
        seen = torch.tensor([place for place, token in enumerate(ids) if token != hidden], device=model.device)
        recorded = {module: (key[:, seen], value[:, seen]) for module, (key, value) in recorded.items()}
    return Prefix(len(ids), recorded)


def packed_logits(model: PreTrainedModel, trees: Sequence[Tree], wanted: Sequence[int], prefix: Prefix = EMPTY) -> Tensor:
    """Return the logits after some tokens of packed trees.

    Args:
        model: decoder-only language model in eval mode that `packs`.
        trees: trees of the batch.
        wanted: indices of tokens in the trees laid end to end; only there do the final norm and the head run.
        prefix: prefix that precedes every tree.

    Returns:
        (len(wanted), V), in the model's dtype.

    Raises:
        Unsupported: the model's attention is not plain causal attention over so many tokens.
    """
    return _forward(model, _batch(trees, prefix, model), trees, wanted)


def packed_hidden(
    model: PreTrainedModel,
    trees: Sequence[Tree],
    wanted: Sequence[int],
    prefix: Prefix = EMPTY,
    hidden: int | None = None,
) -> Tensor:
    """Return what the head reads after some tokens of packed trees.

    Args:
        model: a model that `packs`.
        trees: trees of the batch.
        wanted: indices of tokens in the trees laid end to end.
        prefix: prefix that precedes every tree, encoded with the same `hidden`.
        hidden: token that attention does not see; it has its place all the same.

    Returns:
        (len(wanted), D), in the model's dtype.

    Raises:
        Unsupported: the model's attention is not plain causal attention over so many tokens.
    """
    return _forward(model, _batch(trees, prefix, model, hidden), trees, wanted, head=False)


def packs(model: PreTrainedModel, *, longest: int) -> bool:
    """Return whether packed forwards give this model's own logits: tried once on a few tokens, whatever its family promises.

    Args:
        model: a language model in eval mode.
        longest: number of tokens of the longest text; where attention reaches less far back, packing is refused.
    """
    config = decoder_of(model).config
    reaches = [getattr(config, name, None) for name in WINDOWS]
    if any(reach and longest > reach for reach in reaches):
        return False
    if model not in _packs:
        try:
            supported = bool(getattr(model, "_supports_attention_backend", False)) and not any(
                getattr(config, n, False) for n in COUNTED
            )
            _packs[model] = supported and _agrees(model)
        except Exception:  # a family may raise anything on the way: it is scored the plain way then
            _packs[model] = False
    return _packs[model]


@torch.inference_mode()
def _agrees(model: PreTrainedModel) -> bool:
    """Compare with plain forwards: a prefix, a tree with branches and a tree without."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    text = [(7 * place * place + 3) % vocabulary for place in range(40)]
    start, trunk, first, second, other = text[:9], text[9:16], text[16:20], text[20:26], text[26:37]
    prefix = encode_prefix(model, start)
    if len(prefix.layers) != len(decoder_blocks(model)[1]):
        return False  # a block mixes tokens in another way than by attention
    trees = [Tree(trunk + first + second, len(trunk), (len(first), len(second))), Tree(other, len(other))]
    ends = [len(trunk + first) - 1, len(trees[0].ids) - 1, len(trees[0].ids) + len(other) - 1]
    packed = packed_logits(model, trees, ends, prefix).float()
    texts = (start + trunk + first, start + trunk + second, start + other)
    plain = torch.cat(
        [model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1:] for ids in texts]
    )
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1  # of the largest logit; another mask changes far more
    return bool((packed - plain).abs().max() <= tolerance * plain.abs().max())


def _batch(trees: Sequence[Tree], prefix: Prefix, model: PreTrainedModel, hidden: int | None = None) -> _Batch:
    sizes = torch.tensor([len(tree.ids) for tree in trees])  # (B,)
    starts = sizes.cumsum(0) - sizes
    steps = torch.arange(int(sizes.max()))  # (T,)
    inside = steps < sizes.unsqueeze(1)  # (B, T)
    grid = torch.where(inside, starts.unsqueeze(1) + steps, 0)
    real = inside.flatten().nonzero().flatten()  # (N,)
    masked = any(tree.branches or hidden in tree.ids for tree in trees)
    mask = _branch_mask(trees, len(steps), model.dtype, hidden).to(model.device) if masked else None
    return _Batch(prefix=prefix, grid=grid.to(model.device), real=real.to(model.device), mask=mask)


def _branch_mask(trees: Sequence[Tree], width: int, dtype: torch.dtype, hidden: int | None = None) -> Tensor:
    """Return the additive mask, (B, 1, T, T): causal, no branch sees another, and nothing sees a hidden token."""
    seen = torch.ones(len(trees), 1, width, width, dtype=torch.bool).tril()
    for number, tree in enumerate(trees):
        start = tree.trunk
        for length in tree.branches:
            seen[number, 0, start : start + length, tree.trunk : start] = False
            start += length
        if hidden in tree.ids:
            seen[number, 0, :, [place for place, token in enumerate(tree.ids) if token == hidden]] = False
    alone = ~seen.any(dim=-1)  # a softmax over nothing would be NaN
    seen |= torch.eye(width, dtype=torch.bool) & alone.unsqueeze(-1)
    return torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, float("-inf"))


@torch.inference_mode()
def _forward(
    model: PreTrainedModel, batch: _Batch, trees: Sequence[Tree], wanted: Sequence[int], *, head: bool = True
) -> Tensor:
    """Return the logits at the wanted tokens, (n, V); without the head what it would read, (n, D)."""
    ids = torch.tensor([[token for tree in trees for token in tree.ids]], device=model.device)  # (1, N)
    places = torch.tensor([[batch.prefix.length + place for tree in trees for place in tree.places()]], device=model.device)
    read = torch.tensor(wanted, device=model.device)
    last = decoder_blocks(model)[1][-1]

    def gather(_module: nn.Module, _arguments: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return output[:, read]  # (1, N, D) -> (1, n, D): before the final norm and the head
        return (output[0][:, read], *output[1:])

    handle = last.register_forward_hook(gather)
    try:
        with _packed_attention(model, batch):
            if not head:
                return body_of(model)(input_ids=ids, position_ids=places, use_cache=False).last_hidden_state[0]
            return model(input_ids=ids, position_ids=places, use_cache=False).logits[0]
    finally:
        handle.remove()


@contextmanager
def _packed_attention(model: PreTrainedModel, batch: _Batch) -> Generator[None]:
    """Let the model's attention layers call `_attend` for a while."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attend)
    config: Any = decoder_of(model).config
    before, token = config._attn_implementation, _current.set(batch)
    config._attn_implementation = ATTENTION  # no mask is made for a name that transformers' mask functions do not know
    try:
        yield
    finally:
        config._attn_implementation = before
        _current.reset(token)


def _attend(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Compute the attention of a packed batch, called by transformers in each layer.

    Args:
        module: attention layer.
        query: (1, H, N, D).
        key: (1, Hkv, N, D); each of its heads serves H / Hkv query heads.
        value: values, in the shape of key.
        attention_mask: mask of the model's; none is made for packed batches.
        options: `scaling` of the logits; options that would change the attention are refused.

    Returns:
        (1, N, H, D), and no weights.

    Raises:
        Unsupported: soft caps, sinks, biases, a mask of the model's own, or values of another width.
    """
    batch = _current.get()
    assert batch is not None
    refused = any(options.get(name) is not None for name in ("softcap", "s_aux", "sinks", "position_bias"))
    if refused or attention_mask is not None or value.shape[-1] != query.shape[-1]:
        raise Unsupported(type(module).__name__)
    if batch.recorded is not None:
        batch.recorded[module] = (key[0], value[0])
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    within, own_sum = _own_attention(query[0], key[0], value[0], batch, scale)  # (H, N, D), (H, N)
    if batch.prefix.length:
        prefix, prefix_sum = _prefix_attention(query[0], *batch.prefix.layers[module], scale)
        share = (prefix_sum - own_sum).sigmoid().unsqueeze(-1).to(within.dtype)  # of the softmax's weight, (H, N, 1)
        within = within + share * (prefix - within)
    return within.transpose(0, 1).unsqueeze(0), None


def _own_attention(query: Tensor, key: Tensor, value: Tensor, batch: _Batch, scale: float) -> tuple[Tensor, Tensor]:
    """Attend within each tree: outputs (H, N, D) and log-sum-exps (H, N), float32.

    Args:
        query: (H, N, D).
        key: (Hkv, N, D).
        value: (Hkv, N, D).
        batch: batch, with the trees' beginnings and ends, and their mask if they need one.
        scale: scale of the logits.
    """
    heads, _, width = query.shape
    query, key, value = (tensor[:, batch.grid] for tensor in (query, key, value))  # (H, B, T, D)
    group = heads // key.shape[0]
    key, value = key.repeat_interleave(group, dim=0), value.repeat_interleave(group, dim=0)
    mask = batch.mask.expand(-1, heads, -1, -1) if batch.mask is not None else None
    out, sums = flash(
        query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1), scale=scale, causal=mask is None, mask=mask
    )  # (B, H, T, D), (B, H, T)
    return (
        out.transpose(0, 1).reshape(heads, -1, width).index_select(1, batch.real),
        sums.transpose(0, 1).reshape(heads, -1).index_select(1, batch.real),
    )


def _prefix_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Attend from every token to the shared prefix: outputs (H, N, D) and log-sum-exps (H, N), float32."""
    heads, tokens, width = query.shape
    grouped = query.reshape(1, key.shape[0], -1, width)  # the heads that share keys become more queries: (1, Hkv, H/Hkv N, D)
    out, sums = flash(grouped, key.unsqueeze(0), value.unsqueeze(0), scale=scale)
    return out.reshape(heads, tokens, width), sums.reshape(heads, tokens)


def flash(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute fused attention that also returns its log-sum-exps, which torch's public function keeps to itself.

    Args:
        query: (B, H, T, D).
        key: (B, H, S, D).
        value: (B, H, S, D).
        scale: scale of the logits.
        causal: True keeps every token from seeing later ones.
        mask: additive mask, (B, H, T, S).

    Returns:
        (B, H, T, D) in the query's dtype and (B, H, T) float32.
    """
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, attn_mask=mask, scale=scale
        )
    if query.device.type == "cuda" and mask is None:
        out, sums, *_ = torch.ops.aten._scaled_dot_product_efficient_attention(
            query, key, value, None, True, 0.0, causal, scale=scale
        )
        return out, sums[..., : query.shape[2]]  # the kernel pads its sums
    return portable_flash(query, key, value, scale=scale, causal=causal, mask=mask)


def portable_flash(
    query: Tensor, key: Tensor, value: Tensor, *, scale: float, causal: bool = False, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute `flash` by plain products, for devices without a kernel that returns its sums."""
    logits = (query.float() @ key.float().transpose(-1, -2)) * scale  # (B, H, T, S)
    if causal:
        logits = logits.masked_fill(torch.ones_like(logits[0, 0], dtype=torch.bool).triu(1), float("-inf"))
    if mask is not None:
        logits = logits + mask
    sums = logits.logsumexp(-1)
    return (logits - sums.unsqueeze(-1)).exp().to(value.dtype) @ value, sums
