"""Losses whose graph would be large, piece by piece: the gradients of each are taken before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearnbench.data.batches import Stream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# tokens x blocks x width of one forward: some twenty times as many numbers stay for its backward pass; a GPU needs larger
# products to be busy
KEPT_AT_ONCE = {"cpu": 2**25, "cuda": 2**29}


def pieces_of(model: PreTrainedModel, streams: Mapping[str, Stream]) -> list[dict[str, Stream]]:
    """Split streams into pieces that one forward may take, cut by sequences where together they would keep too much for its
    backward.

    Args:
        model: model that runs.
        streams: streams by name, not empty.

    Returns:
        The pieces; their sequences in order are those of the streams in order.
    """
    config = model.config.get_text_config()
    device = next(iter(streams.values()))["input_ids"].device.type
    width = max(stream["input_ids"].shape[1] for stream in streams.values())
    at_once = KEPT_AT_ONCE.get(device, KEPT_AT_ONCE["cuda"])
    room = max(at_once // (width * int(config.num_hidden_layers) * int(config.hidden_size)), 1)
    pieces: list[dict[str, Stream]] = []
    left = 0
    for name, stream in streams.items():
        start, count = 0, len(stream["input_ids"])
        while start < count:
            if not left:
                pieces.append({})
                left = room
            stop = min(start + left, count)
            pieces[-1][name] = _rows(stream, slice(start, stop))
            left -= stop - start
            start = stop
    return pieces


def loss_in_pieces(
    model: PreTrainedModel, streams: Mapping[str, Stream], loss_of: Callable[[Mapping[str, Stream]], Tensor]
) -> Tensor:
    """Return a loss of several streams that share a forward, without keeping all of that for the backward pass.

    Where the streams together would keep too much, they are cut between sequences into pieces, whose gradients are taken one
    after the other on the way forward.

    Args:
        model: the model that trains.
        streams: the streams by name, not empty.
        loss_of: given a piece, some sequences of some of the streams by the same names, returns its share of the loss, a
            scalar; the shares of all pieces are added.

    Returns:
        scalar, the sum over pieces, with gradients for the model's trained parameters.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return sum_of_losses(trained, [partial(loss_of, piece) for piece in pieces_of(model, streams)])


def sum_of_losses(parameters: Sequence[nn.Parameter], losses: Sequence[Callable[[], Tensor]]) -> Tensor:
    """The sum of losses, of which no two graphs stand in memory at the same time.

    Args:
        parameters: all parameters that have a gradient.
        losses: functions that each compute a scalar; a single one is an ordinary loss.
    """
    return losses[0]() if len(losses) == 1 else _Piecewise.apply(losses, *parameters)  # pyright: ignore


def _rows(stream: Stream, rows: slice) -> Stream:
    return Stream(
        input_ids=stream["input_ids"][rows],
        attention_mask=stream["attention_mask"][rows],
        labels=stream["labels"][rows],
        topic=stream["topic"],
    )


class _Piecewise(torch.autograd.Function):
    """A sum; its gradients are ready when its value is."""

    @staticmethod
    def forward(ctx: Any, losses: Sequence[Callable[[], Tensor]], *parameters: Tensor) -> Tensor:
        total, slopes = torch.zeros((), device=parameters[0].device), list[Tensor]()
        for loss_of in losses:
            with torch.enable_grad():
                loss = loss_of()
            new = list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))
            new.reverse()
            if slopes:  # not in place, since two gradients may be one tensor; one at a time is there three times
                for index in range(len(slopes)):
                    slopes[index] = slopes[index] + new.pop()
            else:
                slopes = new[::-1]
            total = total + loss.detach()
        ctx.slopes = slopes  # gradients of leaves, which the backward pass of this sum alone needs
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slopes, ctx.slopes = ctx.slopes, None  # what nobody else holds becomes the parameter's gradient without a copy
        return (None, *(slope.mul_(gradients[0]) for slope in slopes))
