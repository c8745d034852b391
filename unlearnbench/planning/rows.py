"""The rows of a comparison: methods, checkpoints and controls, with validated options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

from unlearnbench.errors import PluginError, Problems, unknown_name
from unlearnbench.planning.plan import VariantPlan
from unlearnbench.plugins.fingerprint import options_hash
from unlearnbench.plugins.options import resolve_options, split_budget
from unlearnbench.plugins.registry import Plugin, find_plugin
from unlearnbench.plugins.specs import MethodSpec, Training
from unlearnbench.records.base import Options
from unlearnbench.records.manifest import CHECKPOINT, RANDOM_NOISE
from unlearnbench.records.recipe import Recipe
from unlearnbench.system.files import JsonCache, content_hash


def plan_variants(recipe: Recipe, memory: JsonCache, broken: Mapping[str, str], problems: Problems) -> list[VariantPlan]:
    """Return every row that can be planned: methods, checkpoints, controls."""
    find = cache(partial(find_plugin, "method"))  # rows of one method share what is imported for it
    with memory.written_once():
        rows = [
            problems.attempt(_plan_variant, name, find, method, given, recipe, memory, broken.get(name))
            for name, (method, given) in recipe.variants().items()
        ]
    rows += [problems.attempt(_plan_checkpoint, name, source) for name, source in recipe.checkpoints.items()]
    variants = [row for row in rows if row is not None]
    missing = recipe.variants().keys() - {variant.name for variant in variants}
    controls = [
        problems.attempt(_plan_control, name, like, variants)
        for name, like in recipe.controls.items()
        if like not in missing  # what is wrong with that row is said already
    ]
    return [*variants, *(row for row in controls if row is not None)]


def _plan_variant(
    name: str,
    find: Callable[[str], Plugin[MethodSpec]],
    method: str,
    given: Options,
    recipe: Recipe,
    memory: JsonCache,
    problem: str | None,
) -> VariantPlan:
    plugin = find(method)
    try:
        options, training = (given, None) if problem is not None else _settle(plugin, given, name, memory)
    except PluginError as error:
        raise PluginError(
            f"{error} Mend it, or leave the row out; `compare --executor isolated` goes on without it."
        ) from error
    return VariantPlan(
        name=name,
        method=plugin.info.name,
        plugin=plugin,
        options=options,
        training=training,
        model=recipe.model,
        weights="",
        problem=problem,
    )


def _settle(plugin: Plugin[MethodSpec], given: Options, variant: str, memory: JsonCache) -> tuple[Options, Training | None]:
    """Return a row's options and budget, validated.

    They follow from the plugin's source and what is given, so they are remembered: going on with a finished comparison
    imports no method, and with it no torch.
    """
    key = content_hash(["options", plugin.info.name, plugin.source_hash, options_hash(), given])
    if (known := memory.get(key)) is not None:
        return known["options"], Training(**known["training"]) if known["training"] else None
    options, training = split_budget(plugin.spec, resolve_options(plugin.spec, given, variant))
    memory.put(key, {"options": options, "training": vars(training) if training else None})
    return options, training


def _plan_checkpoint(name: str, source: str) -> VariantPlan:
    return VariantPlan(name=name, method=CHECKPOINT, plugin=None, options={}, training=None, model=source, weights="")


def _plan_control(name: str, like: str, variants: Sequence[VariantPlan]) -> VariantPlan:
    trained = {variant.name: variant for variant in variants if variant.training is not None or variant.problem is not None}
    if like not in trained:
        raise unknown_name(f"row for the control {name}", like, trained, "A control is like a row that changes weights.")
    return replace(trained[like], name=name, method=RANDOM_NOISE, derived_from=like)
