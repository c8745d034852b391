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
    """The user's side of a conversation, the same whatever the model answers.

    Attributes:
        id: id of the dialogue; with the subject's seed and the turn, the seed of each answer.
        turns: turns of the user, one after the other.
        temperature: sampling temperature of all answers.
    """

    id: str
    turns: tuple[str, ...]
    temperature: float

    def request(self, answers: Sequence[Answer], seed: int) -> Request:
        """Return the next request after these answers."""
        messages = [{"role": "user", "content": self.turns[0]}]
        for answer, turn in zip(answers, self.turns[1:], strict=False):
            messages += [{"role": "assistant", "content": answer.text}, {"role": "user", "content": turn}]
        return Request(tuple(messages), self.temperature, f"{seed} {self.id} {len(answers)}")


def run_dialogues(
    dialogues: Sequence[Dialogue], subject: Subject, *, max_new_tokens: int, rows: int | None = None
) -> list[list[Answer]]:
    """Return the model's answer to every turn; answers of the same weights from earlier runs are not written again.

    After an answer that could not be generated the turns that follow have none either. `subject.progress` is told of each.

    Args:
        dialogues: dialogues in any order.
        subject: subject; its weights and folder decide what is kept and where; without them nothing is kept.
        max_new_tokens: largest length of an answer, in tokens.
        rows: number of answers written at once; None for as many as memory holds.
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
