"""One forward for several streams, so that the backward pass is through with a weight as soon as it has left its block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from unlearnbench.data.batches import Stream, stack
from unlearnbench.models.head import final_hidden
from unlearnbench.training.optimizers import is_large

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_PADDING = 1 / 8  # of all tokens: what joining may add


def joined_hidden(model: PreTrainedModel, streams: Sequence[Stream]) -> list[Tensor]:
    """Return the `final_hidden` of each stream, (B, T, D) in the model's dtype, from one forward of all.

    Args:
        model: a decoder-only language model.
        streams: streams, padded on the right to the widest of them.
    """
    rows = final_hidden(model, stack(streams, pad=0)).split([len(stream["input_ids"]) for stream in streams])
    return [row[:, : stream["input_ids"].shape[1]] for row, stream in zip(rows, streams, strict=True)]


class OneForward:
    """The final hidden states of streams that go through the model together, when the first of them is needed.

    Args:
        model: a decoder-only language model.
        streams: streams, padded to the widest of them.
    """

    def __init__(self, model: PreTrainedModel, streams: Sequence[Stream]) -> None:
        self._model, self._streams = model, streams
        self._hidden: Sequence[Tensor] = ()

    def hidden(self, stream: Stream) -> Tensor | None:
        """Return a stream's final hidden states, (B, T, D); None if it is not one of these streams."""
        for index, known in enumerate(self._streams):
            if known is stream:
                self._hidden = self._hidden or joined_hidden(self._model, self._streams)
                return self._hidden[index]
        return None


def worth_joining(streams: Sequence[Stream], trained: Sequence[nn.Parameter]) -> bool:
    """Return whether one forward saves anything: many weights train, and little is padded.

    Of a small model's published figures the last bits stay those of a forward for each stream.
    """
    shapes = [stream["input_ids"].shape for stream in streams]
    tokens = sum(rows * width for rows, width in shapes)
    together = sum(rows for rows, _ in shapes) * max((width for _, width in shapes), default=0)
    return len(streams) > 1 and together <= tokens * (1 + MOST_PADDING) and is_large(trained)
