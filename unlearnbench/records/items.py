"""The items of a benchmark: a question as a model sees it, its text for people, and its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Question:
    """One multiple-choice item as the model sees it.

    Attributes:
        id: id of the item, stable across runs.
        part: part of the benchmark that it belongs to.
        context: prompt.
        continuations: continuations, one per option, each with the space that separates it from the context.
        answer: index of the right option.
        stem: question as a person reads it; empty where the context is all there is.
        options: texts of the options; empty where the continuations are.
        fact: name of what it asks about, such as an entity; questions on the same fact are never divided between two halves.
            Empty where nothing is known of it.
    """

    id: str
    part: str
    context: str
    continuations: tuple[str, ...]
    answer: int
    stem: str = ""
    options: tuple[str, ...] = ()
    fact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemText:
    """The question of one item, for people to read: shown in reports, never scored.

    Attributes:
        id: id of the item that it belongs to.
        text: question, or the user's turn.
        options: texts to choose from; empty where the model writes its answer.
        reference: answer to compare with, where there is one.
    """

    id: str
    text: str
    options: tuple[str, ...] = ()
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemResult:
    """The result of one item of a benchmark.

    Attributes:
        id: id of the item, stable across runs: part and position in the data. Items called `ID/turn-1`, `ID/turn-2` are one
            conversation, and intervals resample it as a whole.
        part: part of the benchmark: bio, virology, turn 2.
        score: summand of the mean: 1.0 or 0.0 for a choice, points for a rating.
        choice: index of the chosen option; None where nothing is chosen.
        answer: index of the right option; None where there is none.
        logprobs: log-probabilities in nats, one per option: the sum over its tokens, or the mean per token for cloze scoring.
        tokens: length of the longest scored sequence.
        truncated: true where the context was cut from the left to fit the model.
        text: the model's answer, where it wrote one.
        question: the question, where the model wrote an answer.
        ratings: a judge's points, where one was asked; the score is their mean.
        judgment: the judge's words.
        values: further values of the item, by the name that a `Measure` reads; an item that lacks the name does not count in
            that measure.
        error: the reason for a missing score, which is then NaN and counts in no mean, or for missing ratings.
    """

    id: str
    part: str
    score: float
    choice: int | None = None
    answer: int | None = None
    logprobs: tuple[float, ...] = ()
    tokens: int = 0
    truncated: bool = False
    text: str = ""
    question: str = ""
    ratings: tuple[float, ...] = ()
    judgment: str = ""
    values: Mapping[str, float] = field(default_factory=dict[str, float])
    error: str = ""

    @property
    def scored(self) -> bool:
        """Return whether it has a score."""
        return not math.isnan(self.score)


TURN = "/turn-"  # items called `ID/turn-1`, `ID/turn-2` belong to one conversation
