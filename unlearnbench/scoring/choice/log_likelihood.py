"""Scoring multiple-choice questions: the log-probability of each option after its context, as lm-eval defines it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from unlearnbench.data.borders import Answered, common_length, encode_answers
from unlearnbench.data.chat_template import render_template
from unlearnbench.errors import UsageError
from unlearnbench.models.capacity import check_ids, context_length
from unlearnbench.models.loading import padding_id, tokens_per_batch
from unlearnbench.records.items import ItemResult, Question
from unlearnbench.scoring.choice.packing import encode_prefix, packed_hidden, packed_logits, packs
from unlearnbench.scoring.choice.padding import padded_hidden, padded_logits, require_causal_logits
from unlearnbench.scoring.choice.prefix_trees import Tree, build_trees, fill_batches, split

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHARED_PREFIX = 8  # tokens: a shorter common beginning costs more in merging than it saves
LOGIT_ROWS = 256  # upcast at once: a vocabulary of 256,000 stays below 300 MB
Progress = Callable[[int], None]  # told how many more items are done
Reader = Callable[[Sequence[Tree], Sequence[int]], Tensor]  # trees and places in them -> the logits there, (n, V)
T = TypeVar("T")
TakeOff = Callable[[Tensor, Sequence[int], Sequence[int]], Sequence[T]]  # those, place and token of each target -> its value


class TokenTarget(NamedTuple):
    """One token whose log-probability is wanted: the logits at `place` predict `token` of `option`."""

    option: int
    place: int
    token: int


class Text(NamedTuple):
    """The tokens of one forward, and the targets to read off it."""

    question: int
    ids: list[int]
    targets: list[TokenTarget]
    truncated: bool


def encode_questions(
    questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, *, limit: int, chat: bool = False
) -> list[Text]:
    """Tokenise questions: one text where all options are a single token after the same context, else one per option.

    Args:
        questions: questions in any order.
        tokenizer: tokenizer; context and option are tokenised together, with its opening tokens and never with its end tokens.
        limit: tokens that the model can read; a context that is longer is cut from the left, as in lm-eval.
        chat: True puts the context through the chat template as the user's turn; the answer begins without a space.

    Raises:
        UsageError: `chat`, and the tokenizer has no chat template, or one that refuses the context; an option without a token
            of its own; nothing before an option.
    """
    pairs = [_split(question, tokenizer if chat else None) for question in questions]
    flat = [(context, option) for context, options in pairs for option in options]
    answered = iter(encode_answers(flat, tokenizer, special=not chat))  # a chat template writes its special tokens itself
    texts: list[Text] = []
    for number, (_, options) in enumerate(pairs):
        texts += _texts(number, questions[number].id, [next(answered) for _ in options], limit)
    return texts


def _split(question: Question, chat: PreTrainedTokenizerBase | None) -> tuple[str, list[str]]:
    """Return context and options as text. Trailing space of the context belongs to what follows, or the first word
    would split.
    """
    if chat is not None:
        if not chat.chat_template:
            raise UsageError("chat=true needs a chat template, and this model's tokenizer has none; leave chat out.")
        context = render_template([{"role": "user", "content": question.context}], chat)
        options = [option.lstrip() for option in question.continuations]
    else:
        context, options = question.context, list(question.continuations)
    kept = context.rstrip()
    gap = context[len(kept) :]
    return kept, [gap + option for option in options]


def _texts(number: int, name: str, options: Sequence[Answered], limit: int) -> list[Text]:
    for option, (ids, start) in enumerate(options):
        if start == len(ids):
            raise UsageError(f"Option {option + 1} of {name} has no token of its own in this model's tokenizer; write it out.")
        if start == 0:
            raise UsageError(f"Nothing stands before the options of {name} from which to predict them; give it a context.")
    prompt = options[0].ids[:-1]
    if all(ids[:-1] == prompt and start == len(prompt) for ids, start in options):
        ids = prompt[-limit:]
        targets = [TokenTarget(option, len(ids) - 1, whole[-1]) for option, (whole, _) in enumerate(options)]
        return [Text(number, ids, targets, len(prompt) > limit)]
    texts: list[Text] = []
    for option, (whole, border) in enumerate(options):
        kept = whole[-(limit + 1) :]
        start = max(border - (len(whole) - len(kept)), 1)
        targets = [TokenTarget(option, place - 1, kept[place]) for place in range(start, len(kept))]
        texts.append(Text(number, kept[:-1], targets, len(kept) < len(whole)))
    return texts


def longest_text(model: PreTrainedModel) -> int:
    """Return the tokens that the model reads at once; lm-eval's 2048 where its config sets no bound."""
    return context_length(model) or 2048


def score_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    per_token: bool = False,
    progress: Progress | None = None,
    texts: Sequence[Text] | None = None,
) -> list[ItemResult]:
    """Choose the likeliest option of every question.

    Args:
        model: model in eval mode; it runs in its own dtype on its own device, the softmax in float32.
        tokenizer: tokenizer of the model.
        questions: questions in any order; the results come in the same order. Those of one part share their beginning.
        per_token: True compares the mean log-probability per token instead of the sum.
        progress: function called as questions are done.
        texts: output of `encode_questions` for these questions; None makes it now.

    Returns:
        One result per question; `logprobs` are in nats, `score` is 1.0 where the choice is right.
    """
    texts = encode_questions(questions, tokenizer, limit=longest_text(model)) if texts is None else texts
    check_ids((text.ids for text in texts), model)
    sums = [[0.0] * len(question.continuations) for question in questions]
    waiting = [0] * len(questions)
    for text in texts:
        waiting[text.question] += 1
    parts = [question.part for question in questions]
    for text, values in read_targets(model, texts, parts, padding_id(tokenizer), _log_softmax_at):
        for target, value in zip(text.targets, values, strict=True):
            sums[text.question][target.option] += value
        waiting[text.question] -= 1
        if progress is not None and waiting[text.question] == 0:
            progress(1)
    return _results(questions, texts, sums, per_token)


def _results(
    questions: Sequence[Question], texts: Sequence[Text], sums: Sequence[Sequence[float]], per_token: bool
) -> list[ItemResult]:
    lengths = [[0] * len(question.continuations) for question in questions]
    longest, cut = [0] * len(questions), [False] * len(questions)
    for text in texts:
        for target in text.targets:
            lengths[text.question][target.option] += 1
        longest[text.question] = max(longest[text.question], len(text.ids))
        cut[text.question] |= text.truncated
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


def read_targets(
    model: PreTrainedModel,
    texts: Sequence[Text],
    parts: Sequence[str],
    pad: int,
    take_off: TakeOff[T],
    *,
    head: bool = True,
    hidden: int | None = None,
) -> Iterator[tuple[Text, list[T]]]:
    """Yield each text with the values of its targets; whatever texts share is computed once.

    Args:
        model: language model in eval mode.
        texts: texts in any order.
        parts: part of each question; texts of one part share their beginning.
        pad: padding token.
        take_off: function that reads the targets' values off the logits.
        head: False gives `take_off` what the head would read, (n, D), in the place of logits.
        hidden: token that attention does not see; for `head=False`, and for models that are not packed.
    """
    for alike in _alike(model, texts):
        yield from _read(model, alike, parts, pad, take_off, head=head, hidden=hidden)


def _alike(model: PreTrainedModel, texts: Sequence[Text]) -> list[Sequence[Text]]:
    """Return texts that may share a batch: LongRoPE scales every text of a batch as its longest asks for."""
    rope: dict[str, Any] = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return [texts]
    trained = rope["original_max_position_embeddings"]
    return [[text for text in texts if (len(text.ids) > trained) == beyond] for beyond in (False, True)]


def _read(
    model: PreTrainedModel,
    texts: Sequence[Text],
    parts: Sequence[str],
    pad: int,
    take_off: TakeOff[T],
    *,
    head: bool,
    hidden: int | None,
) -> Iterator[tuple[Text, list[T]]]:
    """Yield texts that may share a batch, each with the values of its targets."""
    budget = Budget(tokens_per_batch(model))
    if not packs(model, longest=max((len(text.ids) for text in texts), default=0)):
        trees = [Tree(text.ids, len(text.ids), (), (number,)) for number, text in enumerate(texts)]
        require_causal_logits(model)
        padded = functools.partial(padded_logits if head else padded_hidden, model, pad, hidden=hidden)
        yield from _read_trees(texts, trees, 0, padded, take_off, budget, padded=True)
        return
    groups: dict[str, list[Text]] = {}
    for text in texts:
        groups.setdefault(parts[text.question], []).append(text)
    for group in groups.values():
        start = _shared_prefix(group, hidden)
        prefix = encode_prefix(model, group[0].ids[:start], hidden)
        read = functools.partial(packed_logits, model, prefix=prefix)
        if not head:
            read = functools.partial(packed_hidden, model, prefix=prefix, hidden=hidden)
        yield from _read_trees(group, build_trees([text.ids[start:] for text in group]), start, read, take_off, budget)


def _shared_prefix(group: Sequence[Text], hidden: int | None = None) -> int:
    """Return the number of tokens to compute once for all texts; the targets always lie behind them, and something is seen."""
    if len(group) < 2:
        return 0
    first_read = min(target.place for text in group for target in text.targets)
    length = min(common_length([text.ids for text in group]), first_read)
    seen = any(token != hidden for token in group[0].ids[:length])
    return length if length >= SHARED_PREFIX and seen else 0


@dataclass
class Budget:
    """Tokens per forward; halved for good when the device's memory does not hold so many."""

    tokens: int


def _read_trees(
    texts: Sequence[Text],
    trees: Sequence[Tree],
    start: int,
    read: Reader,
    take_off: TakeOff[T],
    budget: Budget,
    *,
    padded: bool = False,
) -> Iterator[tuple[Text, list[T]]]:
    """Run trees batch by batch.

    Args:
        texts: texts that the trees were made of, without their first `start` tokens.
        trees: trees in any order.
        start: length of the shared prefix.
        read: function that runs the forward.
        take_off: function that reads the targets' values off it.
        budget: number of tokens per batch; where memory runs out nevertheless, the batch halves and the run goes on.
        padded: True where the forward pads to the longest.
    """
    waiting = fill_batches(trees, budget.tokens, padded=padded)
    while waiting:
        batch = waiting.pop(0)
        targets, index, tokens = _targets(texts, batch, start)
        try:
            values = iter(take_off(read(batch, sorted(set(index))), index, tokens))
        except torch.OutOfMemoryError:
            if len(batch) == 1 and len(batch[0].branches) < 2:
                raise
            torch.cuda.empty_cache()
            budget.tokens = max(sum(len(tree.ids) for tree in batch) // 2, 1)
            halves = split(batch[0]) if len(batch) == 1 else batch
            waiting = fill_batches([*halves, *(tree for left in waiting for tree in left)], budget.tokens, padded=padded)
            continue
        for text in targets:
            yield text, [next(values) for _ in text.targets]


def _targets(texts: Sequence[Text], batch: Sequence[Tree], start: int) -> tuple[list[Text], list[int], list[int]]:
    """Return the batch's texts, and for each of their targets its place in the trees laid end to end, and its token."""
    found: list[Text] = []
    index: list[int] = []
    tokens: list[int] = []
    offset = 0
    for tree in batch:
        for number, member in enumerate(tree.texts):
            found.append(texts[member])
            index += [offset + tree.locate(number, target.place - start) for target in texts[member].targets]
            tokens += [target.token for target in texts[member].targets]
        offset += len(tree.ids)
    return found, index, tokens


def _log_softmax_at(logits: Tensor, index: Sequence[int], tokens: Sequence[int]) -> list[float]:
    """Return log-probabilities of single tokens, float32.

    Args:
        logits: (n, V), one row for each distinct index, in order.
        index: number of the position where each token is read.
        tokens: token ids, as many.
    """
    sums = torch.cat([part.float().logsumexp(-1) for part in logits.split(LOGIT_ROWS)])  # (n,)
    row_of = {place: row for row, place in enumerate(sorted(set(index)))}
    rows = torch.tensor([row_of[place] for place in index], device=logits.device)
    chosen = logits[rows, torch.tensor(tokens, device=logits.device)].float()
    return (chosen - sums[rows]).tolist()
