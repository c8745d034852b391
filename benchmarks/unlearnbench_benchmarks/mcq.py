"""mcq: your own multiple-choice questions, from any file with question, choices and answer.

Source: own; letters and cloze are scored as in lm-eval's `mmlu` and `mmlu_continuation`, the latter by mean
    log-likelihood per token.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unlearnbench.api import (
    LETTERS,
    BenchmarkSpec,
    MultipleChoiceBenchmark,
    Question,
    Table,
    cloze_prompt,
    hookimpl,
    letter_prompt,
    read_choices,
    read_table,
)


class MultipleChoice(MultipleChoiceBenchmark):
    """Questions from a file or data set.

    Args:
        source: jsonl, json or parquet, or a data set, with the columns question, choices (a list), answer (the index
            of the right choice, or its letter) and, if there are several, part.
        scoring: way to score: `letter` shows the options and compares the letters; `cloze` shows the question only and compares
            the mean log-likelihood per token of each option's text.
        role: role of parts that no topic claims: knowledge to `retain` or to `forget`.
        chat: true asks through the model's chat template.
    """

    def __init__(
        self,
        *,
        source: str,
        scoring: Literal["letter", "cloze"] = "letter",
        role: Literal["forget", "retain"] = "retain",
        chat: bool = False,
    ) -> None:
        self.source, self.scoring, self.role, self.chat = source, scoring, role, chat
        self.per_token = scoring == "cloze"
        self._revision: str | None = None

    def load_questions(self) -> Sequence[Question]:
        table = read_table(self.source, default_split=None, columns=("question", "choices", "answer"))
        self._revision = table.revision
        return [self._question(index, table) for index in range(len(table.rows))]

    def _question(self, index: int, table: Table) -> Question:
        choices, answer = read_choices(table, index)
        question, part = table.text(index, "question"), table.label(index, "part", "all")
        letters = self.scoring == "letter"
        return Question(
            id=f"{part}/{index}",
            part=part,
            context=letter_prompt(question, choices) if letters else cloze_prompt(question),
            continuations=tuple(f" {option}" for option in (LETTERS[: len(choices)] if letters else choices)),
            answer=answer,
            stem=question,
            options=tuple(choices),
            fact=table.label(index, "fact", ""),
        )

    def revision(self) -> str | None:
        return self._revision


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [BenchmarkSpec(name="mcq", factory=MultipleChoice, summary="your own multiple-choice questions", source="your file")]
