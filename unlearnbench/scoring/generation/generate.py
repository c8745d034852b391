"""Batched generation for chat: every answer has a seed of its own, so that neither its neighbours nor a restart matter."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from unlearnbench.models.capacity import check_ids, context_length
from unlearnbench.models.loading import padding_id
from unlearnbench.scoring.generation.chat import Answer, Request, encode_chat, end_tokens, stop_texts, stop_tokens
from unlearnbench.scoring.generation.seeded_draw import noisy
from unlearnbench.scoring.generation.slots import Encoded, KeyValues, Slots, encode, reach, rows_at_once
from unlearnbench.system.files import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PLAIN_ROWS = 16  # of a batch, where rows cannot come and go
LONGEST_STOP = 16  # tokens within which a stop text lies
TOO_LITTLE = "the memory does not suffice for one conversation"
NOT_FINITE = "the model's output is not finite (NaN or infinity)"
Follow = Callable[[int, Answer], Request | None]
"""The type of a function from the number of a request and its answer to what is asked next in that conversation."""


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    follow: Follow | None = None,
    rows: int | None = None,
) -> list[Answer]:
    """Let a model answer chat requests, in batches.

    A conversation goes through the model's chat template; where it has none, it becomes plain `User: ...` and
    `Assistant: ...` lines, and an answer ends where the model begins another such line. In a benchmark `run_dialogues` does
    this and keeps the answers.

    Args:
        model: the model, in eval mode.
        tokenizer: the model's tokenizer.
        requests: the requests, in any order.
        max_new_tokens: the number of tokens at which an answer is cut, if the model's context does not end before.
        follow: function of the number of a request and its answer, called as soon as the answer is there; the request that
            it returns is asked next in the same conversation, whose keys and values are still in memory. None asks nothing
            more.
        rows: the number of answers that are written at once; None for as many as memory holds.

    Returns:
        the last answer to each request, in their order; one that could not be generated says why in `error`.

    Raises:
        UsageError: the chat template refuses the conversation.
    """
    writer = _Writer(model, tokenizer, max_new_tokens, follow or _nothing)
    writer.answer(requests, rows)
    if writer.beyond:
        _PlainWriter(model, tokenizer, max_new_tokens, follow or _nothing).finish(writer, rows)
    return [writer.answers[index] for index in range(len(requests))]


def continue_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: str = "",
    hidden: int | None = None,
) -> list[list[int]]:
    """Continue tokenised texts, without a chat template.

    Args:
        model: the model, in eval mode.
        tokenizer: the model's tokenizer.
        prompts: the token ids of each text, none of them empty.
        max_new_tokens: the number of tokens at which a continuation is cut; an end token, which is not part of it, ends it
            before.
        temperature: the sampling temperature; 0 takes the likeliest token each time.
        seed: any text; the same seed draws the same continuations.
        hidden: a token of prompts that attention does not see and that has no place of its own, as transformers treats what its
            attention mask leaves out; None sees everything.

    Returns:
        the token ids of each continuation, without its prompt, in the order of the prompts.

    Raises:
        ValueError: a prompt that the model cannot read, or an output that is not finite.
    """
    ends = end_tokens(model, tokenizer)
    requests = [Request((), temperature, f"{seed} {number}") for number in range(len(prompts))]
    writer = _Writer(model, tokenizer, max_new_tokens, _nothing, ends, hidden)
    writer.answer(requests, None, prompts)
    if writer.beyond:
        _PlainWriter(model, tokenizer, max_new_tokens, _nothing, ends, hidden).finish(writer, None)
    if failed := [answer.error for answer in writer.answers.values() if answer.error]:
        raise ValueError(f"a text cannot be continued: {failed[0]}")
    return [writer.written[index] for index in range(len(prompts))]


@functools.cache
def generation_hash() -> str:
    """Return the sha256 over this folder's modules, which decide the answers."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return content_hash([[file.name, file.read_text(encoding="utf-8")] for file in files])


def _nothing(_index: int, _answer: Answer) -> None:
    return None


@dataclass
class _Row:
    """An answer that is being written."""

    index: int
    request: Request
    prompt: list[int]
    room: int  # tokens that it may still have
    written: list[int] = field(default_factory=list)


class _Writer:
    """A writer of answers, row by row; a row that is finished makes room for the next."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        most: int,
        follow: Follow,
        ends: set[int] | None = None,
        hidden: int | None = None,
    ) -> None:
        self.hidden = hidden
        self.model, self.tokenizer, self.most, self.follow = model, tokenizer, most, follow
        self.stops = stop_tokens(model, tokenizer) if ends is None else ends
        self.stop_texts = stop_texts(tokenizer) if ends is None else ()
        self.limit = context_length(model)
        self.reach = reach(model)
        self.answers: dict[int, Answer] = {}
        self.written: dict[int, list[int]] = {}  # the tokens of each answer
        self.beyond: list[_Row] = []  # longer than slots allow
        self.waiting: deque[_Row] = deque()
        self.rows: list[_Row | None] = []
        self.slots: Slots | None = None

    def answer(self, requests: Sequence[Request], at_once: int | None, prompts: Sequence[list[int]] | None = None) -> None:
        """Answer all that slots allow, with prompts that are tokenised or to be; if memory is short half as many rows go on."""
        self._line_up(requests, prompts)
        while self.waiting or self.rows:
            try:
                if self.slots is None:
                    at_once = self._open(at_once)
                else:
                    self._step(self.slots)
            except torch.OutOfMemoryError:
                at_once = self._fall_back()

    def _fall_back(self) -> int:
        """Restart the rows that were being answered, half as many at once; one that does not fit alone never will."""
        going = [row for row in self.rows if row is not None]
        at_once = max(len(self.rows) // 2, 1)
        if len(self.rows) == 1 and going:
            self._finish(going.pop(), Answer(error=TOO_LITTLE))
        self.slots, self.rows = None, []
        self.waiting.extendleft(_Row(row.index, row.request, row.prompt, row.room) for row in reversed(going))
        return at_once

    def _line_up(self, requests: Sequence[Request], prompts: Sequence[list[int]] | None) -> None:
        """Queue the rows, longest first: what comes later fits into the places that are there."""
        asked = ((index, request, prompts[index] if prompts else None) for index, request in enumerate(requests))
        rows = [row for arguments in asked if (row := self._row(*arguments)) is not None]
        self.waiting.extend(sorted(rows, key=lambda row: len(row.prompt), reverse=True))

    def _row(self, index: int, request: Request | None, tokens: list[int] | None = None) -> _Row | None:
        """Return the request with its tokens; None, with the error as its answer, where the model cannot read so many."""
        while request is not None:
            prompt = encode_chat(request.messages, self.tokenizer) if tokens is None else tokens
            check_ids([prompt], self.model)
            room = min(self.most, self.limit - len(prompt)) if self.limit else self.most
            if room > 0:
                return self._within_reach(_Row(index, request, prompt, room))
            reason = f"the conversation has {len(prompt)} tokens, and the model reads {self.limit}"
            self.answers[index] = Answer(error=reason)
            request, tokens = self.follow(index, self.answers[index]), None
        return None

    def _within_reach(self, row: _Row) -> _Row | None:
        """Return the row, if a slot can hold it; others wait until the end."""
        if len(row.prompt) + row.room <= self.reach and self.hidden not in row.prompt:
            return row
        self.beyond.append(row)
        return None

    def _open(self, at_once: int | None) -> int | None:
        """Make slots and fill them."""
        started = self._start()
        if started is None:
            return at_once
        row, encoded = started
        longest = max(len(row.prompt) for row in [row, *self.waiting]) + 2 * self.most
        at_once = at_once or rows_at_once(self.model, encoded, longest)
        self.slots = Slots(self.model, min(at_once, 1 + len(self.waiting)))
        self.rows = [None] * len(self.slots)
        self.rows[0] = row
        self.slots.put(encoded, 0)
        for slot in range(1, len(self.rows)):
            self._fill(slot, self.slots)
        self._close_up(self.slots)
        return at_once

    def _fill(self, slot: int, slots: Slots) -> None:
        """Put the next row that waits into a free slot."""
        started = self._start()
        self.rows[slot] = started[0] if started else None
        if started:
            slots.put(started[1], slot)

    def _start(self) -> tuple[_Row, Encoded] | None:
        """Run the next prompt whose answer does not end with its first token."""
        while self.waiting:
            row = self.waiting.popleft()
            if (encoded := self._encode(row)) is not None:
                return row, encoded
        return None

    def _encode(self, row: _Row, known: Sequence[int] = (), kept: KeyValues | None = None) -> Encoded | None:
        """Run a prompt and draw the first token; None where that ends the answer, and what follows waits its turn."""
        try:
            encoded = encode(self.model, row.prompt, known, kept)
        except torch.OutOfMemoryError:
            if not any(self.rows):
                self._finish(row, Answer(error=TOO_LITTLE))
                return None
            self.waiting.appendleft(row)
            raise
        if not bool(encoded.logits.isfinite().all()):
            self._finish(row, Answer(error=NOT_FINITE))
            return None
        token = int(noisy(encoded.logits, row.request.temperature, row.request.seed, 0).argmax())
        if (answer := self._write(row, token)) is not None:
            self._finish(row, answer)
            return None
        return encoded

    def _write(self, row: _Row, token: int) -> Answer | None:
        """Add a token; return the answer where that is its end."""
        if token in self.stops:
            return self._read(row, ended=True)
        row.written.append(token)
        if self.stop_texts and any(s in self.tokenizer.decode(row.written[-LONGEST_STOP:]) for s in self.stop_texts):
            return self._read(row, ended=True)
        return self._read(row, ended=False) if len(row.written) == row.room else None

    def _read(self, row: _Row, *, ended: bool) -> Answer:
        text = str(self.tokenizer.decode(row.written, skip_special_tokens=True))
        for stop in self.stop_texts:
            text = text.partition(stop)[0]
        self.written[row.index] = row.written
        return Answer(text=text.strip(), tokens=len(row.written), ended=ended)

    def _say(self, row: _Row, answer: Answer) -> _Row | None:
        """Report the answer; return what follows in the same conversation."""
        self.answers[row.index] = answer
        return self._row(row.index, self.follow(row.index, answer))

    def _finish(self, row: _Row, answer: Answer) -> None:
        following = self._say(row, answer)
        if following is not None:
            self.waiting.appendleft(following)

    def _step(self, slots: Slots) -> None:
        """Draw one more token for every row."""
        logits = slots.step([row.written[-1] if row else 0 for row in self.rows])  # (B, V)
        scored = logits.clone()
        for slot, row in enumerate(self.rows):
            if row is not None and row.request.temperature > 0:
                scored[slot] = noisy(logits[slot], row.request.temperature, row.request.seed, len(row.written))
        tokens: list[int] = scored.argmax(dim=1).tolist()
        finite: list[bool] = logits.max(dim=1).values.isfinite().tolist()
        for slot, row in enumerate(self.rows):
            if row is None:
                continue
            answer = self._write(row, tokens[slot]) if finite[slot] else Answer(error=NOT_FINITE)
            if answer is not None:
                self._next(slot, row, answer, slots)
        self._close_up(slots)

    def _next(self, slot: int, row: _Row, answer: Answer, slots: Slots) -> None:
        """Put what follows in the conversation into the row's place, beginning with what is in memory; else the next row that
        waits.
        """
        self.rows[slot] = None
        following = self._say(row, answer)
        if following is not None:
            encoded = self._encode(following, row.prompt + row.written[:-1], slots.take(slot))
            if encoded is not None:
                self.rows[slot] = following
                slots.put(encoded, slot)
                return
        slots.release(slot)
        self._fill(slot, slots)

    def _close_up(self, slots: Slots) -> None:
        """Remove free slots once no row waits; a quarter at a time, for it costs a copy."""
        live = [slot for slot, row in enumerate(self.rows) if row is not None]
        if not live:
            self.rows, self.slots = [], None
        elif not self.waiting and len(live) <= len(self.rows) * 3 // 4:
            slots.keep(live)
            self.rows = [self.rows[slot] for slot in live]
        else:
            slots.trim(live)


class _PlainWriter(_Writer):
    """A writer with the model's own `generate`, for models whose rows cannot come and go."""

    def finish(self, other: _Writer, at_once: int | None) -> None:
        """Answer in padded batches what the other writer could not."""
        self.answers, self.written = other.answers, other.written
        self.waiting.extend(other.beyond)
        while self.waiting:
            batch = [self.waiting.popleft() for _ in range(min(at_once or PLAIN_ROWS, len(self.waiting)))]
            try:
                following = [self._say(row, answer) for row, answer in zip(batch, self._batch(batch), strict=True)]
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    self._finish(batch[0], Answer(error=TOO_LITTLE))
                else:
                    self.waiting.extendleft(reversed(batch))
                    at_once = len(batch) // 2
            else:
                self.waiting.extend(row for row in following if row is not None)

    def _within_reach(self, row: _Row) -> _Row:
        return row

    @torch.inference_mode()
    def _batch(self, batch: Sequence[_Row]) -> list[Answer]:
        width, pad = max(len(row.prompt) for row in batch), padding_id(self.tokenizer)
        device = self.model.device
        ids = torch.tensor([[pad] * (width - len(row.prompt)) + row.prompt for row in batch], device=device)
        masks = [[0] * (width - len(row.prompt)) + [int(token != self.hidden) for token in row.prompt] for row in batch]
        mask = torch.tensor(masks, device=device)
        settings = GenerationConfig(
            max_new_tokens=max(row.room for row in batch),
            do_sample=False,
            eos_token_id=sorted(self.stops),
            pad_token_id=pad,
            use_cache=True,
        )
        draws = LogitsProcessorList([SeededDraw([row.request for row in batch], width)])
        output: Any = self.model.generate(  # pyright: ignore[reportCallIssue]
            input_ids=ids, attention_mask=mask, generation_config=settings, logits_processor=draws
        )
        return [self._replay(row, tokens) for row, tokens in zip(batch, output[:, width:].tolist(), strict=True)]

    def _replay(self, row: _Row, tokens: Sequence[int]) -> Answer:
        row.written = []
        for token in tokens:
            if (answer := self._write(row, token)) is not None:
                return answer
        return self._read(row, ended=False)


class SeededDraw(LogitsProcessor):
    """A logits processor that turns greedy decoding into sampling with a seed per sequence."""

    def __init__(self, requests: Sequence[Request], width: int) -> None:
        self._requests, self._width = requests, width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        place = input_ids.shape[1] - self._width
        rows = zip(scores.float(), self._requests, strict=True)
        return torch.stack([noisy(row, request.temperature, request.seed, place) for row, request in rows])  # (B, V)
