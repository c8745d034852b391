"""mmlu: multiple-choice questions from 57 subjects; knowledge that the model should have kept.

Source: Hendrycks et al., "Measuring Massive Multitask Language Understanding", ICLR 2021, arXiv:2009.03300; data
    cais/mmlu; prompt of lm-eval's task `mmlu`.
Deviations: none. The score is the mean over all questions (micro average), as lm-eval weighs it; the four categories and
    the subjects near WMDP's hazards are groups of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Literal

from pydantic import NonNegativeInt

from unlearnbench.api import (
    LETTERS,
    BenchmarkSpec,
    MultipleChoiceBenchmark,
    Question,
    UsageError,
    header,
    hookimpl,
    letter_prompt,
    read_choices,
    unknown_name,
)
from unlearnbench_benchmarks.mmlu_subjects import Subjects, find_subjects

# the authors' categories (hendrycks/test, categories.py); all other subjects are "other"
CATEGORIES = {
    "STEM": """abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science
        college_mathematics college_physics computer_security conceptual_physics electrical_engineering elementary_mathematics
        high_school_biology high_school_chemistry high_school_computer_science high_school_mathematics high_school_physics
        high_school_statistics machine_learning""",
    "humanities": """formal_logic high_school_european_history high_school_us_history high_school_world_history
        international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
        professional_law world_religions""",
    "social sciences": """econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics
        high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations
        security_studies sociology us_foreign_policy""",
}
# where the WMDP paper looks for damage beside the target (its appendix on MMLU subjects)
NEAR_DOMAINS = ("college_biology", "virology", "college_computer_science", "computer_security")


class Mmlu(MultipleChoiceBenchmark):
    """MMLU, letter-scored; parts are the subjects.

    Args:
        source: a data set in the schema of cais/mmlu (question, choices, answer; one config per subject, or the config `all`
            with the column subject), or the folder of Hendrycks' CSV files; the column fact, if there, names what a question
            asks about.
        subjects: subjects of the source; None takes all.
        shots: number of answered examples before each question: the first of the subject's dev split, in order.
        newlines: line breaks after the prompt's first line: 2 as in today's lm-eval, 1 as in the WMDP paper's runs.
        chat: true asks through the model's chat template, the examples as part of the one turn; off in the paper's runs.
    """

    role = "retain"

    def __init__(
        self,
        *,
        source: str = "cais/mmlu",
        subjects: list[str] | None = None,
        shots: NonNegativeInt = 0,
        newlines: Literal[1, 2] = 2,
        chat: bool = False,
    ) -> None:
        self.source, self.subjects, self.shots, self.newlines = source, subjects, shots, newlines
        self.chat = chat
        self._revision: str | None = None

    @cached_property
    def _available(self) -> Subjects:
        return find_subjects(self.source)

    def load_questions(self) -> Sequence[Question]:
        have = self._available.names
        for subject in self.subjects or ():
            if subject not in have:
                raise unknown_name(f"subject of {self.source}", subject, have)
        return [question for subject in self.subjects or have for question in self._subject(subject)]

    def _subject(self, subject: str) -> list[Question]:
        table = self._available.read(subject, "test")
        self._revision = table.revision
        opening = header(subject.replace("_", " "), self.newlines)
        examples = self._examples(subject)
        questions: list[Question] = []
        for index in range(len(table.rows)):
            stem, (choices, answer) = table.text(index, "question"), read_choices(table, index)
            letters = tuple(f" {letter}" for letter in LETTERS[: len(choices)])
            context = opening + "\n\n".join([*examples, letter_prompt(stem, choices)])
            fact = table.label(index, "fact", "")
            questions.append(Question(f"{subject}/{index}", subject, context, letters, answer, stem, tuple(choices), fact))
        return questions

    def _examples(self, subject: str) -> list[str]:
        """Return the first answered questions of the subject's dev split."""
        if not self.shots:
            return []
        dev = self._available.read(subject, "dev")
        if len(dev.rows) < self.shots:
            raise UsageError(
                f"mmlu.shots={self.shots} is more than the {len(dev.rows)} examples in the dev split of "
                f"{self.source}:{subject}."
            )
        examples: list[str] = []
        for index in range(self.shots):
            choices, answer = read_choices(dev, index)
            examples.append(f"{letter_prompt(dev.text(index, 'question'), choices)} {LETTERS[answer]}")
        return examples

    def groups(self) -> dict[str, list[str]]:
        have = self.parts()
        named: dict[str, list[str]] = {name: words.split() for name, words in CATEGORIES.items()}
        named["other"] = [subject for subject in have if not any(subject in members for members in named.values())]
        named["near domains"] = list(NEAR_DOMAINS)
        return {name: present for name, subjects in named.items() if (present := [s for s in have if s in subjects])}

    def revision(self) -> str | None:
        return self._revision


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [
        BenchmarkSpec(
            name="mmlu", factory=Mmlu, summary="knowledge of 57 subjects, multiple choice", source="arXiv:2009.03300, cais/mmlu"
        )
    ]
