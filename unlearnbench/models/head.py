"""The output head, a few positions at a time: the whole logits, most of a small model's memory, are never in memory at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from unlearnbench.models.blocks import body_of, decoder_of
from unlearnbench.models.forward import replaced_forward
from unlearnbench.models.tensors import next_token_nll, next_tokens, per_sequence_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from unlearnbench.data.batches import Stream

# numbers: about ten times as many stand in memory for a moment; a GPU needs larger products to be busy
LOGITS_AT_ONCE = {"cpu": 2**22, "cuda": 2**26}

PRODUCT_ROWS = 128  # of a chunk at least, where the head's gradient is a product: fewer rows make it slow
CHUNKS_KEPT = 8  # of so many the logits may stay for the backward pass

LossOf = Callable[[Tensor, slice], Sequence[Tensor]]
"""The type of a loss for `over_positions`: a function from the logits, (n, V), of some of the N counted positions, and the
slice of the N that these are, to K losses of shape (n,). The slice cuts what a loss needs beside logits: `targets[part]`."""


class Loss(NamedTuple):
    """A weighted sum of terms, as `over_positions` gives it.

    Attributes:
        total: scalar, float32 or wider, the sum of the terms times their coefficients; it has the gradient.
        terms: (K,), float32 or wider, the terms without coefficients and without gradients, for `log`.
    """

    total: Tensor
    terms: Tensor


def final_hidden(model: PreTrainedModel, stream: Stream) -> Tensor:
    """Return the input of the output head, after the final norm: (B, T, D) in the model's dtype."""
    return body_of(model)(
        input_ids=stream["input_ids"], attention_mask=stream["attention_mask"], use_cache=False
    ).last_hidden_state


def head_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """Return the model's logits for final hidden states: (N, D) -> (N, V), soft caps and scaling of the family included."""
    answer = _answer_class()(last_hidden_state=hidden.unsqueeze(0))
    placeholder = torch.zeros(1, 1, dtype=torch.long, device=hidden.device)
    bodies = {body_of(model), decoder_of(model)} - {model}  # OPT asks its decoder itself
    with replaced_forward(dict.fromkeys(bodies, lambda *_, **__: answer)):
        return model(input_ids=placeholder, use_cache=False).logits[0]


@functools.cache
def _answer_class() -> Any:
    """Return an output class of a body with None in every field that a family may read: caches, states, pictures."""
    from transformers.modeling_outputs import BaseModelOutput

    class Answer(BaseModelOutput):
        def __getattr__(self, name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)

    return Answer


def over_positions(
    model: PreTrainedModel, hidden: Tensor, counted: Tensor, loss_of: LossOf, coefficients: Sequence[float] = (1.0,)
) -> Loss:
    """Return losses of the logits: their means over each sequence's counted positions, then over sequences.

    The logits of a few positions stand in memory at a time. The gradients of head and hidden states are taken chunk by chunk
    on the way forward, so nothing is computed twice.

    In a method, the mean negative log-likelihood of a stream and, weighed against it, the mean entropy of the predictions:

        def surprise(self, stream: Stream) -> Tensor:
            predicting, targets = next_tokens(stream["labels"])

            def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
                logs = upcast(logits).log_softmax(dim=-1)
                return [next_token_nll(logits, targets[part]), -(logs.exp() * logs).sum(dim=-1)]

            loss = over_positions(self.model, self.final_hidden(stream), predicting, loss_of, (1.0, -0.1))
            self.log("nll", loss.terms[0])
            return loss.total

    Args:
        model: the model whose head is applied, `self.model`.
        hidden: (B, T, D), from `UnlearningMethod.final_hidden`, in the model's dtype.
        counted: (B, T) bool, true at the N positions whose logits are wanted; those that predict a counted token are the
            first of `next_tokens`.
        loss_of: given the logits, (n, V) in the model's dtype, of a slice of the N counted positions in row-major order, and
            that slice, returns K losses of shape (n,), in nats or whatever the method's unit is.
        coefficients: K numbers, the weight of each term in the total; a term at 0 is only measured.

    Returns:
        a `Loss`: `total`, scalar with gradient, and `terms`, (K,) without, both float32 or wider.

    Raises:
        ValueError: a sequence counts nothing.
    """
    dtype = torch.promote_types(hidden.dtype, torch.float32)
    weights = per_sequence_weights(counted, dtype)[counted] / counted.shape[0]  # (N,)
    factors = torch.tensor(coefficients, device=hidden.device, dtype=dtype)

    def terms_of(logits: Tensor, part: slice) -> Tensor:
        return torch.stack(list(loss_of(logits, part))) @ weights[part]  # (K, n) @ (n,)

    trained = _trained_head(model)
    chosen = hidden[counted]
    if not torch.is_grad_enabled() or not (trained or chosen.requires_grad):
        parts = _parts(len(chosen), _rows_at_once(model, hidden))
        terms = sum((terms_of(head_logits(model, chosen[part]), part) for part in parts), torch.zeros_like(factors))
        return Loss(terms @ factors, terms)
    product = _as_product(model, hidden, dtype)
    if product is None:
        head, size = _AnyHead(model, trained, dtype), _rows_at_once(model, hidden)
    else:
        head, size = _ProductHead(model, product), max(_at_once(model, hidden), PRODUCT_ROWS)
    return Loss(*_InChunks.apply(chosen, head, terms_of, factors, size, *trained))  # pyright: ignore


def sequence_nll(model: PreTrainedModel, hidden: Tensor, labels: Tensor) -> Tensor:
    """Return each sequence's negative log-likelihood, for losses that are not a sum over tokens.

    Few logits are kept for the backward pass; of more, each chunk is computed a second time there.

    Args:
        model: model whose head is applied.
        hidden: (B, T, D), from `final_hidden`.
        labels: (B, T) int64, `IGNORE` where nothing counts.

    Returns:
        (B,) float32 or wider, nats: the sum over each sequence's counted tokens.
    """
    predicting, targets = next_tokens(labels)
    chosen = hidden[predicting]  # (N, D)
    size = _rows_at_once(model, hidden)

    def nll_of(rows: Tensor, part: slice) -> Tensor:
        return next_token_nll(head_logits(model, rows), targets[part])

    if torch.is_grad_enabled() and chosen.shape[0] > size * CHUNKS_KEPT:
        parts = _parts(len(chosen), size)
        pieces = [checkpoint(nll_of, chosen[part], part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    else:
        pieces = [nll_of(chosen[part], part) for part in _parts(len(chosen), size)]
    nll = torch.cat(pieces)  # (N,)
    return nll.new_zeros(labels.shape[0]).index_add(0, predicting.nonzero()[:, 0], nll)


def _trained_head(model: PreTrainedModel) -> list[nn.Parameter]:
    head = model.get_output_embeddings()
    return [p for p in head.parameters() if p.requires_grad] if isinstance(head, nn.Module) else []


def _at_once(model: PreTrainedModel, hidden: Tensor) -> int:
    """Return the number of positions whose logits may be in memory."""
    at_once = LOGITS_AT_ONCE.get(hidden.device.type, LOGITS_AT_ONCE["cuda"])
    return max(at_once // int(model.config.get_text_config().vocab_size), 1)


def _rows_at_once(model: PreTrainedModel, hidden: Tensor) -> int:
    """Return a number of rows whose logits are few; where the head trains, D at least.

    Each chunk has a gradient of the head, (V, D), that is added to the others': fewer rows than D would cost more to add up
    than to compute.
    """
    least = hidden.shape[-1] if torch.is_grad_enabled() and _trained_head(model) else 1
    return max(_at_once(model, hidden), least)


def _as_product(model: PreTrainedModel, hidden: Tensor, dtype: torch.dtype) -> nn.Linear | None:
    """Return the head where it trains, is larger than a chunk's logits, and is one product of matrices in the losses' dtype."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or len(list(head.parameters())) > 1:  # a bias
        return None
    if not head.weight.requires_grad or head.weight.dtype != dtype:
        return None
    small = _at_once(model, hidden) >= hidden.shape[-1]
    return None if small or torch.is_autocast_enabled(hidden.device.type) else head


def _parts(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


class _AnyHead:
    """The gradients of a head as autograd takes them; each chunk's is a tensor of its own.

    Attributes:
        slopes: gradients of the head's trained parameters, over the chunks so far.
    """

    def __init__(self, model: PreTrainedModel, trained: Sequence[nn.Parameter], dtype: torch.dtype) -> None:
        self._model, self._trained, self._dtype = model, trained, dtype
        self.slopes: list[Tensor] = []

    def logits(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits of a chunk, and the tensors whose gradients `add` takes."""
        return head_logits(self._model, rows), [rows, *self._trained]

    def add(self, gradients: Sequence[Tensor]) -> Tensor:
        """Add a chunk's gradients; return that of its rows."""
        slope, *of_head = gradients
        if self.slopes:
            for known, new in zip(self.slopes, of_head, strict=True):
                known += new
        else:
            self.slopes = [new.to(self._dtype) for new in of_head]
        return slope


class _ProductHead:
    """A head that is one product of matrices: its gradient is another product, added up in place, so chunks may be small.

    What a family does to the logits behind it, or to the rows before, is left to autograd.
    """

    def __init__(self, model: PreTrainedModel, head: nn.Linear) -> None:
        self._model, self._head = model, head
        self._weight = head.weight.detach()  # (V, D)
        self._ways: list[tuple[Tensor, Tensor]] = []  # the rows of a chunk, and what became of them before the product
        self.slopes: list[Tensor] = []

    def logits(self, rows: Tensor) -> tuple[Tensor, list[Tensor]]:
        answers: list[Tensor] = []

        def product(scaled: Tensor) -> Tensor:  # (1, n, D) -> (1, n, V), where a graph of its own begins
            self._ways.append((rows, scaled))
            answers.append(F.linear(scaled.detach(), self._weight).requires_grad_())
            return answers[0]

        with replaced_forward({self._head: product}):
            return head_logits(self._model, rows), answers

    def add(self, gradients: Sequence[Tensor]) -> Tensor:
        rows, scaled = self._ways.pop()
        (of_logits,) = gradients  # of the logits
        flat, given = of_logits.flatten(0, -2), scaled.detach().flatten(0, -2)  # (n, V), (n, D)
        if self.slopes:
            self.slopes[0].addmm_(flat.t(), given)
        else:
            self.slopes = [flat.t() @ given]  # (V, D)
        (slope,) = torch.autograd.grad([scaled], [rows], [of_logits @ self._weight])
        return slope


class _InChunks(torch.autograd.Function):
    """A weighted sum of terms over rows; its gradients are ready when its value is."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        head: _AnyHead | _ProductHead,
        terms_of: Callable[[Tensor, slice], Tensor],
        factors: Tensor,
        size: int,
        *trained: Tensor,
    ) -> tuple[Tensor, Tensor]:
        terms = torch.zeros_like(factors)
        slope = torch.zeros_like(rows)
        for part in _parts(len(rows), size):
            with torch.enable_grad():
                logits, ends = head.logits(rows[part].detach().requires_grad_())
                chunk = terms_of(logits, part)
                del logits
                slope[part] = head.add(torch.autograd.grad(chunk @ factors, ends, allow_unused=True, materialize_grads=True))
            terms += chunk.detach()
        ctx.save_for_backward(slope, *(gradient.to(p.dtype) for gradient, p in zip(head.slopes, trained, strict=True)))
        ctx.mark_non_differentiable(terms)
        return terms @ factors, terms

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, *slopes = ctx.saved_tensors
        return (gradients[0] * slope, None, None, None, None, *(gradients[0] * gradient for gradient in slopes))
