"""What a benchmark is, and the base class of those that ask multiple-choice questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

from unlearnbench.files import content_hash
from unlearnbench.records import ItemResult, Metric, Question

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is scored, and how much of the benchmark.

    Attributes:
        model: in eval mode.
        tokenizer: of the model.
        seed: for benchmarks that sample.
        limit: the first so many items of each part; None for all.
        progress: call it with the number of items just done.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    seed: int
    limit: int | None
    progress: Callable[[int], None]


class Benchmark(ABC):
    """Something that scores a model. Options are keyword-only parameters of `__init__`, which reads no data."""

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """What the scores mean; may read the data."""

    @abstractmethod
    def digest(self) -> str:
        """Hash of everything that is asked: data, prompts, references."""

    @abstractmethod
    def count(self, limit: int | None) -> int:
        """How many items `evaluate` will score."""

    @abstractmethod
    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        """Score the model, item by item."""

    def parts(self) -> list[str]:
        """The names of its parts, in the data's order."""
        return []

    def revision(self) -> str | None:
        """Commit of the hub data set, where there is one."""
        return None


class MultipleChoiceBenchmark(Benchmark):
    """A benchmark whose items are questions with options; subclasses say which questions.

    Attributes:
        per_token: compare options by mean log-probability per token (cloze) instead of the sum (letters).
    """

    per_token: ClassVar[bool] | bool = False
    role: str = "retain"

    @abstractmethod
    def load_questions(self) -> Sequence[Question]:
        """Read the data and render the prompts; called once."""

    @cached_property
    def questions(self) -> Sequence[Question]:
        """The rendered questions."""
        return self.load_questions()

    @property
    def metric(self) -> Metric:
        """Accuracy; chance is the mean of one over the number of options."""
        options = [len(question.continuations) for question in self.questions]
        return Metric.model_validate({"role": self.role, "chance": round(sum(1 / n for n in options) / len(options), 6)})

    def digest(self) -> str:
        """Hash of the rendered prompts, so that data, wording and few-shot examples are all in it."""
        return content_hash([[q.id, q.part, q.context, q.continuations, q.answer] for q in self.questions] + [[self.per_token]])

    def count(self, limit: int | None) -> int:
        return len(first_of_each_part(self.questions, limit))

    def parts(self) -> list[str]:
        return list(dict.fromkeys(question.part for question in self.questions))

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        from unlearnbench.choice import score_questions  # torch: not needed to list or plan

        asked = first_of_each_part(self.questions, subject.limit)
        return score_questions(subject.model, subject.tokenizer, asked, per_token=self.per_token, progress=subject.progress)


class HasPart(Protocol):
    """Anything that belongs to a part of a benchmark."""

    @property
    def part(self) -> str:
        """The part's name."""
        ...


AnyItem = TypeVar("AnyItem", bound=HasPart)


def first_of_each_part(items: Sequence[AnyItem], limit: int | None) -> Sequence[AnyItem]:
    """The first `limit` items of each part, in order; all of them where the limit is None."""
    if limit is None:
        return items
    seen: Counter[str] = Counter()
    kept: list[AnyItem] = []
    for item in items:
        seen[item.part] += 1
        if seen[item.part] <= limit:
            kept.append(item)
    return kept
