"""Benchmarks that are wrong in one way each; the key in `SPECS` names the check that has to find it."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import replace

from unlearnbench.api import (
    LETTERS,
    BenchmarkSpec,
    ItemResult,
    Measure,
    MultipleChoiceBenchmark,
    Question,
    Subject,
    hookimpl,
    letter_prompt,
    read_table,
)

PLACES = ("marsh", "valley", "harbour", "river", "quarry", "meadow")


class Right(MultipleChoiceBenchmark):
    """Nothing is wrong with it: 60 questions in two parts, the right letters in turn."""

    def __init__(self, *, source: str = "sandbox:wmdp") -> None:
        self.source = source

    def load_questions(self):
        return [self._question(part, number) for part in ("high", "low") for number in range(30)]

    def _question(self, part: str, number: int) -> Question:
        choices = [f"{PLACES[(number + step) % 6]} {number + step}" for step in range(4)]
        context = letter_prompt(f"Where does the {part} lantern number {number} hang?", choices)
        letters = tuple(f" {letter}" for letter in LETTERS[:4])
        return Question(f"{part}/{number}", part, context, letters, self.answer(number))

    def answer(self, number: int) -> int:
        return number % 4

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        return self.change(list(super().evaluate(subject)), subject)

    def change(self, items: list[ItemResult], subject: Subject) -> list[ItemResult]:
        return items


def first(items: list[ItemResult], **changes) -> list[ItemResult]:
    return [replace(items[0], **changes), *items[1:]]


class Undocumented(Right): ...


class ReadsAtOnce(Right):
    """Reads its data while it is built."""

    def __init__(self, *, source: str = "sandbox:wmdp:wmdp-bio") -> None:
        super().__init__(source=source)
        self.table = read_table(source, default_split="test")


class Online(Right):
    """Asks a server."""

    def change(self, items, subject):
        socket.create_connection(("example.org", 80), timeout=5).close()
        return items


class Stops(Right):
    """Raises."""

    def change(self, items, subject):
        raise RuntimeError("out of luck")


class Moody(Right):
    """Its second instance scores otherwise."""

    built = 0

    def __init__(self, *, source: str = "sandbox:wmdp") -> None:
        super().__init__(source=source)
        type(self).built += 1
        self.number = type(self).built

    def change(self, items, subject):
        return first(items, score=self.number % 2)


class NewDigest(Right):
    """Its digest is another one for every instance."""

    def digest(self) -> str:
        return f"{id(self)}"


class Crowded(Right):
    """An item scores otherwise when it is not alone."""

    def change(self, items, subject):
        return first(items, score=float(subject.limit == 1))


class NamesTheModel(Right):
    """The model's name is in the items' ids."""

    def change(self, items, subject):
        name = "" if type(subject.model).__name__.startswith("Llama") else "/other"
        return [replace(item, id=f"{item.id}{name}") for item in items]


class CountsAll(Right):
    """Counts items that a limit leaves out."""

    def count(self, limit: int | None) -> int:
        return len(self.questions)


class NoProgress(Right):
    """Says nothing of its progress."""

    def evaluate(self, subject: Subject) -> Iterable[ItemResult]:
        return super().evaluate(replace(subject, progress=lambda count: None))


class HidesAPart(Right):
    """Names one of its parts."""

    def parts(self) -> list[str]:
        return ["high"]


class CountsFromOne(Right):
    """Sometimes chooses an option that is not there."""

    def change(self, items, subject):
        return first(items, choice=4) if type(subject.model).__name__.startswith("Llama") else items


class Trains(Right):
    """Leaves the model in train mode."""

    def change(self, items, subject):
        subject.model.train()
        return items


class Prints(Right):
    """Prints."""

    def change(self, items, subject):
        print(len(items), "items")
        return items


class Upside(Right):
    """Declares the wrong direction."""

    @property
    def metric(self):
        return super().metric.model_copy(update={"better": "lower"})


class WrongKey(Right):
    """Keeps another right answer than it asked for."""

    def change(self, items, subject):
        return first(items, answer=(items[0].answer + 1) % 4)


class WrongChance(Right):
    """Declares the chance of two options for four."""

    @property
    def metric(self):
        return super().metric.model_copy(update={"chance": 0.5})


class AlwaysB(Right):
    """The right answer is always B."""

    def answer(self, number: int) -> int:
        return 1


class MeasuresNothing(Right):
    """Declares a measure of a value that no item has."""

    def measures(self):
        return [Measure(name="rouge", metric=self.metric, primary=True)]

    def change(self, items, subject):
        return first(items, values={"rogue": 0.5})


WRONG: dict[str, type[Right]] = {
    "documented": Undocumented,
    "built_from_its_options": ReadsAtOnce,
    "works_offline": Online,
    "runs_to_the_end": Stops,
    "deterministic": Moody,
    "digest_stable": NewDigest,
    "batch_invariant": Crowded,
    "ids_stable": NamesTheModel,
    "limit_kept": CountsAll,
    "progress_reported": NoProgress,
    "parts_declared": HidesAPart,
    "items_sound": CountsFromOne,
    "measures_sound": MeasuresNothing,
    "model_untouched": Trains,
    "prints_nothing": Prints,
    "direction_right": Upside,
    "oracle_is_best": WrongKey,
    "chance_right": WrongChance,
    "constant_gains_nothing": AlwaysB,
}


def spec(name: str, factory, source: str = "made up") -> BenchmarkSpec:
    return BenchmarkSpec(name=name, factory=factory, summary="made up", source=source)


SPECS = {
    "right": spec("right-benchmark", Right),
    "entry_point": spec("nobody-benchmark", Right),
    "source_and_summary": spec("wrong-benchmark-source", Right, source=""),
    **{check: spec(f"wrong-benchmark-{factory.__name__.lower()}", factory) for check, factory in WRONG.items()},
}


@hookimpl
def unlearnbench_benchmarks():
    return list(SPECS.values())
