"""The recipe that a command line asks for; what is wrong is noted and left out, so that all of it can be said at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from unlearnbench.cli import options
from unlearnbench.errors import Problems, UsageError, closest, normalise, unknown_name

if TYPE_CHECKING:
    from unlearnbench.records.recipe import Recipe

DEFAULT_RECIPE = "sandbox"
DEFAULT_BENCHMARKS = ("wmdp", "mmlu")


def base_recipe(name: str, model: str | None) -> Recipe:
    """The recipe to start from. Settings tuned for the sandbox are no start for a model of one's own.

    Raises:
        UsageError: there is no such recipe, or it is none.
    """
    from unlearnbench.planning.recipe_files import load_recipe
    from unlearnbench.records.recipe import Recipe

    if name == DEFAULT_RECIPE and model is not None and not model.startswith("sandbox:"):
        return Recipe(name=options.name_of(model), model=model, benchmarks={b: {} for b in DEFAULT_BENCHMARKS})
    return load_recipe(name)


def with_values(recipe: Recipe, problems: Problems, *, limit: str | None, model: str | None, dtype: str | None) -> Recipe:
    """The recipe with what the command line gives instead."""
    changes: dict[str, Any] = {
        "limit": problems.attempt(options.read_limit, limit),
        "model": model,
        "dtype": problems.attempt(options.read_dtype, dtype),
    }
    return recipe.model_copy(update={name: value for name, value in changes.items() if value is not None})


def with_lists(
    recipe: Recipe, problems: Problems, *, methods: str | None, benchmarks: str | None, seeds: str | None = None
) -> Recipe:
    """The recipe with the rows, benchmarks and seeds that the command line names; a row may be one of its checkpoints."""
    from unlearnbench.planning.settings import select
    from unlearnbench.records.manifest import BASELINE

    changes: dict[str, Any] = {}
    if (names := problems.attempt(options.split_list, "--methods", methods)) is not None:
        asked = {normalise(name) for name in names}
        checkpoints = {name: source for name, source in recipe.checkpoints.items() if normalise(name) in asked}
        others = {BASELINE, *map(normalise, checkpoints), *_misspelt(names, recipe, problems)}
        rows = select([name for name in names if normalise(name) not in others], recipe.methods)
        spaces = {row: space for row, space in recipe.tune.spaces.items() if row in rows or row not in recipe.methods}
        changes |= {"methods": rows, "checkpoints": checkpoints}
        changes["tune"] = recipe.tune.model_copy(update={"spaces": spaces})
    if (names := problems.attempt(options.split_list, "--benchmarks", benchmarks)) is not None:
        changes["benchmarks"] = select(names, recipe.benchmarks)
    if (numbers := problems.attempt(options.split_seeds, seeds)) is not None:
        changes["seeds"] = numbers
    return recipe.model_copy(update=changes)


def _misspelt(names: list[str], recipe: Recipe, problems: Problems) -> set[str]:
    """Names that can only mean one of the recipe's checkpoints; whatever else is unknown is said with the methods there are."""
    from unlearnbench.plugins.registry import list_plugins

    known = {
        normalise(name) for name in (*recipe.methods, *recipe.checkpoints, *(info.name for info in list_plugins("method")))
    }
    found = [name for name in names if normalise(name) not in known and closest(name, recipe.checkpoints)]
    for name in found:
        problems.add(unknown_name("row", name, [*recipe.methods, *recipe.checkpoints]))
    return {normalise(name) for name in found}


def with_topics(recipe: Recipe, problems: Problems, *, forget: list[str] | None, retain: list[str] | None) -> Recipe:
    """`--forget` replaces the recipe's topics; `--retain` without a topic serves all of them."""
    from unlearnbench.records.recipe import Topic

    topics = dict(recipe.topics)
    if forget:
        named = dict(_topic_and_source(text, "forget") for text in forget)
        topics = {
            name: topics.get(name, Topic(forget=source)).model_copy(update={"forget": source}) for name, source in named.items()
        }
    for text in retain or ():
        name, source = _topic_and_source(text, "")
        if name and name not in topics:
            have = ", ".join(topics) or "none; give --forget, too"
            problems.add(UsageError(f"--retain {text}: there is no topic '{name}' to forget; topics: {have}."))
            continue
        for topic in [name] if name else list(topics):
            topics[topic] = topics[topic].model_copy(update={"retain": source})
    return recipe.model_copy(update={"topics": topics})


def with_rows(recipe: Recipe, problems: Problems, *, checkpoint: list[str] | None, control: list[str] | None) -> Recipe:
    """The recipe with finished models and controls as further rows, and every name in it looked at."""
    from unlearnbench.records.recipe import check_names

    changes: dict[str, Any] = {"checkpoints": dict(recipe.checkpoints), "controls": dict(recipe.controls)}
    for text in checkpoint or ():
        changes["checkpoints"] |= problems.attempt(options.split_named, "--checkpoint", [text]) or {}
    for text in control or ():
        changes["controls"] |= problems.attempt(options.split_named, "--control", [text], "NAME=ROW") or {}
    recipe = recipe.model_copy(update=changes)
    problems.attempt(check_names, recipe)
    return recipe


def _topic_and_source(text: str, default: str) -> tuple[str, str]:
    name, equals, source = text.partition("=")
    return (name, source) if equals and "/" not in name and not os.path.exists(text) else (default, text)
