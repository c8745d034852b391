"""The columns of a comparison: benchmarks ready to evaluate, and the questions of looks at trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unlearnbench.errors import Problems, UsageError, unknown_name
from unlearnbench.leaderboard.shares import forget_targets, keep_targets
from unlearnbench.planning.plan import BenchmarkPlan, LookPlan, manifest_benchmark
from unlearnbench.plugins.options import resolve_options, takes_argument
from unlearnbench.plugins.registry import find_plugin, guarded
from unlearnbench.records.base import Half, Options
from unlearnbench.records.manifest import ManifestBenchmark
from unlearnbench.records.recipe import Recipe
from unlearnbench.scoring.measures import faults


def plan_benchmarks(recipe: Recipe, problems: Problems) -> list[BenchmarkPlan]:
    """Return every benchmark whose options are right and whose data can be read."""
    if not recipe.benchmarks:
        problems.add(
            UsageError("There is nothing to score with; name benchmarks with --benchmarks, for example --benchmarks wmdp,mmlu.")
        )
    plans = [problems.attempt(plan_benchmark, name, options, recipe.half) for name, options in recipe.benchmarks.items()]
    asked = [plan for plan in plans if plan is not None and problems.attempt(_ask, plan) is not None]
    for key in recipe.primary:
        problems.attempt(_check_primary, key, recipe.primary[key], asked, list(recipe.benchmarks))
    for key in recipe.ideals:
        problems.attempt(_check_ideal, key, asked, list(recipe.benchmarks))
    return asked


def _ask(plan: BenchmarkPlan) -> Sequence[object]:
    """All that a comparison asks of a benchmark before it scores; the digest reads the data, so what is wrong there is said.

    Raises:
        UsageError: the data cannot be read, or its measures cannot be made of its items.
    """
    benchmark = plan.benchmark
    with guarded(plan.plugin.info, "before it scores"):
        asked = [benchmark.digest(), benchmark.metric, benchmark.parts(), benchmark.groups(), benchmark.measures()]
    if found := next(faults(benchmark.measures(), benchmark.parts()), None):
        raise UsageError(f"{plan.plugin.info.name} cannot be used: {found}")
    return asked


def _check_primary(name: str, given: Sequence[str], plans: Sequence[BenchmarkPlan], benchmarks: Sequence[str]) -> None:
    """Refuse to have counted in F and K what a benchmark does not measure."""
    if name not in benchmarks:
        raise unknown_name("benchmark in primary", name, benchmarks)
    for plan in plans:
        have = [measure.name for measure in plan.benchmark.measures()]
        for measure in given if plan.name == name else ():
            if not have:
                raise UsageError(f"{name} has one measure, which counts; leave primary.{name} out.")
            if measure not in have:
                raise unknown_name(f"measure in primary.{name}", measure, have)


def _check_ideal(name: str, plans: Sequence[BenchmarkPlan], benchmarks: Sequence[str]) -> None:
    """Refuse an ideal of what is not measured."""
    titles: list[str] = []
    for plan in plans:
        titles += [f"{plan.name}:{measure.name}" for measure in plan.benchmark.measures()] or [plan.name]
    if name not in titles and len(plans) == len(benchmarks):
        raise unknown_name("measure in ideals", name, titles)


def plugin_of(name: str, given: Mapping[str, Any]) -> str:
    """Return the plugin of a column: `benchmark: NAME` scores one twice, and what stands behind a colon is for the plugin."""
    return str(given.get("benchmark", name)).partition(":")[0]


def plan_benchmark(name: str, given: dict[str, Any], half: Half | None) -> BenchmarkPlan:
    """Plan a benchmark of the recipe; `benchmark: NAME` lets one be scored twice with other options."""
    options = dict(given)
    base, colon, argument = str(options.pop("benchmark", name)).partition(":")
    plugin = find_plugin("benchmark", base)
    resolved = resolve_options(plugin.spec, options, name)
    if colon and not takes_argument(plugin.spec.factory):
        raise UsageError(f"The benchmark '{base}' takes nothing after a colon; got '{name}'.")
    extra: Options = {"argument": argument} if colon else {}
    with guarded(plugin.info, "in its constructor"):
        benchmark = plugin.spec.factory(**resolved, **extra)
        all_asked = half is not None and not benchmark.keep_half(half)
    options = {**resolved, **extra}
    return BenchmarkPlan(name=name, plugin=plugin, options=options, benchmark=benchmark, half=half, all_asked=all_asked)


def plan_looks(recipe: Recipe, benchmarks: Sequence[BenchmarkPlan]) -> LookPlan:
    """Plan the questions of looks at trainings: benchmarks of right and wrong answers, of the half that chooses.

    Raises:
        UsageError: they would not see both what is forgotten and what is kept.
    """
    assert recipe.looks_every is not None
    columns: list[tuple[BenchmarkPlan, ManifestBenchmark]] = []
    for plan in benchmarks:
        if plan.benchmark.metric.unit == "fraction" and not plan.benchmark.measures():
            half = plan if recipe.half == "selection" else plan_benchmark(plan.name, recipe.benchmarks[plan.name], "selection")
            columns.append((half, manifest_benchmark(half, recipe)))
    heads = [head for _, head in columns]
    if not forget_targets(heads) or not keep_targets(heads):
        raise UsageError(
            "Looks at a training need benchmarks of right and wrong answers for what is forgotten and for what is kept; leave "
            "evaluate_every and probe_every out, or add such benchmarks."
        )
    if recipe.trainer.devices > 1:
        raise UsageError("Looks at a training need trainer.devices 1; leave evaluate_every and probe_every out.")
    keep_best = recipe.evaluate_every is not None
    return LookPlan(
        every=recipe.looks_every,
        columns=columns,
        limit=recipe.limit if keep_best else min(recipe.tune.probe_items, recipe.limit or recipe.tune.probe_items),
        keep_best=keep_best,
        keep_at_least=recipe.tune.keep_at_least,
        floors=recipe.floors,
    )
