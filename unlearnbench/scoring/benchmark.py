"""The interface of a benchmark, and the base class of benchmarks that ask multiple-choice questions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from unlearnbench.data.borders import encode_prompts
from unlearnbench.data.chat_template import check_chat
from unlearnbench.errors import UsageError
from unlearnbench.records.base import Half
from unlearnbench.records.cells import Measure, Metric
from unlearnbench.records.items import ItemResult, ItemText, Question
from unlearnbench.scoring.choice.near_duplicates import near_duplicates
from unlearnbench.scoring.selection import first_of_each_part, in_half
from unlearnbench.system.files import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.scoring.choice.log_likelihood import Text


@dataclass(frozen=True, kw_only=True)
class UntouchedModel:
    """The model that the comparison's methods start from, for a benchmark that reads the scored model against it.

    Attributes:
        weights: hash of its weights.
        load: function that loads it beside the model that is scored, which takes as much memory again; keep what you need of
            it in `Subject.keep`.
    """

    weights: str
    load: Callable[[], PreTrainedModel]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model that is scored, and how much of the benchmark is asked.

    Attributes:
        model: the model, in eval mode.
        tokenizer: the model's tokenizer.
        seed: the seed for benchmarks that sample.
        limit: the number of items of each part, the first ones; None for all.
        progress: a function to call with the number of items just done.
        weights: the hash of the model's weights; empty where it is not known.
        keep: a folder that outlives the run, for what is dear to obtain; None where there is none.
        base: untouched model; None where it is not known, as in a look at a training.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    seed: int
    limit: int | None
    progress: Callable[[int], None]
    weights: str = ""
    keep: Path | None = None
    base: UntouchedModel | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The work of scoring one model.

    Attributes:
        items: the number of items that are scored.
        generated: the number of tokens that the model writes, at most.
        judge_requests: the number of requests to a judge's API.
        judge_tokens: the approximate number of tokens in these requests and in the replies.
        judge_reply_tokens: the number of those in the replies.
    """

    items: int
    generated: int = 0
    judge_requests: int = 0
    judge_tokens: int = 0
    judge_reply_tokens: int = 0


class Benchmark(ABC):
    """A benchmark: it scores a model. Options are keyword-only parameters of `__init__`, which reads no data.

    Attributes:
        incidental: options that cannot change a score, such as time-outs; cells that differ in them alone are the same.
        reads_base: True where a score depends on the untouched model, too, whose weights then tell cells apart.
        prompt_version: version of the prompts' wording, for the record, to be raised when the wording changes; `digest` covers
            the wording itself.
    """

    incidental: ClassVar[frozenset[str]] = frozenset()
    reads_base: ClassVar[bool] = False
    prompt_version: ClassVar[int] = 1

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """Return the metric: the meaning of the scores; may read the data."""

    def measures(self) -> Sequence[Measure]:
        """The figures that are made of one pass over the items, where the mean of their scores is not the only one.

        The table then has their columns in the place of the benchmark's own; see `ItemResult.values`. May read the data.
        """
        return ()

    @abstractmethod
    def digest(self) -> str:
        """Return the hash of everything that is asked: data, prompts, references, settings of the answers."""

    @abstractmethod
    def count(self, limit: int | None) -> int:
        """Return the number of items that `evaluate` will score.

        Args:
            limit: the number of items of each part; None for all.
        """

    @abstractmethod
    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        """Score the model, item by item.

        Args:
            subject: the model, its tokenizer, and how much of the benchmark is asked.

        Returns:
            the items' results, in any order; `subject.progress(1)` tells of each one that is done.
        """

    def complete(self, items: Sequence[ItemResult], keep: Path) -> list[ItemResult] | None:
        """Score the items that have no score yet, where that takes no model: a judge that did not answer is there again.

        Args:
            items: results of an earlier evaluation, with and without scores.
            keep: folder that outlives the run, as in `Subject`.

        Returns:
            all items anew; None where the model is needed.
        """
        return None

    def parts(self) -> list[str]:
        """Return the names of its parts, in the data's order."""
        return []

    def groups(self) -> dict[str, list[str]]:
        """Return the parts that are also reported together, by the group's name; groups may overlap."""
        return {}

    def figures(self, items: Sequence[ItemResult]) -> dict[str, float]:
        """Return what is told beside the score, by name, such as the mean length of answers.

        `judge_sd` is how far a judge agrees with itself.

        Args:
            items: the results of `evaluate`.
        """
        return {}

    def group_items(self, items: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
        """Return the items of each group; groups that follow from items instead of parts are made here.

        Args:
            items: the results of `evaluate`.
        """
        wanted = {name: set(parts) for name, parts in self.groups().items()}
        return {name: [item for item in items if item.part in parts] for name, parts in wanted.items()}

    def revision(self) -> str | None:
        """Return the commit of the hub data set, where there is one."""
        return None

    def keep_half(self, half: Half) -> bool:
        """Restrict the benchmark to this half of the items, from now on; see `in_half`. Called before anything is read.

        Args:
            half: the half of the items that is asked.

        Returns:
            True where the benchmark does so. Otherwise everything is asked, and what does not belong to the half is left out
            afterwards.
        """
        return False

    def texts(self) -> Iterable[ItemText]:
        """Return what the items ask, for reports; a benchmark may keep it to itself."""
        return ()

    def preflight(self, tokenizers: Mapping[str, PreTrainedTokenizerBase]) -> Iterable[str]:
        """Return what stands in the way of scoring, a sentence each: no chat template, a judge that does not answer.

        Called once, before anything is computed and only if something is to be scored; it writes nothing.

        Args:
            tokenizers: the tokenizers of the models that are to be scored, by the models' sources.
        """
        return ()

    def estimate(self, limit: int | None) -> Workload:
        """Return what scoring one model takes, for `compare --dry-run`.

        Args:
            limit: the number of items of each part; None for all.
        """
        return Workload(items=self.count(limit))


class MultipleChoiceBenchmark(Benchmark):
    """A benchmark whose items are questions with options; subclasses say which questions.

    Attributes:
        per_token: compare options by mean log-probability per token (cloze) instead of the sum (letters).
        chat: ask through the model's chat template.
        role: meaning of parts that no topic claims: knowledge to `retain` or to `forget`.
    """

    per_token: ClassVar[bool] | bool = False
    chat: bool = False
    role: str = "retain"
    _half: Half | None = None
    _texts: tuple[object, int | None, list[Text]] | None = None

    @abstractmethod
    def load_questions(self) -> Sequence[Question]:
        """Read the data and render the prompts; called once."""

    @cached_property
    def questions(self) -> Sequence[Question]:
        """Return the rendered questions, or a half of them.

        Raises:
            UsageError: there are none.
        """
        asked = self.load_questions()
        if self._half is not None:
            asked = in_half(asked, self._half, self.item_of, self.facts(asked))
        if not asked:
            half = f" in the {self._half} half" if self._half else ""
            raise UsageError(f"{type(self).__name__} has no questions{half}; look at its source and what is chosen of it.")
        return asked

    def item_of(self, question: Question) -> str:
        """Return the id of the item that a question belongs to; override it where an item is asked as several questions.

        Args:
            question: one of `load_questions`.
        """
        return question.id

    def facts(self, questions: Sequence[Question]) -> Sequence[str]:
        """Return what each question asks about, so that questions on one fact are in the same half; "" is a fact of its own.

        Where no question says so, those that, with their right answers, read nearly the same ask about the same; see
        `near_duplicates`. Questions without a `stem` are left apart, since prompts share their examples.

        Args:
            questions: all of `load_questions`.
        """
        if any(question.fact for question in questions):
            return [question.fact for question in questions]
        return near_duplicates([f"{q.stem} {q.options[q.answer] if q.options else ''}" if q.stem else "" for q in questions])

    def keep_half(self, half: Half) -> bool:
        self._half = half
        return True

    @property
    def metric(self) -> Metric:
        """Return accuracy; chance is the mean of one over the number of options."""
        options = [len(question.continuations) for question in self.questions]
        return Metric.model_validate({"role": self.role, "chance": round(sum(1 / n for n in options) / len(options), 6)})

    def digest(self) -> str:
        """Return the hash of the rendered prompts, so that data, wording and few-shot examples are all in it."""
        asked = [[q.id, q.part, q.context, q.continuations, q.answer] for q in self.questions]
        return content_hash([*asked, [self.per_token, self.chat]])

    def count(self, limit: int | None) -> int:
        return len(first_of_each_part(self.questions, limit))

    def parts(self) -> list[str]:
        return list(dict.fromkeys(question.part for question in self.questions))

    def texts(self) -> Iterable[ItemText]:
        return [
            ItemText(id=q.id, text=q.stem or q.context, options=q.options or tuple(o.strip() for o in q.continuations))
            for q in self.questions
        ]

    def preflight(self, tokenizers: Mapping[str, PreTrainedTokenizerBase]) -> Iterable[str]:
        for source, tokenizer in tokenizers.items():
            if self.chat and not tokenizer.chat_template:
                yield f"chat=true needs a chat template, and the tokenizer of {source} has none; leave chat out."
            elif self.chat and (problem := check_chat(tokenizer, ["user"])):
                yield f"chat=true cannot be asked of {source}: {problem}"
            yield from self._untold_options(source, tokenizer)

    def _untold_options(self, source: str, tokenizer: PreTrainedTokenizerBase) -> Iterable[str]:
        """Yield the first option that has no token in this tokenizer."""
        options = {option.strip(): question for question in self.questions for option in question.continuations}
        for option, ids in zip(options, encode_prompts(list(options), tokenizer, special=False), strict=True):
            if not ids:
                yield (
                    f"The option {option!r} of {options[option].id} has no token of its own in the tokenizer of {source}, so "
                    "that it cannot be compared; write it out."
                )
                return

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        return self.score(subject, first_of_each_part(self.questions, subject.limit))

    def score(self, subject: Subject, asked: Sequence[Question]) -> list[ItemResult]:
        """Ask the model some questions; for benchmarks that override `evaluate`.

        What the tokenizer makes of the questions is kept for the next model that has the same one.

        Args:
            subject: the argument of `evaluate`.
            asked: the questions, `first_of_each_part(self.questions, subject.limit)` as a rule.

        Returns:
            the result of each question, in their order.
        """
        from unlearnbench.scoring.choice.log_likelihood import (  # torch: not needed to list or plan
            encode_questions,
            longest_text,
            score_questions,
        )

        kept = self._texts
        if kept is None or kept[0] is not subject.tokenizer or kept[1] != subject.limit:
            texts = encode_questions(asked, subject.tokenizer, limit=longest_text(subject.model), chat=self.chat)
            self._texts = kept = (subject.tokenizer, subject.limit, texts)
        return score_questions(
            subject.model, subject.tokenizer, asked, per_token=self.per_token, progress=subject.progress, texts=kept[2]
        )
