"""From corpora to paired batches: forget and retain streams, topic by topic, in a fixed order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from unlearnbench.data.borders import common_length, encode_answers
from unlearnbench.data.chat_template import render_template
from unlearnbench.data.files import Row
from unlearnbench.data.tables import Table, alternatives_of
from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from lightning.pytorch.utilities import CombinedLoader
    from transformers import PreTrainedTokenizerBase

PaddingSide = Literal["left", "right"]
"""The side of a batch that is padded."""


class Stream(TypedDict):
    """One side of a batch, a dictionary.

    Attributes:
        input_ids: (B, T) int64, the tokens.
        attention_mask: (B, T) int64, 1 on real tokens and 0 on padding.
        labels: (B, T) int64, the tokens that count, where they stand, and -100 elsewhere: on padding and prompts.
        topic: the topic's name.
        alternative: other answers in the same order, a stream of its own; on the forget side, for methods that set
            `alternatives`.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    topic: str
    alternative: NotRequired[Stream]


class UnlearnBatch(TypedDict):
    """The batch that `training_step` gets, a dictionary; both sides belong to the same topic.

    Attributes:
        forget: the texts to forget.
        retain: the texts to keep.
    """

    forget: Stream
    retain: Stream


class Example(NamedTuple):
    """One tokenised text.

    Attributes:
        ids: its token ids.
        labels: labels, one per id: the id itself where the token counts, -100 on a prompt.
        alternatives: other answers to the same prompt.
    """

    ids: list[int]
    labels: list[int]
    alternatives: tuple[Example, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """The tokenised texts of one topic's forget or retain side.

    Attributes:
        topic: the topic's name.
        examples: the texts, in the corpus' order.
        cut: the number of texts that were longer than what the model reads.
    """

    topic: str
    examples: tuple[Example, ...]
    cut: int = 0


def encode_corpus(
    table: Table,
    topic: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    readable: int | None = None,
    min_chars: int = 0,
    max_chars: int | None = None,
    alternatives: bool = False,
) -> Corpus:
    """Tokenise a corpus with the column `text`, or `prompt` and `response`.

    Args:
        table: its rows, as `read_corpus` gives them.
        topic: name of the topic whose corpus it is.
        tokenizer: tokenizer; it adds special tokens as it does by default, and a prompt goes through its chat template where it
            has one.
        max_length: largest number of tokens; a longer text is cut at the end.
        readable: tokens that the model can read at once; a longer text is cut, and counted. None: no bound.
        min_chars: number of characters; texts of at most so many are left out, as in RMU's reference.
        max_chars: characters that are kept of a text, or of prompt and response each, before it becomes tokens; None: all.
        alternatives: True reads the column `alternative`, too: one or several texts in place of `text` or `response`.

    Raises:
        UsageError: nothing is left, or an alternative is missing.
    """

    def encode(row: Row, text: str) -> Example:
        if row.get("text") is None:
            return _encode_pair(row["prompt"][:max_chars], text[:max_chars], tokenizer, max_length)
        ids = tokenizer(text[:max_chars])["input_ids"][:max_length]
        return Example(ids, list(ids))

    examples: list[Example] = []
    cut = 0
    for index, row in enumerate(table.rows):
        text: str = row["response"] if row.get("text") is None else row["text"]
        example = encode(row, text)
        longer = readable is not None and len(example.ids) > readable
        example = _shortened(example, readable)
        if alternatives:
            others = [_shortened(encode(row, other), readable) for other in alternatives_of(table, index)]
            example = example._replace(alternatives=tuple(other for other in others if _counts(other)))
            if not example.alternatives:
                continue  # the prompt fills max_length
        if len(text) > min_chars and _counts(example):
            examples.append(example)
            cut += longer
    if not examples:
        raise UsageError(f"The corpus '{table.origin}' has no text of more than {min_chars} characters.")
    return Corpus(topic, tuple(examples), cut)


def _shortened(example: Example, length: int | None) -> Example:
    return Example(example.ids[:length], example.labels[:length])


def _counts(example: Example) -> bool:
    """Return whether there is something to predict; a single token predicts nothing."""
    return any(label != IGNORE for label in example.labels[1:])


def _encode_pair(prompt: str, response: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Example:
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": prompt}]
        whole = render_template([*turns, {"role": "assistant", "content": response}], tokenizer)
        asked = render_template(turns, tokenizer)
        opening = whole[: common_length([asked, whole])]  # some templates begin an answer with words that they leave out later
    else:
        opening = f"Question: {prompt}\nAnswer:"
        whole = f"{opening} {response}"
    special = not tokenizer.chat_template  # a template writes them
    [(ids, start)] = encode_answers([(opening, whole[len(opening) :])], tokenizer, special=special, closed=True)
    return Example(ids[:max_length], ([IGNORE] * start + ids[start:])[:max_length])


def collate(examples: Sequence[Example], topic: str, pad: int, side: PaddingSide) -> Stream:
    """Pad examples to the longest one."""
    width = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), width), pad, dtype=torch.long)
    labels = torch.full_like(ids, IGNORE)
    mask = torch.zeros_like(ids)
    for row, example in enumerate(examples):
        length = len(example.ids)
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place] = torch.tensor(example.ids)
        labels[row, place] = torch.tensor(example.labels)
        mask[row, place] = 1
    return Stream(input_ids=ids, attention_mask=mask, labels=labels, topic=topic)


def _rows(stream: Stream, part_rows: slice) -> Stream:
    part = Stream(
        input_ids=stream["input_ids"][part_rows],
        attention_mask=stream["attention_mask"][part_rows],
        labels=stream["labels"][part_rows],
        topic=stream["topic"],
    )
    if "alternative" in stream:
        part["alternative"] = _rows(stream["alternative"], part_rows)
    return part


def prompts_of(stream: Stream, share: float) -> list[list[int]]:
    """Return the prompt of each sequence, its tokens before the first label.

    Args:
        stream: the sequences, B in all.
        share: the share of its tokens, from 0 to 1, that serves as the prompt of a sequence without one; one token at least.

    Returns:
        the token ids of B prompts.
    """
    prompts: list[list[int]] = []
    for ids, labels, mask in zip(stream["input_ids"], stream["labels"], stream["attention_mask"].bool(), strict=True):
        tokens: list[int] = ids[mask].tolist()
        prompt = int((labels[mask] == IGNORE).sum())
        prompts.append(tokens[: prompt or max(int(len(tokens) * share), 1)])
    return prompts


def splice(prompt: list[int], reply: list[int], width: int) -> Example:
    """Return a whole prompt with as much of another answer as fits; the answer counts, the prompt does not.

    Args:
        prompt: token ids, as `prompts_of` gives them.
        reply: token ids of the other answer.
        width: the number of tokens of both together at most; one token of the answer stays in any case.
    """
    kept = reply[: max(width - len(prompt), 1)]
    return Example(prompt + kept, [IGNORE] * len(prompt) + kept)


def stack(streams: Sequence[Stream], pad: int) -> Stream:
    """Join several streams, padded on the right to the widest: for one forward where each would need its own."""
    width = max(stream["input_ids"].shape[1] for stream in streams)

    def joined(key: Literal["input_ids", "attention_mask", "labels"], filler: int) -> Tensor:
        return torch.cat([F.pad(s[key], (0, width - s[key].shape[1]), value=filler) for s in streams])

    ids, mask, labels = joined("input_ids", pad), joined("attention_mask", 0), joined("labels", IGNORE)
    return Stream(input_ids=ids, attention_mask=mask, labels=labels, topic=streams[0]["topic"])


class Share(NamedTuple):
    """The part of each update's batch that one process takes, and the number of pieces it is cut into.

    Attributes:
        accumulate: number of pieces that a process takes one after the other.
        world: number of processes that train together.
        rank: number of the process whose pieces these are, from 0.
    """

    accumulate: int = 1
    world: int = 1
    rank: int = 0


class Schedule(Dataset[Stream]):
    """Every batch of one side, in order: update k takes topic k mod n, and that topic's batches are consecutive.

    `len` is the number of updates. A corpus that runs out starts again; with `order="shuffled"` in a new order.
    Under a `share` each update's batch is cut into equal pieces once it is padded, so that all of them together are the very
    batch that a single process would see at once; `len` counts this process's pieces then. A method finds its own two in
    `self.context`, and `schedule[index]` is what `training_step` will see as that side of batch `index`, on the CPU.

    Args:
        corpora: the tokenised texts of each topic.
        steps: the number of updates.
        batch_size: the number of sequences in an update.
        pad: the token id to pad with.
        side: the side that is padded, `left` or `right`.
        shuffle_seed: the seed of the order; None takes the corpora's own.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        *,
        steps: int,
        batch_size: int,
        pad: int,
        side: PaddingSide,
        shuffle_seed: int | None = None,
    ) -> None:
        self.corpora, self.steps, self.batch_size = corpora, steps, batch_size
        self.pad, self.shuffle_seed = pad, shuffle_seed
        self.side: PaddingSide = side
        self.share = Share()
        self._order = lru_cache(maxsize=2 * len(corpora))(self._order_of_epoch)

    def __len__(self) -> int:
        return self.steps * self.share.accumulate

    def __getitem__(self, index: int) -> Stream:
        step, piece = divmod(index, self.share.accumulate)
        whole = self.update(step)
        rows = self.batch_size // (self.share.accumulate * self.share.world)
        first = (piece * self.share.world + self.share.rank) * rows
        return _rows(whole, slice(first, first + rows))

    def update(self, step: int) -> Stream:
        """Return the whole batch of an update, over all processes and pieces, on the CPU.

        Args:
            step: the update, from 0.
        """
        number = step % len(self.corpora)
        corpus = self.corpora[number]
        size = len(corpus.examples)
        first = step // len(self.corpora) * self.batch_size
        places = [divmod(position, size) for position in range(first, first + self.batch_size)]
        chosen = [corpus.examples[self._order(number, epoch)[place]] for epoch, place in places]
        stream = collate(chosen, corpus.topic, self.pad, self.side)
        if all(example.alternatives for example in chosen):  # each pass over the corpus takes the next ones
            others = [e.alternatives[epoch % len(e.alternatives)] for e, (epoch, _) in zip(chosen, places, strict=True)]
            stream["alternative"] = collate(others, corpus.topic, self.pad, self.side)
        return stream

    def hold_out(self, share: float) -> Schedule:
        """Take the last texts of each corpus out of this schedule, and return them as a schedule of their own.

        Args:
            share: share of each corpus; at least one text is taken and one is left.

        Raises:
            UsageError: a corpus has a single text.
        """
        kept: list[Corpus] = []
        held: list[Corpus] = []
        for corpus in self.corpora:
            size = len(corpus.examples)
            if size < 2:
                raise UsageError(f"The corpus of topic '{corpus.topic}' has a single text; none can be held out.")
            cut = min(max(size - round(size * share), 1), size - 1)
            kept.append(Corpus(corpus.topic, corpus.examples[:cut]))
            held.append(Corpus(corpus.topic, corpus.examples[cut:]))
        self.corpora = kept
        self._order.cache_clear()
        return Schedule(held, steps=len(held), batch_size=min(len(c.examples) for c in held), pad=self.pad, side=self.side)

    def _order_of_epoch(self, number: int, epoch: int) -> list[int]:
        order = list(range(len(self.corpora[number].examples)))
        if self.shuffle_seed is not None:
            random.Random(f"{self.shuffle_seed} {number} {epoch}").shuffle(order)
        return order


def paired_loader(forget: Schedule, retain: Schedule) -> CombinedLoader:
    """Return both schedules as one Lightning loader; a batch is an `UnlearnBatch`."""
    from lightning.pytorch.utilities import CombinedLoader

    # batch_size=None: the schedules hand out whole batches
    sides: Mapping[str, DataLoader[Stream]] = {
        "forget": DataLoader(forget, batch_size=None),
        "retain": DataLoader(retain, batch_size=None),
    }
    return CombinedLoader(sides, "max_size_cycle")


IGNORE = -100
"""The label of a position that does not count, as in transformers."""
