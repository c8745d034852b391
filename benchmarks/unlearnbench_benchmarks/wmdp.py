"""wmdp: multiple-choice questions on hazardous knowledge in biology, cybersecurity and chemistry; low is forgotten.

Source: Li et al., "The WMDP Benchmark", ICML 2024, arXiv:2403.03218; data cais/wmdp; prompt of lm-eval's task `wmdp`.
Deviations: none; lm-eval marks higher as better, here the topics of a comparison say what is to be forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from unlearnbench.api import (
    LETTERS,
    BenchmarkSpec,
    MultipleChoiceBenchmark,
    Question,
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
        source: a data set in the schema of cais/wmdp (configs wmdp-bio, ...; question, choices, answer).
        parts: of bio, cyber, chem; None takes all that the source has.
        newlines: 2 between the prompt's first line and the question as in today's lm-eval, 1 as in the paper's runs.
    """

    role = "forget"

    def __init__(self, *, source: str = "cais/wmdp", parts: list[str] | None = None, newlines: Literal[1, 2] = 2) -> None:
        self.source, self.wanted, self.newlines = source, parts, newlines
        self._revision: str | None = None

    def load_questions(self) -> Sequence[Question]:
        have = [config.removeprefix(CONFIG) for config in list_configs(self.source)]
        wanted = [part for part in have if part in TITLES] if self.wanted is None else self.wanted
        if not wanted or not set(wanted) <= set(have):
            missing = next((part for part in wanted if part not in have), ", ".join(TITLES))
            raise unknown_name(f"part of {self.source}", missing, have, "Each is a config named wmdp-PART.")
        return [question for part in wanted for question in self._part(part)]

    def _part(self, part: str) -> list[Question]:
        table = read_table(f"{self.source}:{CONFIG}{part}", default_split="test", columns=("question", "choices", "answer"))
        self._revision = table.revision
        opening = header(TITLES.get(part, part), self.newlines)
        questions: list[Question] = []
        for index, row in enumerate(table.rows):
            choices, answer = read_choices(table, index)
            letters = tuple(f" {letter}" for letter in LETTERS[: len(choices)])
            context = opening + letter_prompt(str(row["question"]), choices)
            questions.append(Question(f"{part}/{index}", part, context, letters, answer))
        return questions

    def revision(self) -> str | None:
        return self._revision


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [
        BenchmarkSpec(
            name="wmdp", factory=Wmdp, summary="hazardous knowledge, multiple choice", source="arXiv:2403.03218, cais/wmdp"
        )
    ]
