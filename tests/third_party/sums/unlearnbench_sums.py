"""sums: what is one number plus another.

Source: made up.
Deviations: none.
"""

from collections.abc import Sequence

from pydantic import PositiveInt

from unlearnbench.api import LETTERS, BenchmarkSpec, MultipleChoiceBenchmark, Question, hookimpl, letter_prompt


class Sums(MultipleChoiceBenchmark):
    """Sums of two numbers, four choices, in two parts.

    Args:
        questions: how many in each part.
    """

    def __init__(self, *, questions: PositiveInt = 40) -> None:
        self.number = questions

    def load_questions(self) -> Sequence[Question]:
        return [self._ask(part, number) for part in ("small", "large") for number in range(self.number)]

    def _ask(self, part: str, number: int) -> Question:
        first, second = (number, 3) if part == "small" else (10 * number, 30)
        answer = number % 4  # every letter is right equally often
        choices = [str(first + second + place - answer) for place in range(4)]
        letters = tuple(f" {letter}" for letter in LETTERS[:4])
        return Question(f"{part}/{number}", part, letter_prompt(f"What is {first} plus {second}?", choices), letters, answer)


@hookimpl
def unlearnbench_benchmarks() -> list[BenchmarkSpec]:
    return [BenchmarkSpec(name="sums", factory=Sums, summary="sums of two numbers, multiple choice", source="made up")]
