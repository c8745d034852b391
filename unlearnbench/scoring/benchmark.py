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
from unlearnbench.records.cells import Metric
from unlearnbench.records.items import ItemResult, ItemText, Question
from unlearnbench.scoring.selection import first_of_each_part, in_half
from unlearnbench.system.files import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.scoring.choice.log_likelihood import Text


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The model to score, and the part of the benchmark to score it on.

    Attributes:
        model: model in eval mode.
        tokenizer: tokenizer of the model.
        seed: seed of benchmarks that sample.
        limit: number of items scored in each part, from the first on; None for all.
        progress: function to call with the number of items just done.
        weights: hash of the model's weights; empty where it is not known.
        keep: folder that outlives the run, for results that are costly to obtain; None where there is none.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    seed: int
    limit: int | None
    progress: Callable[[int], None]
    weights: str = ""
    keep: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The work of scoring one model.

    Attributes:
        items: number of items that are scored.
        generated: largest number of tokens that the model writes.
        judge_requests: number of requests to a judge behind an API.
        judge_tokens: approximate number of tokens in these requests and in the replies.
        judge_reply_tokens: number of these tokens that are in the replies.
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
        prompt_version: version of the wording, for the record; count it up when the wording changes; `digest` covers it all the
            same.
    """

    incidental: ClassVar[frozenset[str]] = frozenset()
    prompt_version: ClassVar[int] = 1

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """Return the metric: the meaning of the scores; may read the data."""

    @abstractmethod
    def digest(self) -> str:
        """Return the hash of everything that is asked: data, prompts, references."""

    @abstractmethod
    def count(self, limit: int | None) -> int:
        """Return the number of items that `evaluate` will score."""

    @abstractmethod
    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        """Score the model, item by item."""

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
        """Return figures beside the score, by name: length of answers; as `judge_sd` the spread of the judge's ratings of one
        answer.
        """
        return {}

    def group_items(self, items: Sequence[ItemResult]) -> dict[str, list[ItemResult]]:
        """Return the items of each group; groups that follow from items instead of parts are made here."""
        wanted = {name: set(parts) for name, parts in self.groups().items()}
        return {name: [item for item in items if item.part in parts] for name, parts in wanted.items()}

    def revision(self) -> str | None:
        """Return the commit of the hub data set, where there is one."""
        return None

    def keep_half(self, half: Half) -> bool:
        """Restrict the benchmark to this half of the items, from now on; see `in_half`. Called before anything is read.

        Returns:
            whether it does. Otherwise everything is asked, and what does not belong to the half is left out afterwards.
        """
        return False

    def texts(self) -> Iterable[ItemText]:
        """Return the items' questions, for reports; a benchmark may keep them to itself."""
        return ()

    def preflight(self, tokenizers: Mapping[str, PreTrainedTokenizerBase]) -> Iterable[str]:
        """Return the problems that prevent scoring, a sentence each: a model without a chat template, a judge that does not
        answer.

        Called once, before anything is computed and only if something is to be scored; it writes nothing.

        Args:
            tokenizers: tokenizers of the models that are to be scored, by their source.
        """
        return ()

    def estimate(self, limit: int | None) -> Workload:
        """Return the work of scoring one model, for `compare --dry-run`."""
        return Workload(items=self.count(limit))


class MultipleChoiceBenchmark(Benchmark):
    """A benchmark whose items are questions with options; subclasses say which questions.

    Attributes:
        per_token: True compares options by mean log-probability per token (cloze) instead of the sum (letters).
        chat: True asks through the model's chat template.
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
        asked = in_half(self.load_questions(), self._half, self.item_of)
        if not asked:
            half = f" in the {self._half} half" if self._half else ""
            raise UsageError(f"{type(self).__name__} has no questions{half}; look at its source and what is chosen of it.")
        return asked

    def item_of(self, question: Question) -> str:
        """Return the id of the item that a question belongs to, where an item is asked as several questions."""
        return question.id

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
        """Ask the model; the tokenised questions are kept for the next model that has the same tokenizer."""
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
