"""The reading of given answers by a model: one pass over them, whatever is then computed from their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from unlearnbench.data.borders import Answered
from unlearnbench.errors import UsageError
from unlearnbench.models.blocks import body_of
from unlearnbench.models.capacity import check_ids, context_length
from unlearnbench.models.head import head_logits
from unlearnbench.models.loading import padding_id
from unlearnbench.models.tensors import upcast
from unlearnbench.scoring.choice.log_likelihood import Text, TokenTarget, read_targets

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOGITS_AT_ONCE = 2**24  # numbers of a chunk of logits: 128 positions of a vocabulary of 128,000


class AnswerReading(NamedTuple):
    """A model's distributions at the n tokens of one answer, each given all that stands before it.

    Attributes:
        log_probabilities: (n,) float64, of the tokens that are there, nats.
        hits: (n,), whether each is the model's likeliest; of several equally likely ones, the lowest id.
        means: (n,) float64, expectations of the log-probability under the model's distribution (minus its entropy), nats; empty
            where they were not asked for.
        variances: (n,) float64, variances of the log-probability, likewise.
    """

    log_probabilities: Sequence[float]
    hits: Sequence[bool]
    means: Sequence[float] = ()
    variances: Sequence[float] = ()


class _TokenReading(NamedTuple):
    log_probability: float
    hit: bool
    mean: float
    variance: float


def read_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    answers: Sequence[Answered],
    *,
    moments: bool = False,
    hidden: int | None = None,
) -> Iterator[tuple[int, AnswerReading]]:
    """Read answers after their prompts, in batches; a beginning that several texts share is computed once.

    The model runs in its own dtype, the softmax in float32 or wider; logits stand in memory for a few positions at a time.

    Args:
        model: the model, in eval mode.
        tokenizer: the model's tokenizer.
        answers: the texts in tokens, and where each one's answer begins; the first token of a text is never predicted.
        moments: True computes means and variances, too.
        hidden: a token that attention does not see wherever it stands, though it has its place; None sees everything.

    Yields:
        the number of an answer among those given, and its reading, in any order.

    Raises:
        UsageError: a text is longer than the model reads, or has a token that it has no embedding for.
    """
    limit = context_length(model)
    check_ids((answer.ids for answer in answers), model)
    texts: list[Text] = []
    for number, (ids, start) in enumerate(answers):
        if limit is not None and len(ids) > limit:
            raise UsageError(f"Text {number} has {len(ids)} tokens, and the model reads {limit}; leave it out.")
        targets = [TokenTarget(0, place - 1, ids[place]) for place in range(max(start, 1), len(ids))]
        if targets:
            texts.append(Text(number, ids[:-1], targets, False))
        else:
            yield number, AnswerReading((), ())
    parts = [""] * len(answers)
    head = not _has_body(model)
    take_off = partial(_take_off, None if head else model, moments=moments)
    for text, values in read_targets(model, texts, parts, padding_id(tokenizer), take_off, head=head, hidden=hidden):
        columns = list(zip(*values, strict=True))
        yield text.question, AnswerReading(*(columns if moments else columns[:2]))


def _has_body(model: PreTrainedModel) -> bool:
    """Return whether a part of the model computes what its head reads."""
    try:
        return isinstance(body_of(model), nn.Module)
    except AttributeError:  # a model of a rule, with nothing but logits
        return False


@torch.inference_mode()
def _take_off(
    model: PreTrainedModel | None, rows: Tensor, index: Sequence[int], tokens: Sequence[int], *, moments: bool
) -> list[_TokenReading]:
    """Return the reading of each target.

    Args:
        model: model whose head is applied; None where the rows are logits.
        rows: (n, D) or (n, V), one for each distinct index, in order.
        index: number of the position where each token is read.
        tokens: token ids, as many.
        moments: True computes means and variances.
    """
    row_of = {place: row for row, place in enumerate(sorted(set(index)))}
    wanted: list[list[tuple[int, int]]] = [[] for _ in range(len(rows))]
    for target, (place, token) in enumerate(zip(index, tokens, strict=True)):
        wanted[row_of[place]].append((target, token))
    found: list[_TokenReading | None] = [None] * len(index)
    vocabulary = rows.shape[1] if model is None else int(model.config.get_text_config().vocab_size)
    at_once = max(1, LOGITS_AT_ONCE // vocabulary)
    for start in range(0, len(rows), at_once):
        chunk = rows[start : start + at_once]
        logits = chunk if model is None else head_logits(model, chunk)  # (r, V)
        asked = [(row, target, token) for row, pairs in enumerate(wanted[start : start + at_once]) for target, token in pairs]
        for (_, target, _), reading in zip(asked, _of_chunk(logits, asked, moments=moments), strict=True):
            found[target] = reading
    return [reading for reading in found if reading is not None]


def _of_chunk(logits: Tensor, asked: Sequence[tuple[int, int, int]], *, moments: bool) -> Iterable[_TokenReading]:
    """Yield the readings of (row, target, token) in these logits, (r, V)."""
    best = logits.argmax(dim=-1)  # (r,), before any rounding
    logs = upcast(logits).log_softmax(dim=-1)  # (r, V)
    rows, _, tokens = torch.tensor(asked, device=logits.device).T
    chosen, hits = logs[rows, tokens], best[rows] == tokens
    means = variances = torch.zeros_like(logs[:, 0])  # (r,)
    if moments:
        shares = logs.exp()
        finite = logs.masked_fill(shares == 0, 0)  # 0 times minus infinity
        means = (shares * finite).sum(dim=-1)
        variances = (shares * finite.square()).sum(dim=-1) - means.square()
    columns = (chosen, hits, means[rows], variances[rows])
    return map(_TokenReading._make, zip(*(column.tolist() for column in columns), strict=True))
