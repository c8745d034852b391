"""The attacks of a comparison, ready to be carried out: their options, their questions in two halves, their identity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from unlearnbench.data.topics import TopicData
from unlearnbench.errors import Problems, UsageError
from unlearnbench.planning.columns import plan_benchmark
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan, VariantPlan, manifest_benchmark
from unlearnbench.plugins.fingerprint import attack_hash
from unlearnbench.plugins.options import resolve_options, takes_argument
from unlearnbench.plugins.registry import Plugin, find_plugin, guarded
from unlearnbench.plugins.specs import AttackSpec
from unlearnbench.records.base import Half, Options
from unlearnbench.records.cells import CellKey
from unlearnbench.records.items import Question
from unlearnbench.records.manifest import ManifestAttack
from unlearnbench.records.recipe import Recipe
from unlearnbench.robustness.attack import Attack
from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark, Workload
from unlearnbench.scoring.selection import first_of_each_part, in_half
from unlearnbench.system.files import content_hash

LOOK_ITEMS = 64  # of each part of the selection half, which a trial's score is the mean over
HALVES: tuple[Half, ...] = ("selection", "reporting")


@dataclass(frozen=True, kw_only=True)
class AttackedColumn:
    """A benchmark whose questions are asked under an attack.

    Attributes:
        plan: plan of the benchmark, as rows are scored with it.
        parts: parts that are to be forgotten.
        asked: questions of both halves, in the benchmark's order.
        halves: the benchmark with one half of its questions.
        look: the benchmark with the questions that choose: the first `LOOK_ITEMS` of each part of the selection half.
    """

    plan: BenchmarkPlan
    parts: Sequence[str]
    asked: Sequence[Question]
    halves: Mapping[Half, MultipleChoiceBenchmark]
    look: MultipleChoiceBenchmark

    def questions(self, half: Half) -> Sequence[Question]:
        """Return the questions of a half."""
        return self.halves[half].questions


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """One attack, to be carried out on every row.

    Attributes:
        label: name of the attack in the comparison.
        plugin: plugin that offers it.
        options: options of the attack.
        attack: the attack.
        columns: benchmarks that it is scored with, by name.
        topics: corpora that it reads.
    """

    label: str
    plugin: Plugin[AttackSpec]
    options: Options
    attack: Attack
    columns: Mapping[str, AttackedColumn]
    topics: Sequence[TopicData]
    limit: int | None

    def identity(self) -> list[object]:
        """Return everything about the attack that may change a score, to be hashed."""
        asked = [column.plan.identity(self.limit) for column in self.columns.values()]
        corpora = [topic.identity() for topic in self.topics]
        return [self.plugin.info.name, self.plugin.source_hash, attack_hash(), self.options, corpora, asked, LOOK_ITEMS]

    @property
    def teaches(self) -> bool:
        """True where the attack shows texts on the topic."""
        return self.plugin.spec.teaches if self.attack.teaches is None else self.attack.teaches

    def seeds(self, variant: VariantPlan, seed: int, seeds: Sequence[int]) -> Sequence[int]:
        """Return the seeds with which a row's job is attacked: its own, but where it has none and the attack draws, all."""
        trains = variant.training is not None or variant.problem is not None
        return [seed] if trains or not self.attack.random else seeds

    def load(self, benchmark: str, blocks: int) -> Workload:
        """Return the work of asking a benchmark's questions under the attack, of one model with so many decoder blocks."""
        column = self.columns[benchmark]
        looked = len(column.look.questions)
        states = self.attack.estimate(blocks).states if self.chooses else 0
        return Workload(items=len(column.asked) + states * looked)

    @property
    def chooses(self) -> bool:
        """True where one of its trials is chosen, on the half of the questions that is not reported."""
        return not self.plugin.spec.stress and not self.attack.cross_fitted

    def head(self) -> ManifestAttack:
        """Return the attack's entry in the manifest."""
        spec = self.plugin.spec
        return ManifestAttack(
            label=self.label,
            attack=self.plugin.info.name,
            options=self.options,
            access=spec.access,
            teaches=self.teaches,
            stress=spec.stress,
            half="reporting" if self.chooses else None,
            benchmarks=list(self.columns),
            axis=self.attack.axis,
        )


def plan_attacks(
    recipe: Recipe, benchmarks: Sequence[BenchmarkPlan], topics: Sequence[TopicData], problems: Problems
) -> list[AttackPlan]:
    """Return every attack whose options are right; on the benchmarks that measure a topic and that it supports."""
    if not recipe.attacks:
        return []
    parts = {plan.name: manifest_benchmark(plan, recipe).forget_parts for plan in benchmarks}
    measuring = [plan for plan in benchmarks if parts[plan.name]]
    columns = [
        _column(plan, plan.benchmark, parts[plan.name], recipe)
        for plan in measuring
        if isinstance(plan.benchmark, MultipleChoiceBenchmark)
    ]
    found = [
        problems.attempt(_plan_attack, label, given, recipe, measuring, columns, topics)
        for label, given in recipe.attacks.items()
    ]
    return [plan for plan in found if plan is not None]


def attack_of(label: str, given: Mapping[str, Any]) -> str:
    """Return the plugin of an attack: `attack: NAME`, else what stands before the label's colon."""
    return str(given.get("attack", label)).partition(":")[0]


def make_attack(label: str, given: Mapping[str, Any]) -> tuple[Plugin[AttackSpec], Options, Attack]:
    """Return the plugin, the options and an instance of an attack of the recipe; its trials can be listed.

    Raises:
        UsageError: there is no such attack, or an option is wrong.
    """
    options = dict(given)
    name, colon, argument = str(options.pop("attack", label)).partition(":")
    plugin = find_plugin("attack", name)
    resolved = resolve_options(plugin.spec, options, label)
    if colon and not takes_argument(plugin.spec.factory):
        raise UsageError(f"The attack '{name}' takes nothing after a colon; got '{label}'.")
    extra: Options = {"argument": argument} if colon else {}
    with guarded(plugin.info, "in its constructor"):
        attack = plugin.spec.factory(**resolved, **extra)
        if not list(attack.trials()):
            raise UsageError(f"The attack '{label}' has no trial: there is nothing to carry out.")
    return plugin, {**resolved, **extra}, attack


def _plan_attack(
    label: str,
    given: Mapping[str, Any],
    recipe: Recipe,
    measuring: Sequence[BenchmarkPlan],
    columns: Sequence[AttackedColumn],
    topics: Sequence[TopicData],
) -> AttackPlan:
    """Plan one attack.

    Raises:
        UsageError: an option is wrong, or there is nothing that it could be scored with.
    """
    plugin, options, attack = make_attack(label, given)
    with guarded(plugin.info, "in supports"):
        reasons = {plan.name: attack.supports(plan.benchmark) for plan in measuring}
    able = {column.plan.name: column for column in columns if reasons[column.plan.name] is None}
    if not able:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason) or "no benchmark measures a topic"
        raise UsageError(f"The attack '{label}' has nothing to be scored with: {why}.")
    reads = plugin.spec.reads_corpora
    if reads and not recipe.topics:
        raise UsageError(f"The attack '{label}' reads the topics' corpora; give --forget [TOPIC=]SOURCE and --retain SOURCE.")
    return AttackPlan(
        label=label,
        plugin=plugin,
        options=options,
        attack=attack,
        columns=able,
        topics=topics if reads else (),
        limit=recipe.limit,
    )


def _column(plan: BenchmarkPlan, whole: MultipleChoiceBenchmark, parts: Sequence[str], recipe: Recipe) -> AttackedColumn:
    """Return a benchmark under attack, in two halves; questions that share a fact are on one side."""
    asked = first_of_each_part(whole.questions, recipe.limit)
    facts = whole.facts(asked)

    def asking(questions: Sequence[Question]) -> MultipleChoiceBenchmark:
        fresh = plan_benchmark(plan.name, recipe.benchmarks[plan.name], recipe.half).benchmark
        assert isinstance(fresh, MultipleChoiceBenchmark)
        vars(fresh)["questions"] = list(questions)
        return fresh

    halves: dict[Half, MultipleChoiceBenchmark] = {half: asking(in_half(asked, half, whole.item_of, facts)) for half in HALVES}
    look = asking(first_of_each_part(halves["selection"].questions, LOOK_ITEMS))
    return AttackedColumn(plan=plan, parts=parts, asked=asked, halves=halves, look=look)


def with_attacks(plans: Sequence[JobPlan], attacks: Sequence[AttackPlan], seeds: Sequence[int]) -> list[JobPlan]:
    """Return the jobs with their cells under attack, which come after those of the row itself."""
    known = {attack.label: attack.identity() for attack in attacks}
    columns = {
        (attack.label, name): column.plan.identity(attack.limit)
        for attack in attacks
        for name, column in attack.columns.items()
    }
    added: list[JobPlan] = []
    for plan in plans:
        cells = dict(plan.cells)
        for attack in attacks:
            for seed in attack.seeds(plan.variant, plan.job.seed, seeds):
                for name in attack.columns:
                    key = CellKey(variant=plan.job.variant, benchmark=name, seed=seed, attack=attack.label)
                    told_apart = [plan.job.identity, known[attack.label], columns[attack.label, name], seed]
                    cells[key.within(plan.job.seed)] = content_hash(told_apart)
        added.append(replace(plan, cells=cells))
    return added
