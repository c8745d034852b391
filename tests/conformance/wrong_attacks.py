"""Attacks that are wrong in one way each; the key in `SPECS` names the check that has to find it."""

from __future__ import annotations

import random
from dataclasses import replace

import torch

from unlearnbench.api import Attack, Attacked, AttackSpec, AttackWork, hookimpl


class Right(Attack):
    """Nothing is wrong with it: one transformation, one state."""

    def __init__(self, *, factor: float = 0.9) -> None:
        self.factor = factor

    def carry_out(self, victim, trial):
        with torch.no_grad():
            victim.model.get_output_embeddings().weight.mul_(self.factor)
        yield Attacked()


class Undocumented(Right): ...


class Positional(Right):
    """Takes an option by position."""

    def __init__(self, factor: float = 0.9) -> None:
        super().__init__(factor=factor)


class RandomTrials(Right):
    """Draws its settings."""

    def trials(self):
        return [{"factor": random.random()}]


class YieldsNothing(Right):
    """Leaves no model to score."""

    def carry_out(self, victim, trial):
        return iter(())

    def estimate(self, blocks):
        return AttackWork(states=0)


class Other(Attacked):
    """Answers under other ids."""

    def evaluate(self, benchmark, subject, name):
        return [replace(item, id=f"my {item.id}") for item in benchmark.evaluate(subject)]


class OwnIds(Right):
    """Makes ids of its own."""

    def carry_out(self, victim, trial):
        yield Other()


class Unseeded(Right):
    """Draws from the operating system."""

    def carry_out(self, victim, trial):
        size = random.SystemRandom().random()
        with torch.no_grad():
            victim.model.get_output_embeddings().weight.mul_(size)
        yield Attacked()


class SaysActivations(Right):
    """Changes weights, and says that it reads activations."""


class LeavesAHook(Right):
    """Hangs a hook on the model, and leaves it there."""

    def carry_out(self, victim, trial):
        victim.model.register_forward_hook(lambda module, arguments, output: None)
        yield Attacked()


class ChangesTheDtype(Right):
    """Changes the default dtype."""

    def carry_out(self, victim, trial):
        yield Attacked()
        torch.set_default_dtype(torch.float64)


class TakesMore(Right):
    """Looks more often than it says."""

    def carry_out(self, victim, trial):
        yield Attacked(at=1)
        yield Attacked(at=2)


class Prints(Right):
    """Prints."""

    def carry_out(self, victim, trial):
        print("attacking")
        yield Attacked()


def spec(name: str, factory: type[Attack], /, **changes: str) -> AttackSpec:
    facts = {"name": f"wrong-{name}", "summary": "made up", "source": "made up", "access": "weights"}
    return AttackSpec(factory=factory, **{**facts, **changes})


SPECS = {
    "right": spec("right-attack", Right),
    "entry_point": spec("nobody-attack", Right, name="nobody-offers-this-attack"),
    "source_and_summary": spec("sourceless-attack", Right, source=""),
    "documented": spec("undocumented-attack", Undocumented),
    "built_from_its_options": spec("positional-attack", Positional),
    "trials_fixed": spec("random-trials", RandomTrials),
    "runs_to_the_end": spec("nothing-attack", YieldsNothing),
    "every_question_answered": spec("own-ids", OwnIds),
    "same_seed_same_result": spec("unseeded-attack", Unseeded),
    "within_its_access": spec("activations", SaysActivations, access="activations"),
    "no_hooks_left": spec("hook-attack", LeavesAHook),
    "global_settings_untouched": spec("dtype-attack", ChangesTheDtype),
    "work_as_estimated": spec("more-attack", TakesMore),
    "prints_nothing": spec("prints-attack", Prints),
}
Undocumented.__doc__ = None


@hookimpl
def unlearnbench_attacks():
    return list(SPECS.values())
