"""Scoring multiple-choice questions: the log-probability of each option after its context, as lm-eval defines it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from unlearnbench.models import padding_id
from unlearnbench.records import ItemResult, Question

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_PER_BATCH = 2048  # the logits of a cloze batch stay below half a gigabyte
Progress = Callable[[int], None]  # told how many more items are done


class _Target(NamedTuple):
    """One token whose log-probability is wanted: the logits at `position` predict `token` of `option`."""

    option: int
    position: int
    token: int


class _Sequence(NamedTuple):
    """One forward's worth of tokens, and what to read off it."""

    question: int
    ids: list[int]
    targets: list[_Target]
    truncated: bool


def score_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    per_token: bool = False,
    progress: Progress | None = None,
) -> list[ItemResult]:
    """Choose the likeliest option of every question.

    Args:
        model: in eval mode; runs in its own dtype on its own device, the softmax in float32.
        tokenizer: context and option are tokenised together, special tokens as it adds them by default.
        questions: in any order; the results come in the same order.
        per_token: compare the mean log-probability per token instead of the sum.
        progress: called as questions are done.

    Returns:
        One result per question; `logprobs` are in nats, `score` is 1.0 where the choice is right.
    """
    limit = getattr(model.config, "max_position_embeddings", None) or 2048
    sequences = [s for number, question in enumerate(questions) for s in _encode(question, number, tokenizer, limit)]
    sums = [[0.0] * len(question.continuations) for question in questions]
    lengths = [[0] * len(question.continuations) for question in questions]
    waiting = [0] * len(questions)
    for sequence in sequences:
        waiting[sequence.question] += 1
    for batch in _batches(sequences):
        for sequence, values in zip(batch, _read_targets(model, batch, padding_id(tokenizer)), strict=True):
            for target, value in zip(sequence.targets, values, strict=True):
                sums[sequence.question][target.option] += value
                lengths[sequence.question][target.option] += 1
            waiting[sequence.question] -= 1
            if progress is not None and waiting[sequence.question] == 0:
                progress(1)
    longest = [0] * len(questions)
    cut = [False] * len(questions)
    for sequence in sequences:
        longest[sequence.question] = max(longest[sequence.question], len(sequence.ids))
        cut[sequence.question] |= sequence.truncated
    results: list[ItemResult] = []
    for number, question in enumerate(questions):
        logprobs = [s / n if per_token else s for s, n in zip(sums[number], lengths[number], strict=True)]
        choice = max(range(len(logprobs)), key=logprobs.__getitem__)
        results.append(
            ItemResult(
                id=question.id,
                part=question.part,
                score=float(choice == question.answer),
                choice=choice,
                answer=question.answer,
                logprobs=tuple(logprobs),
                tokens=longest[number],
                truncated=cut[number],
            )
        )
    return results


def _encode(question: Question, number: int, tokenizer: PreTrainedTokenizerBase, limit: int) -> list[_Sequence]:
    """One sequence where all options are a single token after the same context, else one per option."""
    # trailing space belongs to what follows, or the tokeniser would split the first word of the option
    context = question.context.rstrip()
    gap = question.context[len(context) :]
    prompt: list[int] = tokenizer(context)["input_ids"]
    wholes: list[list[int]] = tokenizer([context + gap + c for c in question.continuations])["input_ids"]
    if all(len(whole) == len(prompt) + 1 and whole[:-1] == prompt for whole in wholes):
        ids = prompt[-limit:]
        targets = [_Target(option, len(ids) - 1, whole[-1]) for option, whole in enumerate(wholes)]
        return [_Sequence(number, ids, targets, len(prompt) > limit)]
    sequences: list[_Sequence] = []
    for option, whole in enumerate(wholes):
        kept = whole[-(limit + 1) :]
        start = max(len(prompt) - (len(whole) - len(kept)), 1)
        targets = [_Target(option, position - 1, kept[position]) for position in range(start, len(kept))]
        sequences.append(_Sequence(number, kept[:-1], targets, len(kept) < len(whole)))
    return sequences


def _batches(sequences: Sequence[_Sequence]) -> Iterator[list[_Sequence]]:
    """Longest first, so that memory runs out at once or never, as many as fit the token budget."""
    batch: list[_Sequence] = []
    for sequence in sorted(sequences, key=lambda s: len(s.ids), reverse=True):
        if batch and len(batch[0].ids) * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


@torch.inference_mode()
def _read_targets(model: PreTrainedModel, batch: list[_Sequence], pad: int) -> list[list[float]]:
    """The log-probabilities of each sequence's targets, in nats."""
    width = max(len(sequence.ids) for sequence in batch)
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(batch):
        ids[row, : len(sequence.ids)] = torch.tensor(sequence.ids)  # padded on the right: causal attention never sees it
        mask[row, : len(sequence.ids)] = 1
    wanted = sorted({(row, target.position) for row, sequence in enumerate(batch) for target in sequence.targets})
    number = {place: index for index, place in enumerate(wanted)}
    rows, positions = torch.tensor(wanted, device=model.device).T  # (N,), (N,)
    with _head_only_at(model, rows, positions):
        logits: Tensor = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits
    logprobs = logits[0].float().log_softmax(dim=-1)  # (N, V)
    targets = [(number[row, target.position], target.token) for row, s in enumerate(batch) for target in s.targets]
    index, token = torch.tensor(targets, device=model.device).T
    values = iter(logprobs[index, token].tolist())
    return [[next(values) for _ in sequence.targets] for sequence in batch]


@contextmanager
def _head_only_at(model: PreTrainedModel, rows: Tensor, positions: Tensor) -> Generator[None]:
    """Let the output head see only some positions, as one sequence: logits are (1, N, V).

    Done before the head and not after, since the head is most of a small model; whatever the model does to its logits
    afterwards (soft caps, scaling) still happens.
    """
    head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportAssignmentType]

    def gather(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (arguments[0][rows, positions].unsqueeze(0), *arguments[1:])  # (B, T, D) -> (1, N, D)

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()
