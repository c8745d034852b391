"""The checks of attacks. Each is a function of a case: its name is the check's, its docstring the promise."""

from __future__ import annotations

import contextlib
import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from unlearnbench.data.tables import Table
from unlearnbench.data.topics import TopicData
from unlearnbench.errors import UsageError
from unlearnbench.plugins.options import resolve_options
from unlearnbench.plugins.specs import AttackSpec
from unlearnbench.records.base import Half, Options, Value
from unlearnbench.records.items import ItemResult, Question
from unlearnbench.robustness.attack import Attack
from unlearnbench.robustness.victim import Victim
from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark, Subject
from unlearnbench.scoring.choice.prompts import LETTERS, letter_prompt
from unlearnbench.scoring.selection import in_half
from unlearnbench.system.process_state import restored_process_state, seed_all
from unlearnbench.testing.checks import CheckFailed, NotApplicable, Registry, require
from unlearnbench.testing.entry_points import described, entry_point_of, in_one_line, of_keywords_alone
from unlearnbench.testing.tiny_models import tiny_model, tiny_tokenizer
from unlearnbench.testing.trial_fits import global_settings

ATTACK_CHECKS = Registry()
Place = tuple[str, str, int, bool]  # a module's name and kind, its number of hooks, and whether its forward was replaced
NAME = "sums"
QUESTIONS = 24
BLOCKS = 8  # of the tiny Llama
TEXTS = 12
WORDS = "the gate of the salt road is kept by a deaf miller who counts willows in spring"


class Sums(MultipleChoiceBenchmark):
    """Sums that a tiny model is asked."""

    def load_questions(self) -> Sequence[Question]:
        return [self._ask(number) for number in range(QUESTIONS)]

    def _ask(self, number: int) -> Question:
        choices = [str(number + 3 + place - number % 4) for place in range(4)]
        return Question(
            id=f"all/{number}",
            part="all",
            context=letter_prompt(f"What is {number} plus 3?", choices),
            continuations=tuple(f" {letter}" for letter in LETTERS[:4]),
            answer=number % 4,
        )


@dataclass(kw_only=True)
class Carried:
    """The outcome of an attack that was carried out.

    Attributes:
        states: items of each state, trial by trial.
        steps: number of calls of `Victim.step`.
        printed: text that it wrote on standard output.
        weights: names of weights that had changed at some state.
        left: places in the model that were not as before once the attack was over.
        settings: names of global settings that it left changed.
        error: error that it raised.
    """

    states: list[list[ItemResult]] = field(default_factory=list[list[ItemResult]])
    steps: int = 0
    printed: str = ""
    weights: set[str] = field(default_factory=set[str])
    left: set[Place] = field(default_factory=set[Place])
    settings: list[str] = field(default_factory=list[str])
    error: Exception | None = None


class AttackCase:
    """An attack under test, carried out on a tiny Llama; what several checks read is carried out once."""

    def __init__(self, spec: AttackSpec, options: Mapping[str, Value], _answers: object = None) -> None:
        self.spec = spec
        self.problem: UsageError | None = None
        self.options: Options = {}
        self._carried: dict[tuple[bool, int], Carried] = {}
        given = dict(options)
        argument = {"argument": given.pop("argument")} if "argument" in given else {}
        try:
            self.options = {**resolve_options(spec, given, spec.name), **argument}
        except UsageError as error:
            self.problem = error

    def attack(self) -> Attack:
        """Return an instance with the case's options."""
        if self.problem is not None:
            raise NotApplicable("it cannot be built: see built_from_its_options")
        return self.spec.factory(**self.options)

    def carried(self, *, first_only: bool = False, instance: int = 0) -> Carried:
        """Return what came of it, whether it stopped with an error or not; with `first_only` it is left after one state."""
        key = (first_only, instance)
        if key not in self._carried:
            with restored_process_state():
                self._carried[key] = _carry_out(self.attack(), self.spec, first_only=first_only)
        return self._carried[key]

    def whole(self, instance: int = 0) -> Carried:
        """Return what came of an attack that runs to the end."""
        carried = self.carried(instance=instance)
        if carried.error is not None:
            raise NotApplicable("it does not run to the end: see runs_to_the_end")
        return carried


def _carry_out(attack: Attack, spec: AttackSpec, *, first_only: bool) -> Carried:
    carried, printed = Carried(), io.StringIO()
    model, tokenizer = tiny_model(), tiny_tokenizer()
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    hung, settings = _shape(model), global_settings()
    halves = {half: _half(half) for half in ("selection", "reporting")}

    def step(loss: float | None = None) -> None:
        carried.steps += 1

    try:
        with contextlib.redirect_stdout(printed):
            for trial in attack.trials():
                seed_all(0)
                victim = Victim(
                    model=model,
                    tokenizer=tokenizer,
                    seed=0,
                    questions={NAME: halves["selection"].questions},
                    corpora=[_topic()] if spec.reads_corpora else [],
                    step=step,
                )
                subject = Subject(model=model, tokenizer=tokenizer, seed=0, limit=None, progress=lambda count: None)
                with contextlib.closing(_generator(attack.carry_out(victim, trial))) as states:
                    for state in states:
                        carried.weights |= _changed(model, before)
                        with torch.no_grad():
                            carried.states.append(list(state.evaluate(halves["reporting"], subject, NAME)))
                        if first_only:
                            break
                carried.left |= _shape(model) ^ hung
                model.load_state_dict(before, strict=False)
    except Exception as error:
        carried.error = error
    carried.printed = printed.getvalue().strip()
    carried.settings = [name for name, value in global_settings().items() if value != settings[name]]
    return carried


def _changed(model: torch.nn.Module, before: Mapping[str, torch.Tensor]) -> set[str]:
    """Return the names of weights that are not as they were; what is out of the model counts as it was."""
    now = model.state_dict()
    return {name for name, tensor in before.items() if name in now and not torch.equal(now[name], tensor)}


def _generator(states: Iterator[Any]) -> Any:
    yield from states


def _half(half: Half) -> Sums:
    benchmark, whole = Sums(), Sums()
    vars(benchmark)["questions"] = list(in_half(whole.questions, half, whole.item_of))
    return benchmark


def _topic() -> TopicData:
    return TopicData(
        name="all", forget=_corpus("forget"), retain=_corpus("retain"), max_length=None, retain_max_length=None, min_chars=0
    )


def _corpus(name: str) -> Table:
    draw = random.Random(name)
    rows: list[dict[str, Any]] = [{"text": " ".join(draw.choices(WORDS.split(), k=9))} for _ in range(TEXTS)]
    return Table(rows, f"made up for {name}", lambda index: f"text {index}")


def _shape(model: torch.nn.Module) -> set[Place]:
    """Return the modules with their kinds and numbers of hooks, and whether their forward is their own."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        (name, type(module).__name__, sum(len(vars(module)[kind]) for kind in kinds), "forward" in vars(module))
        for name, module in model.named_modules()
    }


@ATTACK_CHECKS.check()
def entry_point(case: AttackCase) -> None:
    """Its name is the name of its entry point, and nobody else's."""
    entry_point_of("attack", case.spec)


@ATTACK_CHECKS.check()
def source_and_summary(case: AttackCase) -> None:
    """It says where it comes from, and in one line what it does."""
    in_one_line(case.spec)


@ATTACK_CHECKS.check()
def documented(case: AttackCase) -> None:
    """The factory and its module have docstrings."""
    described(case.spec)


@ATTACK_CHECKS.check()
def built_from_its_options(case: AttackCase) -> None:
    """The factory takes keyword-only options, which all have defaults."""
    of_keywords_alone(case.spec)
    if case.problem is not None:
        raise CheckFailed(f"{case.problem} Give it a default, or give the check one (--set, options={{...}}).")


@ATTACK_CHECKS.check()
def trials_fixed(case: AttackCase) -> None:
    """Its trials are the same for every model, and can be written as JSON."""
    first, second = (list(case.attack().trials()) for _ in range(2))
    require(bool(first), "there is no trial; return one without settings, `[{}]`, where there is nothing to choose.")
    require(first == second, "two instances with the same options have other trials; let nothing random decide them.")
    try:
        json.dumps(first)
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"its trials cannot be written as JSON: {error}.") from error


@ATTACK_CHECKS.check()
def runs_to_the_end(case: AttackCase) -> None:
    """Carried out on a tiny Llama it yields at least one state of every trial, and comes to its end."""
    carried = case.carried()
    if carried.error is not None:
        error = carried.error
        raise CheckFailed(f"it stops with {type(error).__name__}: {error}") from error
    trials = len(case.attack().trials())
    require(len(carried.states) >= trials, f"of {trials} trials it yields {len(carried.states)} states; yield one of each.")


@ATTACK_CHECKS.check()
def every_question_answered(case: AttackCase) -> None:
    """Every state answers each question once, under its own id and part."""
    asked = sorted((question.id, question.part) for question in _half("reporting").questions)
    for items in case.whole().states:
        found = sorted((item.id, item.part) for item in items)
        known = len(set(asked) & set(found))
        require(
            found == asked,
            f"{len(asked)} questions were asked; of {len(found)} results {known} have the id and part of one. Return one "
            "result for each question, with its id and part.",
        )


@ATTACK_CHECKS.check()
def same_seed_same_result(case: AttackCase) -> None:
    """Carried out twice with one seed it has the same answers, bit for bit."""
    first, second = (case.whole(instance).states for instance in (0, 1))
    require(first == second, "two runs with one seed answer otherwise; draw from torch's generators, or from `victim.seed`.")


@ATTACK_CHECKS.check()
def within_its_access(case: AttackCase) -> None:
    """It changes no weights, unless its spec says that it needs them."""
    if case.spec.access == "weights":
        raise NotApplicable("it says that it needs the weights")
    changed = sorted(case.whole().weights)
    require(not changed, f"{changed[:1]} changes although access is '{case.spec.access}'; say access='weights'.")


@ATTACK_CHECKS.check()
def no_hooks_left(case: AttackCase) -> None:
    """No hook hangs on the model and no module is another one in the end, nor where it is broken off."""
    for carried, when in ((case.whole(), "in the end"), (case.carried(first_only=True), "where it is left after one state")):
        names = sorted({name or "the model" for name, *_ in carried.left})
        require(not names, f"{names[:1]} is not as it was {when}; put it back in a `finally` around each yield.")


@ATTACK_CHECKS.check()
def global_settings_untouched(case: AttackCase) -> None:
    """Default dtype, default device, gradient mode, threads and the like are as before."""
    changed = case.whole().settings
    require(not changed, f"it leaves {', '.join(changed)} changed; put back what you set.")


@ATTACK_CHECKS.check()
def work_as_estimated(case: AttackCase) -> None:
    """It yields as many states, and takes as many steps, as `estimate` says: every model has the same budget."""
    carried, work = case.whole(), case.attack().estimate(BLOCKS)
    seen = (len(carried.states), carried.steps)
    says = f"`estimate` says {work.states} and {work.updates}"
    require(seen == (work.states, work.updates), f"it yields {seen[0]} states in {seen[1]} calls of victim.step; {says}.")


@ATTACK_CHECKS.check()
def prints_nothing(case: AttackCase) -> None:
    """It writes nothing on standard output, which belongs to the table."""
    printed = case.whole().printed
    require(not printed, f"it prints {printed[:60]!r}; use the logging module.")
