"""Shared parts of methods that steer the outputs of decoder blocks: both models' outputs, directions, a latent adversary,
signs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.data.batches import Stream
from unlearnbench.errors import UsageError
from unlearnbench.models.blocks import decoder_of
from unlearnbench.models.forward import SplitForward, split_forward
from unlearnbench.models.tensors import mean_over, upcast
from unlearnbench.training.method import UnlearningMethod

OUTPUT_PROJECTION = r"(^|(mlp|ffn|feed_forward)\.)(down_proj|dense_4h_to_h|fc2|c_proj|fc_out|w2)\.weight$"
"""A pattern for `select_parameters`: the MLP's output projection of Llama, Mistral, Qwen, Gemma; GPT-NeoX, Bloom; Phi; GPT-2;
GPT-J; LFM2; OPT."""

# attention and MLP projections in the families' various names
NAMES = (
    "q_proj k_proj v_proj o_proj out_proj qkv_proj Wqkv c_attn gate_proj up_proj gate_up_proj down_proj query_key_value dense "
    "dense_h_to_4h dense_4h_to_h fc1 fc2 fc_in fc_out c_fc c_proj q_a_proj q_b_proj kv_a_proj_with_mqa kv_b_proj w1 w2 w3"
)
PROJECTIONS = rf"({NAMES.replace(' ', '|')})\.weight$"
"""A pattern for `select_parameters`: attention and MLP projections in the families' various names, all that an adapter can be
for."""


class Kept(NamedTuple):
    """Outputs that the updates on one batch share, so that none computes them again.

    Attributes:
        split: the forward up to the first trained block.
        frozen: (B, T, D) for each wanted block, lowest first, the untouched model's outputs.
    """

    split: SplitForward
    frozen: list[Tensor]


class BlockOutputs:
    """The outputs of some blocks, of the model as it trains and of the untouched one.

    What lies below the first trained block runs once for both; what lies above the last wanted one never runs. The trials of
    a search share what lies below, and the untouched model's outputs of what `kept` is asked.

    Args:
        method: the method whose model and untouched model are meant.
        blocks: the blocks whose outputs are wanted, from 0.
        first: the first block that trains, from 0.

    Raises:
        UsageError: the model's blocks answer with more than one text's hidden states.
    """

    def __init__(self, method: UnlearningMethod, blocks: Sequence[int], *, first: int) -> None:
        if getattr(decoder_of(method.model).config, "altup_num_inputs", 1) > 1:
            raise UsageError(f"the blocks of {type(method.model).__name__} pass on several versions of a text at once.")
        self._method, self._first, self._last = method, first, max(blocks)
        self._wanted = {block - first for block in blocks}
        self._kept: dict[str, Kept] = {}

    def split(self, stream: Stream) -> SplitForward:
        """Run the model on a stream up to the first trained block, without gradients.

        Args:
            stream: (B, T), one side of a batch.

        Returns:
            the forward so far, which `updated` and `frozen` go on with.
        """
        inputs = {"input_ids": stream["input_ids"], "attention_mask": stream["attention_mask"]}
        context, key = self._method.context, ("prefix", str(self._first), _digest(stream))
        known = context.recall(*key) if context.reuse else None
        started = time.perf_counter()
        split = split_forward(self._method.model, inputs, first=self._first, last=self._last, known=known)
        if context.reuse and known is None:
            context.keep(split.prefix, *key, seconds=time.perf_counter() - started, tokens=0)
        return split

    def updated(self, split: SplitForward) -> list[Tensor]:
        """Return the output of each wanted block with the weights as they are now.

        Args:
            split: a forward from `split` or `worst_case`.

        Returns:
            (B, T, D) for each block, lowest first, in the model's dtype, with gradient.
        """
        return [hidden for number, hidden in enumerate(split.each()) if number in self._wanted]

    def frozen(self, split: SplitForward) -> list[Tensor]:
        """Return the output of each wanted block of the untouched model.

        Args:
            split: a forward from `split`.

        Returns:
            (B, T, D) for each block, lowest first, in the model's dtype, without gradient.
        """
        with self._method.frozen_model():
            return self.updated(split)

    def _shared(self, split: SplitForward, stream: Stream) -> list[Tensor]:
        """Return the frozen outputs of a stream; a search computes them once for all its trials."""
        context = self._method.context
        if not context.reuse:
            return self.frozen(split)
        blocks = [str(self._first + number) for number in sorted(self._wanted)]
        key = ("frozen", *blocks, _digest(stream))
        if (known := context.recall(*key)) is not None:
            return [known[block].to(split.hidden) for block in blocks]
        started = time.perf_counter()
        frozen = self.frozen(split)
        context.keep(dict(zip(blocks, frozen, strict=True)), *key, seconds=time.perf_counter() - started, tokens=0)
        return frozen

    def kept(self, stream: Stream) -> Kept:
        """Return split and frozen outputs of a stream, taken from the update before where it had the same batch.

        Args:
            stream: (B, T), one side of a batch.
        """
        key = _digest(stream)
        if key not in self._kept:
            while len(self._kept) >= self._method.context.accumulate:
                del self._kept[next(iter(self._kept))]
            split = self.split(stream)
            self._kept[key] = Kept(split, self._shared(split, stream))
        return self._kept[key]

    def log_drift(self, name: str, updated: Tensor, frozen: Tensor, stream: Stream) -> None:
        """Log how far a block's outputs have drifted from the untouched model's, over a stream's real tokens.

        `norm/NAME` is the median norm of the updated outputs, `cosine/NAME` the median cosine to the untouched ones: medians,
        since a single huge position may dominate a mean.

        Args:
            name: the name of what is compared, as in `forget/bio`.
            updated: (B, T, D), the outputs of the model as it trains.
            frozen: (B, T, D), the untouched model's.
            stream: the stream that both have read.
        """
        norm, cosine = drift(updated, frozen, stream["attention_mask"].bool())
        self._method.log_dict({f"norm/{name}": norm, f"cosine/{name}": cosine})

    def clear(self) -> None:
        """Let go of what is kept; call it in `on_train_end`."""
        self._kept.clear()


def _digest(stream: Stream) -> str:
    """Return the identity of a batch: its tokens and where they lie."""
    ids, mask = (stream[name].cpu() for name in ("input_ids", "attention_mask"))
    return hashlib.sha256(str(tuple(ids.shape)).encode() + ids.numpy().tobytes() + mask.numpy().tobytes()).hexdigest()


def worst_case(
    split: SplitForward, loss_of: Callable[[SplitForward], Tensor], real: Tensor, *, steps: int, radius: float
) -> SplitForward:
    """Latent adversarial training: the forward whose input to the first trained block makes a loss as large as can be.

    Projected gradient ascent over a perturbation of each real position, no longer than `radius` times that position's own
    norm. Source: Sheshadri et al., "Latent Adversarial Training", arXiv:2407.15549.

    Args:
        split: the forward to attack, from `BlockOutputs.split`; unchanged.
        loss_of: given a forward, returns what the method minimises, a scalar.
        real: (B, T) bool, the positions that may be perturbed.
        steps: the number of the adversary's steps; 0 gives the forward back as it is.
        radius: the length of a perturbation, as a share of its position's norm.

    Returns:
        the worst forward that was tried, the clean one among them.
    """
    if not steps:
        return split
    clean = split.hidden
    limit = radius * clean.float().norm(dim=-1, keepdim=True) * real.unsqueeze(-1)  # (B, T, 1)
    shift = torch.zeros_like(clean, dtype=torch.float32)
    worst, highest = split, -torch.inf
    for step in range(steps + 1):
        with torch.enable_grad():
            tried = dataclasses.replace(split, hidden=(clean + shift).to(clean).requires_grad_())
            loss = loss_of(tried)
        # at a maximum the gradient is rounding; the step it makes is not taken then
        if float(loss.detach()) > highest:
            worst, highest = tried, float(loss.detach())
        if step < steps:
            (slope,) = torch.autograd.grad(loss, tried.hidden)
            # each position moves by a fixed share of its radius, whatever the gradient's scale
            shift = shift + 2 * limit / steps * F.normalize(slope.float(), dim=-1)
            length = shift.norm(dim=-1, keepdim=True)
            shift = shift * (limit / length.clamp_min(1e-30)).clamp(max=1)
    return dataclasses.replace(split, hidden=worst.hidden.detach())


def control_vector(width: int, kind: Literal["uniform", "gaussian"], length: float) -> Tensor:
    """Return a random vector of a given length, drawn on the CPU, so that a seed means the same on every device.

    Args:
        width: D, the model's hidden width.
        kind: `uniform` draws each coordinate from [0, 1), `gaussian` is isotropic.
        length: the vector's norm.

    Returns:
        (D,) float32.
    """
    drawn = torch.rand(width) if kind == "uniform" else torch.randn(width)
    return length * drawn / drawn.norm()


def check_per_topic(option: str, value: float | list[float], topics: Sequence[str]) -> list[str]:
    """Return a sentence if an option gives neither one number nor one per topic; for `preflight`.

    Args:
        option: the option's name, as in `rmu.alpha`.
        value: the option's value.
        topics: the topics' names.
    """
    if not isinstance(value, list) or len(value) == len(topics):
        return []
    return [f"{option} needs one number or {len(topics)} (for {', '.join(topics)}); got {len(value)}."]


def per_topic(option: str, value: float | list[float], topics: Sequence[str]) -> dict[str, float]:
    """Return an option's number for each topic: the same for all, or the one at the topic's place.

    Args:
        option: the option's name, as in `rmu.alpha`.
        value: one number, or as many as there are topics.
        topics: the topics' names, in their order.

    Raises:
        UsageError: another count than there are topics.
    """
    for problem in check_per_topic(option, value, topics):
        raise UsageError(problem)
    values = value if isinstance(value, list) else [value] * len(topics)
    return dict(zip(topics, values, strict=True))


def displacement(updated: Sequence[Tensor], frozen: Sequence[Tensor], counted: Tensor) -> Tensor:
    """Return the mean over blocks of the distance that counted positions have moved; where it is zero, so is its slope.

    Args:
        updated: (B, T, D) for each block, the outputs of the model as it trains.
        frozen: (B, T, D) for each block, the untouched model's.
        counted: (B, T) bool: the mean is over the counted positions of a sequence, then over sequences.

    Returns:
        scalar, float32 or wider.
    """
    moved = [(upcast(new) - upcast(old)).norm(dim=-1) for new, old in zip(updated, frozen, strict=True)]  # (B, T)
    return torch.stack([mean_over(distance, counted) for distance in moved]).mean()


@torch.no_grad()
def drift(updated: Tensor, frozen: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Median norm of the updated outputs, and median cosine to the frozen ones, over real positions, (B, T) bool."""
    updated, frozen = updated[real].float(), frozen[real].float()  # (N, D)
    return updated.norm(dim=1).median(), F.cosine_similarity(updated, frozen, dim=1).median()
