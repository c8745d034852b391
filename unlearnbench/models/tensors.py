"""Pure functions on tensors. B sequences, T tokens, V vocabulary, D hidden width; see docs/notation.md."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from unlearnbench.data.batches import IGNORE


def next_token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Return each token's negative log-likelihood.

    Args:
        logits: (N, V), any float dtype; the softmax is taken in float32 at least.
        targets: (N,) int64, the tokens that were to be predicted.

    Returns:
        (N,) float32 or wider, nats.
    """
    return F.cross_entropy(upcast(logits), targets, reduction="none")


def token_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Return each sequence's mean negative log-likelihood over its counted tokens.

    Args:
        logits: (B, T, V), any float dtype; the softmax is taken in float32.
        labels: (B, T), int64, aligned with the input tokens; `IGNORE` marks positions that do not count.

    Returns:
        (B,) float32, nats per token.

    Raises:
        ValueError: the shapes do not match, or a sequence has nothing to count.
    """
    if logits.ndim != 3 or logits.shape[:2] != labels.shape:
        raise ValueError(f"labels {tuple(labels.shape)} must be (B, T) of the logits {tuple(logits.shape)}")
    shifted = labels[:, 1:]  # (B, T-1): the logits at t predict the token at t+1
    weights = per_sequence_weights(shifted != IGNORE)
    nll = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), shifted.flatten(), ignore_index=IGNORE, reduction="none")
    return (nll.view_as(weights) * weights).sum(dim=1)  # (B,)


def next_tokens(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return where a counted token is predicted, and which token it is: the logits at t predict the token at t + 1.

    Args:
        labels: (B, T) int64, `IGNORE` where nothing counts.

    Returns:
        two tensors: (B, T) bool, true at the N positions t whose next token counts; and those tokens, (N,) int64, in
        row-major order.
    """
    predicting = torch.zeros_like(labels, dtype=torch.bool)
    predicting[:, :-1] = labels[:, 1:] != IGNORE
    return predicting, labels[:, 1:][predicting[:, :-1]]


def per_sequence_weights(counted: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return weights that sum to one over each sequence's counted positions.

    Args:
        counted: (B, T) bool.
        dtype: dtype of the weights.

    Returns:
        (B, T).

    Raises:
        ValueError: a row counts nothing; its text was probably cut before the answer.
    """
    totals = counted.sum(dim=1, keepdim=True)
    if (totals == 0).any():
        rows = (totals == 0).flatten().nonzero().flatten().tolist()
        raise ValueError(f"sequences {rows} of the batch have no counted token; raise max_length or look at their labels")
    return counted.to(dtype) / totals


def mean_square(difference: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return the mean squared coordinate, over every position or over each sequence's counted ones.

    Args:
        difference: (B, T, D), any float dtype; squared in float32 at least.
        counted: (B, T) bool: mean over the counted positions of a sequence, then over sequences; None counts
            every position, padding included.

    Returns:
        scalar, float32 at least.
    """
    squares = upcast(difference).square().mean(dim=2)  # (B, T)
    if counted is None:
        return squares.mean()
    return mean_over(squares, counted)


def upcast(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 at least: norms, squares and softmaxes of narrower numbers lose too much.

    Args:
        tensor: any float dtype; one in float32 or wider comes back as it is.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def mean_over(values: Tensor, counted: Tensor) -> Tensor:
    """Return the mean over each sequence's counted positions, then over sequences.

    Args:
        values: (B, T), a number for each position.
        counted: (B, T) bool, true where a position counts.

    Returns:
        scalar, float32 or wider.

    Raises:
        ValueError: a sequence counts nothing.
    """
    return (values * per_sequence_weights(counted)).sum(dim=1).mean()


def is_finite(tensors: list[Tensor]) -> bool:
    """Return whether no tensor holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


class _Divergence(torch.autograd.Function):
    """KL or cross-entropy of a student to a teacher, per position, with its gradient in closed form: the difference of
    probabilities.

    Left to autograd, rounding leaves a gradient of about 1e-8 where the two are bit-equal, and Adam makes whole steps of
    it; in closed form it is exactly zero there.
    """

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, entropy: bool) -> Tensor:
        log_student, log_teacher = student.log_softmax(-1), teacher.log_softmax(-1)  # (..., V)
        probabilities = log_teacher.exp()
        ctx.save_for_backward(log_student.exp().sub_(probabilities))
        gap = log_student.neg_() if entropy else log_teacher.sub_(log_student)
        return probabilities.mul_(gap).sum(-1)  # (...)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (difference,) = ctx.saved_tensors
        return gradients[0].unsqueeze(-1) * difference, None, None


def token_kl(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Return KL(target || model) over the vocabulary at each position, both softened, times temperature squared.

    Where the two agree bit for bit, value and gradient are exactly zero.

    Args:
        logits: (..., V), of the model that learns; upcast to float32.
        target: (..., V), of the teacher; no gradient is taken.
        temperature: divisor of both logits; the square keeps gradients comparable (Hinton et al., arXiv:1503.02531).

    Returns:
        (...) float32, nats.
    """
    divergence: Tensor = _Divergence.apply(  # pyright: ignore[reportAssignmentType]
        upcast(logits) / temperature, upcast(target.detach()) / temperature, False
    )
    return temperature**2 * divergence


def token_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy from the target's distribution at each position: -sum over v of p_target(v) log p(v).

    It is the forward KL divergence plus the target's entropy: the same gradient, but not zero where the two agree.

    Args:
        logits: (..., V), of the model that learns; upcast to float32.
        target: (..., V), of the teacher; no gradient is taken.

    Returns:
        (...) float32, nats.
    """
    return _Divergence.apply(upcast(logits), upcast(target.detach()), True)  # pyright: ignore[reportReturnType]


@torch.no_grad()
def checksum(tensor: Tensor) -> Tensor:
    """Return a number that changes when the tensor does: scalar int64, on its device.

    Sums of 1,024 words each, weighted by their place; what moves within such a piece alone is not seen.
    """
    content = tensor.detach().contiguous().flatten().view(torch.uint8)  # (bytes,)
    whole = content.numel() // 4096 * 4096
    pieces = content[:whole].view(torch.int32).view(-1, 1024).sum(1, dtype=torch.int64)  # (pieces,)
    places = torch.arange(1, pieces.numel() + 1, device=tensor.device) * 0x9E3779B1
    rest = content[whole:].to(torch.int64)  # (bytes,), fewer than 4096
    return (pieces * places).sum() + (rest * torch.arange(1, rest.numel() + 1, device=tensor.device)).sum()
