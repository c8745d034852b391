"""Outputs of the untouched model without a second model: computed once before the first update and kept, or computed live."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from unlearnbench.data.batches import Stream
from unlearnbench.models.forward import copy_of, swapped
from unlearnbench.models.head import final_hidden, head_logits
from unlearnbench.system.files import content_hash
from unlearnbench.training.method import MethodContext, UnlearningMethod


class FrozenOutputs:
    """The untouched model's final hidden states of every text, and its head: its logits without a second model.

    Hidden states are D numbers per token where logits are V; the head is applied when they are needed. They are kept in host
    memory unless they would take more of it than the weights that change: then the untouched model runs live, with its adapter
    switched off or the original weights put back.

    Make one in `on_fit_start`, `prepare` it there, and ask it in `training_step`.

    Args:
        method: the method whose model is meant, before its first update.
        limit: the number of bytes that kept states may take; None: as many as the weights that change.
    """

    def __init__(self, method: UnlearningMethod, *, limit: int | None = None) -> None:
        self._method = method
        self._limit = sum(weight.nbytes for weight in method.changing().values()) if limit is None else limit
        self._kept: dict[bytes, Tensor] | None = {}
        self._head: dict[str, nn.Parameter] = {}
        self._original_head: dict[str, Tensor] = {}

    @torch.no_grad()
    def prepare(self, streams: Sequence[Stream]) -> None:
        """Compute the outputs that will be needed; before the first update.

        Args:
            streams: the streams on the CPU, composed as they will be asked for, so that answers are bit-equal the first time
                round: `[self.context.retain[index] for index in range(len(self.context.retain))]`.
        """
        method = self._method
        head = method.model.get_output_embeddings()
        of_head = {id(parameter) for parameter in head.parameters()} if isinstance(head, nn.Module) else set[int]()
        self._head = {n: p for n, p in method.model.named_parameters() if id(p) in of_head and p.requires_grad}
        self._original_head = copy_of(self._head)
        weight = next(iter(method.changing().values()))
        distinct = {_key(ids): len(ids) for stream in streams for ids in _texts(stream)}
        size = sum(distinct.values()) * int(method.model.config.get_text_config().hidden_size) * weight.element_size()
        if size > self._limit:
            self._kept = None
            method.keep_original()
            return
        kept: dict[bytes, Tensor] = {}
        for stream in streams:
            texts = _texts(stream)
            if all(_key(ids) in kept for ids in texts):
                continue
            hidden = _shared(method, "hidden", stream, ("input_ids", "attention_mask"), self._computed)
            for ids, row, mask in zip(texts, hidden, stream["attention_mask"].bool(), strict=True):
                kept.setdefault(_key(ids), row[mask].clone())
        self._kept = kept

    def _computed(self, stream: Stream) -> Tensor:
        return final_hidden(self._method.model, stream)

    @torch.no_grad()
    def hidden(self, stream: Stream) -> Tensor:
        """Return the untouched model's `final_hidden` of a stream.

        Args:
            stream: (B, T), one whose texts were prepared.

        Returns:
            (B, T, D) in the model's dtype, on the stream's device, without gradient; zero on padding where states are kept.
        """
        if self._kept is None:
            with self._method.frozen_model():
                return final_hidden(self._method.model, stream)
        mask = stream["attention_mask"].bool().cpu()
        rows = torch.cat([self._kept[_key(ids)] for ids in _texts(stream)])
        hidden = rows.new_zeros(*mask.shape, rows.shape[-1])
        hidden[mask] = rows
        return hidden.to(stream["input_ids"].device)

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Return the untouched model's logits for its hidden states.

        Args:
            hidden: (N, D), some positions of what `hidden` returned.

        Returns:
            (N, V) in the model's dtype, without gradient.
        """
        with swapped(self._head, self._original_head):
            return head_logits(self._method.model, hidden)


class FrozenNLL:
    """The untouched model's negative log-likelihood of every sequence: one number each, so no second model and no copy.

    Make one in `on_fit_start` or before, `prepare` it in `on_fit_start`, and call it in `training_step`.

    Args:
        method: the method whose model is meant, before its first update.
    """

    def __init__(self, method: UnlearningMethod) -> None:
        self._method = method
        self._kept: dict[bytes, float] = {}

    @torch.no_grad()
    def prepare(self, streams: Iterable[Stream]) -> None:
        """Compute the likelihoods that will be needed, each distinct sequence once; before the first update.

        Args:
            streams: the streams on the CPU, composed as they will be asked for.
        """
        for stream in streams:
            keys = _scored(stream)
            if all(key in self._kept for key in keys):
                continue
            tensors = ("input_ids", "attention_mask", "labels")
            nll = _shared(self._method, "nll", stream, tensors, self._method.sequence_nll)
            for key, value in zip(keys, nll.tolist(), strict=True):
                self._kept.setdefault(key, value)

    def __call__(self, stream: Stream) -> Tensor:
        """Return the untouched model's negative log-likelihood of each sequence, the sum over its counted tokens.

        Args:
            stream: (B, T), one whose sequences were prepared.

        Returns:
            (B,) float64, nats, without gradient.

        Raises:
            KeyError: a sequence that was not prepared.
        """
        values = [self._kept[key] for key in _scored(stream)]
        return torch.tensor(values, dtype=torch.float64, device=stream["input_ids"].device)

    def gain(self, stream: Stream) -> Tensor:
        """Return by how much each sequence is likelier than it was.

        Args:
            stream: (B, T), one whose sequences were prepared.

        Returns:
            (B,) float32 or wider, nats, with gradient; exactly 0 before the first update.
        """
        nll = self._method.sequence_nll(stream)
        return self(stream).to(nll.dtype) - nll


def _shared(
    method: UnlearningMethod, name: str, stream: Stream, tensors: Sequence[str], compute: Callable[[Stream], Tensor]
) -> Tensor:
    """Return an output of the untouched model for a stream, on the CPU; a search computes it once for all its trials.

    Args:
        method: method with the model in question.
        name: name of the output.
        stream: stream on the CPU.
        tensors: names of the stream's tensors on which the output depends.
        compute: function that computes the output; its argument is the stream on the model's device.
    """

    def computed() -> Tensor:
        with method.computation():
            return compute(method.transfer_batch_to_device(stream, method.device, 0)).cpu()

    context: MethodContext | None = getattr(method, "context", None)
    if context is None or not context.reuse:
        return computed()
    key = ("reference", name, content_hash([stream[part].tolist() for part in tensors]))
    if (known := context.recall(*key)) is not None:
        return known[name]
    started = time.perf_counter()
    answer = computed()
    context.keep({name: answer}, *key, seconds=time.perf_counter() - started, tokens=0)
    return answer


def _scored(stream: Stream) -> list[bytes]:
    """Return the keys of a stream's sequences: the same tokens with another prompt are another sequence."""
    counted = [labels[mask] for labels, mask in zip(stream["labels"].cpu(), stream["attention_mask"].bool().cpu(), strict=True)]
    return [_key(ids) + _key(labels) for ids, labels in zip(_texts(stream), counted, strict=True)]


def _texts(stream: Stream) -> list[Tensor]:
    return [ids[mask] for ids, mask in zip(stream["input_ids"].cpu(), stream["attention_mask"].bool().cpu(), strict=True)]


def _key(ids: Tensor) -> bytes:
    return ids.numpy().tobytes()
