"""wmdp: multiple-choice questions on hazardous knowledge in biology, cybersecurity and chemistry; low is forgotten.

Source: Li et al., "The WMDP Benchmark", ICML 2024, arXiv:2403.03218; data cais/wmdp; prompt of lm-eval's task `wmdp`, and
    for cloze of its task `mmlu_continuation`.
Deviations: lm-eval marks higher as better, here the topics of a comparison say what is to be forgotten. Two more ways of
    asking, which a model that has only learnt to avoid a letter does not pass: `wmdp-shuffled` asks each question with its
    options in every cyclic order, `wmdp-cloze` compares the likelihood of each option's text without showing the options.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from unlearnbench.api import (
    LETTERS,
    BenchmarkSpec,
    ItemResult,
    ItemText,
    MultipleChoiceBenchmark,
    Question,
    Subject,
    cloze_prompt,
    first_of_each_part,
    header,
    hookimpl,
    letter_prompt,
    list_configs,
    read_choices,
    read_table,
    unknown_name,
)

TITLES = {"bio": "biology", "cyber": "cybersecurity", "chem": "chemistry"}
CONFIG = "wmdp-"


class Wmdp(MultipleChoiceBenchmark):
    """WMDP, letter-scored.

    Args:
        source: a data set in the schema of cais/wmdp (configs wmdp-bio, ...; question, choices, answer; the column fact, if
            there, names what a question asks about).
        parts: parts to ask: bio, cyber, chem; None takes all that the source has.
        newlines: line breaks between the prompt's first line and the question: 2 as in today's lm-eval, 1 as in the paper's
            runs.
        chat: true asks through the model's chat template; off in the paper's runs.
    """

    role = "forget"

    def __init__(
        self,
        *,
        source: str = "cais/wmdp",
        parts: list[str] | None = None,
        newlines: Literal[1, 2] = 2,
        chat: bool = False,
    ) -> None:
        self.source, self.wanted, self.newlines, self.chat = source, parts, newlines, chat
        self._revision: str | None = None

    def load_questions(self) -> Sequence[Question]:
        have = [config.removeprefix(CONFIG) for config in list_configs(self.source)]
        wanted = [part for part in have if part in TITLES] if self.wanted is None else self.wanted
        if not wanted or not set(wanted) <= set(have):
            missing = next((part for part in wanted if part not in have), ", ".join(TITLES))
            raise unknown_name(f"part of {self.source}", missing, have, "Each is a config named wmdp-PART.")
        return [question for part in wanted for question in self._part(part)]

    def _part(self, part: str) -> Iterable[Question]:
        table = read_table(f"{self.source}:{CONFIG}{part}", default_split="test", columns=("question", "choices", "answer"))
        self._revision = table.revision
        for index in range(len(table.rows)):
            question = table.text(index, "question")
            choices, answer = read_choices(table, index)
            for asked in self.ask(f"{part}/{index}", part, question, choices, answer):
                yield replace(asked, fact=table.label(index, "fact", ""))

    def ask(self, name: str, part: str, question: str, choices: list[str], answer: int) -> list[Question]:
        """Return the questions that one item becomes."""
        return [self._lettered(name, part, question, choices, answer)]

    def _lettered(self, name: str, part: str, question: str, choices: list[str], answer: int) -> Question:
        return Question(
            id=name,
            part=part,
            context=header(TITLES.get(part, part), self.newlines) + letter_prompt(question, choices),
            continuations=tuple(f" {letter}" for letter in LETTERS[: len(choices)]),
            answer=answer,
            stem=question,
            options=tuple(choices),
        )

    def revision(self) -> str | None:
        return self._revision


class WmdpShuffled(Wmdp):
    """WMDP with the options of each question in every cyclic order; an item counts by its mean over the orders.

    The choice kept with an item is the option with the highest mean log-probability, whatever its letter.
    """

    def ask(self, name: str, part: str, question: str, choices: list[str], answer: int) -> list[Question]:
        return [
            self._lettered(
                f"{name}/{shift}", part, question, choices[shift:] + choices[:shift], (answer - shift) % len(choices)
            )
            for shift in range(len(choices))
        ]

    def item_of(self, question: Question) -> str:
        return question.id.rpartition("/")[0]

    def count(self, limit: int | None) -> int:
        return len(first_of_each_part(self._items(), limit))

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        items = first_of_each_part(self._items(), subject.limit)
        asked = [question for item in items for question in item.orders]
        reported = 0

        def progress(count: int) -> None:
            """Report items as done when all their orders are."""
            nonlocal reported
            before, reported = reported * len(items) // len(asked), reported + count
            subject.progress(reported * len(items) // len(asked) - before)

        done = iter(self.score(replace(subject, progress=progress), asked))
        return [item.merge([next(done) for _ in item.orders]) for item in items]

    def texts(self) -> Iterable[ItemText]:
        return [ItemText(id=item.name, text=item.orders[0].stem, options=item.orders[0].options) for item in self._items()]

    def _items(self) -> list[_Item]:
        """Group questions that differ only in the order of their options."""
        items: dict[str, list[Question]] = {}
        for question in self.questions:
            items.setdefault(self.item_of(question), []).append(question)
        return [_Item(name, orders) for name, orders in items.items()]


class _Item:
    """A question in all its orders."""

    def __init__(self, name: str, orders: Sequence[Question]) -> None:
        self.name, self.orders, self.part = name, orders, orders[0].part

    def merge(self, results: Sequence[ItemResult]) -> ItemResult:
        """Merge the orders' results into one, options in the data's own order."""
        count = len(results)
        logprobs = tuple(
            sum(r.logprobs[(option - shift) % count] for shift, r in enumerate(results)) / count for option in range(count)
        )
        return ItemResult(
            id=self.name,
            part=self.part,
            score=sum(result.score for result in results) / count,
            choice=max(range(count), key=logprobs.__getitem__),
            answer=self.orders[0].answer,
            logprobs=logprobs,
            tokens=max(result.tokens for result in results),
            truncated=any(result.truncated for result in results),
        )


class WmdpCloze(Wmdp):
    """WMDP by the mean log-likelihood per token of each option's text; the options are not shown."""

    per_token = True

    def ask(self, name: str, part: str, question: str, choices: list[str], answer: int) -> list[Question]:
        continuations = tuple(f" {choice}" for choice in choices)
        return [Question(name, part, cloze_prompt(question), continuations, answer, question, tuple(choices))]


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    source = "arXiv:2403.03218, cais/wmdp"
    return [
        BenchmarkSpec(name="wmdp", factory=Wmdp, summary="hazardous knowledge, multiple choice", source=source),
        BenchmarkSpec(
            name="wmdp-shuffled",
            factory=WmdpShuffled,
            summary="hazardous knowledge, each question with its options in every cyclic order",
            source=source,
        ),
        BenchmarkSpec(
            name="wmdp-cloze",
            factory=WmdpCloze,
            summary="hazardous knowledge, by the likelihood of the answers' texts",
            source=source,
        ),
    ]
