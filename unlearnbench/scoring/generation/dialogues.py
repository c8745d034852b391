"""Conversations of several turns with a model; every answer is kept as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.scoring.generation.chat import Answer, Request
from unlearnbench.system.files import HASH_CHARS, content_hash
from unlearnbench.system.journal import Journal

if TYPE_CHECKING:
    from unlearnbench.scoring.benchmark import Subject


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """A conversation whose user's side is fixed, whatever the model answers.

    Attributes:
        id: the item's id; with the subject's seed and the turn, the seed of each answer.
        turns: the user's messages, one after the other.
        temperature: the sampling temperature of all answers; 0 takes the likeliest token each time.
    """

    id: str
    turns: tuple[str, ...]
    temperature: float

    def request(self, answers: Sequence[Answer], seed: int) -> Request:
        """Return the request for the next turn.

        Args:
            answers: the model's answers so far, fewer than there are turns.
            seed: the subject's seed.
        """
        messages = [{"role": "user", "content": self.turns[0]}]
        for answer, turn in zip(answers, self.turns[1:], strict=False):
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": turn}]
        return Request(tuple(messages), self.temperature, f"{seed} {self.id} {len(answers)}")


def run_dialogues(
    dialogues: Sequence[Dialogue], subject: Subject, *, max_new_tokens: int, rows: int | None = None
) -> list[list[Answer]]:
    """Return the model's answer to every turn; what the same weights have answered before is not written again.

    The conversations go through the model's chat template, as in `generate`, and are answered in batches. After an answer
    that could not be generated the turns that follow have none either. `subject.progress` is told of each answer.

    Args:
        dialogues: the conversations, in any order; a single turn is a prompt.
        subject: the argument of `Benchmark.evaluate`; its weights and folder decide what is kept and where.
        max_new_tokens: the number of tokens at which an answer is cut.
        rows: the number of answers that are written at once; None for as many as memory holds.

    Returns:
        for each dialogue, in their order, an answer to each turn; one that could not be generated says why in `error`.

    Raises:
        UsageError: the chat template refuses a conversation.
    """
    talks = _Talks(dialogues, subject, max_new_tokens)
    waiting = {number: request for number in range(len(dialogues)) if (request := talks.next_request(number)) is not None}
    if waiting:
        from unlearnbench.scoring.generation.generate import generate

        numbers = list(waiting)

        def follow(index: int, answer: Answer) -> Request | None:
            talks.add(numbers[index], answer)
            return talks.next_request(numbers[index])

        generate(
            subject.model,
            subject.tokenizer,
            list(waiting.values()),
            max_new_tokens=max_new_tokens,
            follow=follow,
            rows=rows,
        )
    return talks.answers


class _Talks:
    """The progress of each dialogue."""

    def __init__(self, dialogues: Sequence[Dialogue], subject: Subject, max_new_tokens: int) -> None:
        from unlearnbench.scoring.generation.generate import generation_hash

        self.answers: list[list[Answer]] = [[] for _ in dialogues]
        self._dialogues, self._subject = dialogues, subject
        self._setting = [subject.weights, str(subject.model.dtype), max_new_tokens, generation_hash()]
        keep = subject.keep if subject.weights else None
        self._journal = Journal(keep / "answers" / f"{subject.weights[:HASH_CHARS]}.jsonl" if keep else None)
        self._journal.refresh()

    def next_request(self, number: int) -> Request | None:
        """Return the next turn without an answer; None at the end of the dialogue."""
        dialogue, talk = self._dialogues[number], self.answers[number]
        while len(talk) < len(dialogue.turns):
            if talk and talk[-1].error:
                reason = next(answer.error for answer in talk if answer.error)
                self._say(number, Answer(error=f"the turn before has no answer: {reason}"))
                continue
            request = dialogue.request(talk, self._subject.seed)
            kept = self._journal.get(self._key(request))
            if kept is None:
                return request
            self._say(number, Answer(text=kept["text"], tokens=kept["tokens"], ended=kept["ended"]))
        return None

    def add(self, number: int, answer: Answer) -> None:
        """Keep the answer to the current turn."""
        dialogue, talk = self._dialogues[number], self.answers[number]
        if not answer.error:
            about = {"dialogue": dialogue.id, "turn": len(talk) + 1, "seed": self._subject.seed}
            record = {"text": answer.text, "tokens": answer.tokens, "ended": answer.ended}
            self._journal.add(self._key(dialogue.request(talk, self._subject.seed)), {**about, **record})
        self._say(number, answer)

    def _say(self, number: int, answer: Answer) -> None:
        self.answers[number].append(answer)
        self._subject.progress(1)

    def _key(self, request: Request) -> str:
        return content_hash([self._setting, request.messages, request.temperature, request.seed])
