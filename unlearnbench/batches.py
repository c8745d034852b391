"""From corpora to paired batches: forget and retain streams, topic by topic, in a fixed order."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from unlearnbench.errors import UsageError
from unlearnbench.sources import Table
from unlearnbench.tensors import IGNORE

if TYPE_CHECKING:
    from lightning.pytorch.utilities import CombinedLoader
    from transformers import PreTrainedTokenizerBase

PaddingSide = Literal["left", "right"]


class Stream(TypedDict):
    """One side of a batch. Labels outside what counts (padding, prompts) are -100."""

    input_ids: Tensor  # (B, T) int64
    attention_mask: Tensor  # (B, T) int64, 1 on real tokens
    labels: Tensor  # (B, T) int64
    topic: str


class UnlearnBatch(TypedDict):
    """What `training_step` gets: both sides belong to the same topic."""

    forget: Stream
    retain: Stream


class Example(NamedTuple):
    """One tokenised text; `labels` are -100 on a prompt."""

    ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class Corpus:
    """The tokenised texts of one topic's forget or retain side."""

    topic: str
    examples: tuple[Example, ...]


def encode_corpus(
    table: Table,
    topic: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    min_chars: int = 0,
    max_chars: int | None = None,
) -> Corpus:
    """Tokenise a corpus with the column `text`, or `prompt` and `response`.

    Args:
        table: its rows, as `read_corpus` gives them.
        topic: whose corpus it is.
        tokenizer: adds special tokens as it does by default; a prompt goes through its chat template where it has one.
        max_length: tokens; what is longer is cut at the end.
        min_chars: texts of at most so many characters are left out, as in RMU's reference.
        max_chars: characters that are left of a text, or of prompt and response each, before it becomes tokens; None: all.

    Raises:
        UsageError: nothing is left.
    """
    examples: list[Example] = []
    for row in table.rows:
        if row.get("text") is not None:
            text = str(row["text"])
            ids = tokenizer(text[:max_chars])["input_ids"][:max_length]
            example = Example(ids, list(ids))
        else:
            text = str(row["response"])
            example = _encode_pair(str(row["prompt"])[:max_chars], text[:max_chars], tokenizer, max_length)
        # a single token predicts nothing
        if len(text) > min_chars and any(label != IGNORE for label in example.labels[1:]):
            examples.append(example)
    if not examples:
        raise UsageError(f"The corpus '{table.origin}' has no text of more than {min_chars} characters.")
    return Corpus(topic, tuple(examples))


def _encode_pair(prompt: str, response: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Example:
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": prompt}]
        opening = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        whole = str(tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": response}], tokenize=False))
        special = False  # the template writes them
    else:
        opening, special = f"Question: {prompt}\nAnswer:", True
        whole = f"{opening} {response}"
    ids = tokenizer(whole, add_special_tokens=special)["input_ids"]
    start = len(tokenizer(opening, add_special_tokens=special)["input_ids"])
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


def stack(streams: Sequence[Stream], pad: int) -> Stream:
    """Several streams as one, padded on the right to the widest: for one forward where each would need its own."""
    width = max(stream["input_ids"].shape[1] for stream in streams)

    def joined(key: Literal["input_ids", "attention_mask", "labels"], filler: int) -> Tensor:
        return torch.cat([F.pad(s[key], (0, width - s[key].shape[1]), value=filler) for s in streams])

    ids, mask, labels = joined("input_ids", pad), joined("attention_mask", 0), joined("labels", IGNORE)
    return Stream(input_ids=ids, attention_mask=mask, labels=labels, topic=streams[0]["topic"])


class Share(NamedTuple):
    """Which part of each update's batch is handed out, and in how many pieces.

    Attributes:
        accumulate: pieces that a process takes one after the other.
        world: processes that train together.
        rank: the process whose pieces these are, from 0.
    """

    accumulate: int = 1
    world: int = 1
    rank: int = 0


class Schedule(Dataset[Stream]):
    """Every batch of one side, in order: update k takes topic k mod n, and that topic's batches are consecutive.

    `len` is the number of updates. A corpus that runs out starts again; with `order="shuffled"` in a new order.
    Under a `share` each update's batch is cut into equal pieces once it is padded, so that all of them together are the very
    batch that a single process would see at once; `len` counts this process's pieces then.
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
        own = slice(first, first + rows)
        return Stream(
            input_ids=whole["input_ids"][own],
            attention_mask=whole["attention_mask"][own],
            labels=whole["labels"][own],
            topic=whole["topic"],
        )

    def update(self, step: int) -> Stream:
        """The whole batch of an update, over all processes and pieces."""
        number = step % len(self.corpora)
        corpus = self.corpora[number]
        size = len(corpus.examples)
        first = step // len(self.corpora) * self.batch_size
        chosen = [
            corpus.examples[self._order(number, position // size)[position % size]]
            for position in range(first, first + self.batch_size)
        ]
        return collate(chosen, corpus.topic, self.pad, self.side)

    def hold_out(self, share: float) -> Schedule:
        """Take the last texts of each corpus out of this schedule, and return them as one of their own.

        Args:
            share: of each corpus; at least one text is taken and one is left.

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
    """Both schedules as one Lightning loader; a batch is an `UnlearnBatch`."""
    from lightning.pytorch.utilities import CombinedLoader

    # batch_size=None: the schedules hand out whole batches
    sides: Mapping[str, DataLoader[Stream]] = {
        "forget": DataLoader(forget, batch_size=None),
        "retain": DataLoader(retain, batch_size=None),
    }
    return CombinedLoader(sides, "max_size_cycle")
