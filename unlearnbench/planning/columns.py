"""The columns of a comparison: benchmarks ready to evaluate, and the questions of looks at trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unlearnbench.errors import Problems, UsageError
from unlearnbench.leaderboard.shares import forget_targets, keep_targets
from unlearnbench.planning.plan import BenchmarkPlan, LookPlan, manifest_benchmark
from unlearnbench.plugins.options import resolve_options, takes_argument
from unlearnbench.plugins.registry import find_plugin, guarded
from unlearnbench.records.base import Half, Options
from unlearnbench.records.manifest import ManifestBenchmark
from unlearnbench.records.recipe import Recipe


def plan_benchmarks(recipe: Recipe, problems: Problems) -> list[BenchmarkPlan]:
    """Return every benchmark whose options are right and whose data can be read."""
    if not recipe.benchmarks:
        problems.add(
            UsageError("There is nothing to score with; name benchmarks with --benchmarks, for example --benchmarks wmdp,mmlu.")
        )
    plans = [problems.attempt(plan_benchmark, name, options, recipe.half) for name, options in recipe.benchmarks.items()]
    return [plan for plan in plans if plan is not None and problems.attempt(_ask, plan) is not None]


def _ask(plan: BenchmarkPlan) -> list[object]:
    """Return all that a comparison reads of a benchmark before it scores; the digest reads the data, so mistakes there are
    reported.
    """
    benchmark = plan.benchmark
    with guarded(plan.plugin.info, "before it scores"):
        return [benchmark.digest(), benchmark.metric, benchmark.parts(), benchmark.groups()]


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
        if plan.benchmark.metric.unit == "fraction":
            chosen = (
                plan if recipe.half == "selection" else plan_benchmark(plan.name, recipe.benchmarks[plan.name], "selection")
            )
            columns.append((chosen, manifest_benchmark(chosen, recipe)))
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
