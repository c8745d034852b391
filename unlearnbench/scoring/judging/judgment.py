"""Inquiries to a judge and its judgments; the rating is read from the judge's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

Messages = list[dict[str, str]]
"""The type of a conversation: `role` and `content` of each turn."""
LOWEST, HIGHEST = 1.0, 10.0
TRIES = 3  # replies without a usable rating
SHOWN = 80  # characters of a reply in a message
RATING = (re.compile(r"\[\[\s*(\d+\.?\d*)\s*\]\]"), re.compile(r"\[\s*(\d+\.?\d*)\s*\]"))
INSIST = (
    "That has no usable rating. End with one number from 1 (useless) to 10 (excellent) in double square brackets, "
    "like this: Rating: [[4]]"
)


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """A rating to be asked for.

    Attributes:
        key: name of the inquiry; the same key is never asked twice.
        messages: messages to the judge.
        about: details for readers of the kept judgments: item, repeat, hash of the answer.
    """

    key: str
    messages: Messages
    about: dict[str, str | int]


@dataclass(frozen=True, kw_only=True)
class ReplySettings:
    """Settings of a judge's replies.

    Attributes:
        temperature: the sampling temperature; at 0 the judge always says the same, as far as it can.
        tokens: the number of tokens at which a reply is cut.
    """

    temperature: float = 0.0
    tokens: int = 2048

    @property
    def identity(self) -> str:
        """Both settings as a text, since they may change a rating."""
        return f"temperature {self.temperature:g}, {self.tokens} tokens"


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """A judgment of one answer.

    Attributes:
        rating: rating from 1 to 10; None where there is none.
        text: words of the judge.
        error: reason why there is no rating.
        tokens: number of tokens of the requests and replies, as the judge counted them.
    """

    rating: float | None = None
    text: str = ""
    error: str = ""
    tokens: int = 0


Arrived = Callable[[Inquiry, Judgment], None]
"""The type of a function that takes a judgment as soon as it is there."""


class Judge(Protocol):
    """A judge, behind an API or in memory."""

    @property
    def identity(self) -> Sequence[str]:
        """All of the judge that may change a rating: where it is, its name or weights, its replies."""
        ...

    @property
    def replies(self) -> ReplySettings:
        """Temperature and length of its replies."""
        ...

    def problems(self) -> Iterable[str]:
        """Return what stands in the way of asking, a sentence each; nothing is rated."""
        ...

    def rate(self, inquiries: Sequence[Inquiry], arrived: Arrived) -> None:
        """Ask everything; every inquiry arrives exactly once, as soon as it is answered or given up.

        Args:
            inquiries: the ratings that are wanted.
            arrived: function of an inquiry and its judgment, called once for each inquiry.
        """
        ...


def parse_rating(text: str) -> float | None:
    """Read `[[7]]`, else `[7]`; None where there is none, or it is not from 1 to 10."""
    for pattern in RATING:
        if found := pattern.search(text):
            rating = float(found.group(1))
            return rating if LOWEST <= rating <= HIGHEST else None
    return None


def insist(messages: Messages, reply: str) -> Messages:
    """Return the conversation to go on with after a reply without a usable rating."""
    return [*messages, {"role": "assistant", "content": reply or "..."}, {"role": "user", "content": INSIST}]


def without_system(messages: Messages) -> Messages:
    """Return the messages for a model that knows no system role: its text stands at the head of the user's first message."""
    if messages[0]["role"] != "system":
        return messages
    system, first, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def no_rating(reply: str) -> str:
    """Return why a judgment is missing after `TRIES` replies."""
    return f"no rating from 1 to 10 in {TRIES} tries; it last said {reply[:SHOWN]!r}"
