"""Many answers at once: every row of a batch is at its own place, and one that is finished makes room for the next.

A prompt runs alone, without padding; its keys and values are then laid into a slot of a shared buffer, flush with those of
the other rows on the right, and all rows go on together token by token.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

CPU_BYTES = 4 * 2**30  # of keys and values at once
MOST_ROWS = 64  # beyond, a step costs nearly as much more as it has rows
ANY_LENGTH = 2**31
ROOM = 128  # tokens that a buffer has to spare when it is laid out
KeyValues = list[tuple[Tensor, Tensor]]  # by layer, each (1, Hkv, T, D)


@dataclass(frozen=True)
class Encoded:
    """A prompt that has been run.

    Attributes:
        ids: tokens of the prompt.
        keys_values: keys and values of all of them.
        logits: (V,) float32, logits after the last one.
    """

    ids: list[int]
    keys_values: KeyValues
    logits: Tensor


def reach(model: PreTrainedModel) -> int:
    """Return the tokens that a row may have, so that each layer keeps plain keys and values of all and rows can come and go.

    A sliding window is as good as none for texts that fit into it. Recurrent states, and position biases that follow from
    the mask, allow no rows at all: 0.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    anything: Any = model
    parameters = inspect.signature(anything.forward).parameters
    if anything.config.is_encoder_decoder or getattr(anything, "_is_stateful", False) or "position_ids" not in parameters:
        return 0
    layers: Any = DynamicCache(config=anything.config).layers
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return 0
    return min([ANY_LENGTH, *(layer.sliding_window for layer in layers if layer.is_sliding)])


@torch.inference_mode()
def encode(model: PreTrainedModel, ids: Sequence[int], known: Sequence[int] = (), kept: KeyValues | None = None) -> Encoded:
    """Run a prompt; the beginning that it shares with `known` is taken from `kept`, the keys and values of that."""
    from transformers import DynamicCache

    shared = min(_common(ids, known), len(ids) - 1) if kept else 0
    start = [(keys[:, :, :shared].contiguous(), values[:, :, :shared].contiguous()) for keys, values in kept or ()]
    cache = DynamicCache(ddp_cache_data=start) if shared else DynamicCache()
    places = torch.arange(shared, len(ids), device=model.device).unsqueeze(0)
    rest = torch.tensor([list(ids[shared:])], device=model.device)
    output: Any = model(input_ids=rest, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers: Any = cache.layers
    return Encoded(list(ids), [(layer.keys, layer.values) for layer in layers], output.logits[0, -1].float())


def _common(first: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of tokens that two texts share at their beginning."""
    for place, (a, b) in enumerate(zip(first, other, strict=False)):
        if a != b:
            return place
    return min(len(first), len(other))


def rows_at_once(model: PreTrainedModel, encoded: Encoded, longest: int) -> int:
    """Return the number of rows of `longest` tokens that fit into memory, judged by one that is there."""
    if model.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(model.device)
        budget = free // 2
    else:
        budget = CPU_BYTES
    per_row = sum(keys.nbytes + values.nbytes for keys, values in encoded.keys_values) / len(encoded.ids) * longest
    return int(min(max(budget // per_row, 1), MOST_ROWS))


class Slots:
    """Rows that are being answered. Row i's tokens end at the same place as all others'; before them it is masked."""

    def __init__(self, model: PreTrainedModel, rows: int) -> None:
        self._model = model
        self._layers: list[tuple[Tensor, Tensor]] = []  # each (B, Hkv, capacity, D)
        self._lengths = [0] * rows
        self._width = 0  # places in use

    def __len__(self) -> int:
        return len(self._lengths)

    @torch.inference_mode()
    def put(self, encoded: Encoded, slot: int) -> None:
        """Lay a prompt into a slot that is free."""
        length = len(encoded.ids)
        self._lengths[slot] = length
        if length > self._width:
            self._lay_out(list(range(len(self))), length, encoded)
        for buffers, states_of_layer in zip(self._layers, encoded.keys_values, strict=True):
            for buffer, states in zip(buffers, states_of_layer, strict=True):
                buffer[slot, :, self._width - length : self._width] = states[0]

    def release(self, slot: int) -> None:
        """Free the slot of a finished row."""
        self._lengths[slot] = 0

    def take(self, slot: int) -> KeyValues:
        """Return the keys and values of a row, each (1, Hkv, T, D); views that the next step may overwrite."""
        place = slice(self._width - self._lengths[slot], self._width)
        return [(keys[slot : slot + 1, :, place], values[slot : slot + 1, :, place]) for keys, values in self._layers]

    def keep(self, slots: Sequence[int]) -> None:
        """Free all other rows; those that stay are numbered anew in this order."""
        self._lengths = [self._lengths[slot] for slot in slots]
        self._lay_out(list(slots), max(self._lengths))

    def trim(self, live: Sequence[int]) -> None:
        """Free places that no live row uses any more, once they are many."""
        longest = max(self._lengths[slot] for slot in live)
        if self._width - longest > ROOM * 4:
            self._lengths = [min(length, longest) for length in self._lengths]
            self._lay_out(list(range(len(self))), longest)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Give every row its next token; return the logits after them, (B, V) float32."""
        if self._width + 1 > self._layers[0][0].shape[2]:
            self._lay_out(list(range(len(self))), self._width)
        device = self._model.device
        lengths = torch.tensor(self._lengths, device=device).unsqueeze(1)  # (B, 1)
        mask = torch.arange(self._width + 1, device=device) >= self._width - lengths  # (B, width + 1)
        output: Any = self._model(
            input_ids=torch.tensor(tokens, device=device).unsqueeze(1),
            attention_mask=mask.long(),
            position_ids=lengths,
            past_key_values=self._cache(),
            use_cache=True,
        )
        self._width += 1
        self._lengths = [min(length + 1, self._width) for length in self._lengths]
        return output.logits[:, -1].float()

    def _cache(self) -> DynamicCache:
        """Return a cache for one step: what the layers add is written behind what is there, nothing is copied."""
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        width = self._width

        class InPlace(DynamicLayer):
            def __init__(self, buffers: tuple[Tensor, Tensor]) -> None:
                super().__init__()
                self.buffers = buffers
                self.keys, self.values = (buffer[:, :, :width] for buffer in buffers)
                self.is_initialized = True

            def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
                for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
                    buffer[:, :, width : width + 1] = states
                self.keys, self.values = (buffer[:, :, : width + 1] for buffer in self.buffers)
                return self.keys, self.values

        cache = DynamicCache()
        anything: Any = cache
        anything.layers = [InPlace(buffers) for buffers in self._layers]
        return cache

    @torch.inference_mode()
    def _lay_out(self, slots: Sequence[int], width: int, like: Encoded | None = None) -> None:
        """Make new buffers with the rows of these slots, `width` places and some to spare; `like` shows the shapes at first."""
        moved = min(width, self._width)
        everything = len(slots) == (self._layers[0][0].shape[0] if self._layers else 0)
        layers: list[tuple[Tensor, Tensor]] = []
        for pair in self._layers or (like.keys_values if like else ()):
            new: list[Tensor] = []
            for tensor in pair:
                buffer = tensor.new_zeros(len(slots), tensor.shape[1], width + ROOM, tensor.shape[3])
                if moved:
                    kept = tensor[:, :, self._width - moved : self._width]
                    buffer[:, :, width - moved : width] = kept if everything else kept[list(slots)]
                new.append(buffer)
            layers.append((new[0], new[1]))
        self._layers, self._width = layers, width
