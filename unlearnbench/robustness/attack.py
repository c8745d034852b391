"""The interface of an attack, and the state of a model under one."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from unlearnbench.records.base import Options
from unlearnbench.scoring.benchmark import Benchmark, MultipleChoiceBenchmark, Subject

if TYPE_CHECKING:
    from unlearnbench.records.items import ItemResult, Question
    from unlearnbench.robustness.victim import Victim


@dataclass(frozen=True, kw_only=True)
class AttackWork:
    """The work of an attack on one model, over all trials, for `--dry-run`.

    Attributes:
        states: number of times that the questions are asked.
        updates: number of optimizer updates.
    """

    states: int
    updates: int = 0


class Attacked:
    """A model under an attack; how it answers is `evaluate`, which an attack on activations or prompts overrides.

    Attributes:
        figures: figures that are told beside the scores, by name; `evaluate` may set them.

    Args:
        at: number of the updates that the attack has made, or of the block that it reads; None where nothing is counted.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.figures: dict[str, float] = {}

    def evaluate(self, benchmark: Benchmark, subject: Subject, name: str) -> Iterable[ItemResult]:
        """Return the result of each of the benchmark's items, their ids kept; by default the model as it now is answers.

        Args:
            benchmark: the benchmark, or a part of its questions.
            subject: the model as it now is, and its tokenizer.
            name: name of the benchmark in the comparison, as in `Victim.questions`.
        """
        return benchmark.evaluate(subject)

    def ask(self, benchmark: MultipleChoiceBenchmark, subject: Subject, questions: Sequence[Question]) -> list[ItemResult]:
        """Return the result of each question, such as the benchmark's own in other words; for overriding `evaluate`.

        Args:
            benchmark: benchmark that they are asked for.
            subject: the model as it now is, and its tokenizer.
            questions: questions to ask.
        """
        fresh = copy.copy(benchmark)
        fresh._texts = None  # pyright: ignore[reportPrivateUsage] - what it made of its own questions
        return fresh.score(subject, questions)


class Attack(ABC):
    """An attack on an unlearned model. Options are keyword-only parameters of `__init__`.

    It is carried out on every row alike, on the base and on the models that never knew: with the same trials, the same updates
    and the same questions. Nothing that it finds is kept: no changed weights, no strings, no answers in words.

    Attributes:
        axis: steps that are counted along the attack, for curves: `update`, `block`; empty where nothing is.
        random: True where chance has a part in it: it is then carried out once per seed on models that have no seeds, too.
        cross_fitted: True where it learns from answered questions and makes no choice: each half of the questions is answered
            by what was learnt from the other.
        teaches: True where it shows texts on the topic, where its options decide that; None where its spec does.
    """

    axis: ClassVar[str] = ""
    random: ClassVar[bool] = False
    cross_fitted: ClassVar[bool] = False
    teaches: bool | None = None

    def trials(self) -> Sequence[Options]:
        """Return the settings to try, the same for every model; one trial without settings by default."""
        return ({},)

    def supports(self, benchmark: Benchmark) -> str | None:
        """Return why the attack cannot be carried out on a benchmark's questions; None where it can.

        Args:
            benchmark: the benchmark.
        """
        if isinstance(benchmark, MultipleChoiceBenchmark) and not benchmark.measures():
            return None
        return "its questions have no options to choose from"

    def estimate(self, blocks: int) -> AttackWork:
        """Return the work that it takes on one model; by default each trial is scored once.

        Args:
            blocks: number of the model's decoder blocks.
        """
        return AttackWork(states=len(self.trials()))

    @abstractmethod
    def carry_out(self, victim: Victim, trial: Options) -> Iterator[Attacked]:
        """Carry one trial out, yielding the attacked model each time that it is to be scored.

        What the model is when it is yielded counts, until the next step. The victim is put back afterwards, its weights,
        hooks and modes; an attack that changes anything else puts it back itself, in a `finally`.

        Args:
            victim: the model, its tokenizer, and the questions and texts that an attacker may use.
            trial: one of `trials`.
        """
