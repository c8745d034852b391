"""mcq: your own multiple-choice questions, from any file with question, choices and answer.

Source: own; letters and cloze are scored as in lm-eval's `mmlu` and `mmlu_continuation`, the latter by mean
    log-likelihood per token.
Deviations: none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from unlearnbench.api import (
    LETTERS,
    BenchmarkSpec,
    MultipleChoiceBenchmark,
    Question,
    Table,
    UsageError,
    cloze_prompt,
    hookimpl,
    letter_prompt,
    read_table,
)


class MultipleChoice(MultipleChoiceBenchmark):
    """Questions from a file or data set.

    Args:
        source: jsonl, parquet, json or csv, or a data set, with the columns question, choices (a list), answer (the index
            of the right choice, or its letter) and, if there are several, part.
        scoring: `letter` shows the options and compares the letters; `cloze` shows the question only and compares the mean
            log-likelihood per token of each option's text.
        role: what a part measures that no topic claims: knowledge to `retain` or to `forget`.
        chat: ask through the model's chat template.
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
        return [self._question(index, row, table) for index, row in enumerate(table.rows)]

    def _question(self, index: int, row: dict[str, Any], table: Table) -> Question:
        choices = row["choices"]
        if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
            raise UsageError(f"{table.where(index)} needs a list of 2 to {len(LETTERS)} choices; got {choices!r}.")
        answer = _answer(row["answer"], len(choices))
        if answer is None:
            allowed = f"an index from 0 to {len(choices) - 1} or a letter"
            raise UsageError(f"{table.where(index)} needs as answer {allowed}; got {row['answer']!r}.")
        part = str(row.get("part") or "all")
        letters = self.scoring == "letter"
        return Question(
            id=f"{part}/{index}",
            part=part,
            context=letter_prompt(str(row["question"]), choices) if letters else cloze_prompt(str(row["question"])),
            continuations=tuple(f" {option}" for option in (LETTERS[: len(choices)] if letters else choices)),
            answer=answer,
        )

    def revision(self) -> str | None:
        return self._revision


def _answer(given: object, options: int) -> int | None:
    """The index of the right option, from an index or a letter."""
    if isinstance(given, str) and len(given) == 1 and given.upper() in LETTERS:
        given = LETTERS.index(given.upper())
    if isinstance(given, str) and given.isdigit():
        given = int(given)
    return given if isinstance(given, int) and 0 <= given < options else None


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [BenchmarkSpec(name="mcq", factory=MultipleChoice, summary="your own multiple-choice questions", source="your file")]
