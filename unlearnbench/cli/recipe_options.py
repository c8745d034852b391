"""The recipe that a command line describes; mistakes are noted and left out, so that all of them are reported at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from unlearnbench.cli import options
from unlearnbench.errors import Problems, UsageError
from unlearnbench.verbs.recipes import base_recipe, with_attacks, with_benchmarks, with_methods, with_reference

if TYPE_CHECKING:
    from unlearnbench.records.recipe import Recipe


def asked_recipe(
    recipe: str,
    problems: Problems,
    *,
    methods: str | None,
    benchmarks: str | None,
    attacks: str | None = None,
    seeds: str | None = None,
    limit: str | None,
    model: str | None,
    dtype: str | None,
    forget: list[str] | None,
    retain: list[str] | None,
    checkpoint: list[str] | None = None,
    control: list[str] | None = None,
    reference: list[str] | None = None,
) -> Recipe:
    """Return the recipe that `compare` and `tune` are given, before `--set`."""
    wanted = with_reference(base_recipe(recipe, model), problems.attempt(options.rows_of_reference, reference))
    wanted = wanted if methods is None else with_methods(wanted, methods, problems)
    wanted = wanted if benchmarks is None else with_benchmarks(wanted, benchmarks, problems)
    wanted = wanted if attacks is None else with_attacks(wanted, attacks, problems)
    if (numbers := problems.attempt(options.split_seeds, seeds)) is not None:
        wanted = wanted.model_copy(update={"seeds": numbers})
    wanted = with_values(wanted, problems, limit=limit, model=model, dtype=dtype)
    wanted = with_topics(wanted, problems, forget=forget, retain=retain)
    return with_rows(wanted, problems, checkpoint=checkpoint, control=control)


def with_values(recipe: Recipe, problems: Problems, *, limit: str | None, model: str | None, dtype: str | None) -> Recipe:
    """Return the recipe with the values that the command line gives instead."""
    changes: dict[str, Any] = {
        "limit": problems.attempt(options.read_limit, limit),
        "model": model,
        "dtype": problems.attempt(options.read_dtype, dtype),
    }
    return recipe.model_copy(update={name: value for name, value in changes.items() if value is not None})


def with_topics(recipe: Recipe, problems: Problems, *, forget: list[str] | None, retain: list[str] | None) -> Recipe:
    """Return the recipe with other topics: `--forget` replaces them, and `--retain` without a topic serves all of them."""
    from unlearnbench.records.recipe import Topic

    topics = dict(recipe.topics)
    if forget:
        named = dict(topic_and_source(text, "forget") for text in forget)
        topics = {
            name: topics.get(name, Topic(forget=source)).model_copy(update={"forget": source}) for name, source in named.items()
        }
    for text in retain or ():
        name, source = topic_and_source(text, "")
        if name and name not in topics:
            have = ", ".join(topics) or "none; give --forget, too"
            problems.add(UsageError(f"--retain {text}: there is no topic '{name}' to forget; topics: {have}."))
            continue
        for topic in [name] if name else list(topics):
            topics[topic] = topics[topic].model_copy(update={"retain": source})
    return recipe.model_copy(update={"topics": topics})


def with_rows(recipe: Recipe, problems: Problems, *, checkpoint: list[str] | None, control: list[str] | None) -> Recipe:
    """Return the recipe with finished models and controls as further rows, and every name in it checked."""
    from unlearnbench.records.recipe import check_names

    changes: dict[str, Any] = {"checkpoints": dict(recipe.checkpoints), "controls": dict(recipe.controls)}
    for text in checkpoint or ():
        changes["checkpoints"] |= problems.attempt(options.split_named, "--checkpoint", [text]) or {}
    for text in control or ():
        changes["controls"] |= problems.attempt(options.split_named, "--control", [text], "NAME=ROW") or {}
    recipe = recipe.model_copy(update=changes)
    problems.attempt(check_names, recipe)
    return recipe


def topic_and_source(text: str, default: str) -> tuple[str, str]:
    """Read `[TOPIC=]SOURCE`; the default is the topic where none is named."""
    name, equals, source = text.partition("=")
    return (name, source) if equals and "/" not in name and not os.path.exists(text) else (default, text)
