"""The recipe that a comparison starts from, and the rows, benchmarks and seeds that are given instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import Problems, UsageError, closest, normalise, unknown_name

if TYPE_CHECKING:
    from unlearnbench.planning.recipe_files import RecipeLike
    from unlearnbench.records.recipe import Recipe

DEFAULT_RECIPE = "sandbox"
DEFAULT_BENCHMARKS = ("wmdp", "mmlu")
# those that take about as long as scoring does, and those that take longer
QUICK = ("lens", "probe", "quantize:4", "relearn")
GROUPS = {"quick": QUICK, "standard": (*QUICK, "quantize:8", "quantize:nf4", "prune:30", "relearn:retain")}
# one string is the command line's list; a mapping has options beside those of the recipe
Names = str | Iterable[str] | Mapping[str, Mapping[str, Any] | None]


def name_of(model: str) -> str:
    """Return a comparison's name from its model's source: the last part of the path or hub id."""
    stem = model.partition("@")[0].rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip(".-_") or "model"


def base_recipe(recipe: RecipeLike, model: str | None) -> Recipe:
    """Return the recipe to start from. Settings tuned for the sandbox are no start for another model.

    Raises:
        UsageError: there is no such recipe, or it is none.
    """
    from unlearnbench.planning.recipe_files import load_recipe
    from unlearnbench.records.recipe import Recipe

    if recipe == DEFAULT_RECIPE and model is not None and not model.startswith("sandbox:"):
        return Recipe(name=name_of(model), model=model, benchmarks={name: {} for name in DEFAULT_BENCHMARKS})
    return load_recipe(recipe)


def split_list(flag: str, text: str) -> list[str]:
    """Split `a,b` into a list.

    Raises:
        UsageError: there is nothing in it.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError(f"{flag} takes a list separated by commas; got '{text}'.")
    return names


def with_methods(recipe: Recipe, names: Names, problems: Problems) -> Recipe:
    """Return the recipe with these rows only; a row may be one of its checkpoints. The reference stays: others are compared
    with it.
    """
    from unlearnbench.planning.settings import select
    from unlearnbench.records.manifest import BASELINE

    given = _by_name("--methods", names, problems)
    if given is None:
        return recipe
    named = {normalise(name) for name in given}
    kept = [name for name in recipe.reference if name in recipe.checkpoints or name in recipe.methods]
    given = {**given, **{name: None for name in kept if normalise(name) not in named}}
    asked = {normalise(name) for name in given}
    checkpoints = {name: source for name, source in recipe.checkpoints.items() if normalise(name) in asked}
    others = {BASELINE, *map(normalise, checkpoints), *_misspelt(given, recipe, problems)}
    rows = select({name: options for name, options in given.items() if normalise(name) not in others}, recipe.methods)
    spaces = {row: space for row, space in recipe.tune.spaces.items() if row in rows or row not in recipe.methods}
    changes = {"methods": rows, "checkpoints": checkpoints, "tune": recipe.tune.model_copy(update={"spaces": spaces})}
    return recipe.model_copy(update=changes)


def with_benchmarks(recipe: Recipe, names: Names, problems: Problems) -> Recipe:
    """Return the recipe with these benchmarks only."""
    from unlearnbench.planning.settings import select

    given = _by_name("--benchmarks", names, problems)
    return recipe if given is None else recipe.model_copy(update={"benchmarks": select(given, recipe.benchmarks)})


def with_attacks(recipe: Recipe, names: Names, problems: Problems) -> Recipe:
    """Return the recipe with these attacks only; a group's name stands for its attacks."""
    from unlearnbench.planning.settings import select
    from unlearnbench.records.recipe import check_names

    given = _by_name("--attacks", names, problems)
    if given is None:
        return recipe
    wanted: dict[str, Mapping[str, Any] | None] = {}
    for name, options in given.items():
        wanted |= dict.fromkeys(GROUPS[name]) if name in GROUPS and name not in recipe.attacks else {name: options}
    changed = recipe.model_copy(update={"attacks": select(wanted, recipe.attacks)})
    problems.attempt(check_names, changed)
    return changed


def with_fixed(recipe: Recipe, settings: Iterable[tuple[str, str]]) -> Recipe:
    """Return the recipe whose search leaves the given options of rows as they are: an option that the user sets is not
    searched.
    """
    spaces = {row: dict(searched) for row, searched in recipe.tune.spaces.items()}
    for name, option in settings:
        row = next((row for row in recipe.methods if normalise(row) == normalise(name)), None)
        if row is not None:
            spaces.setdefault(row, {})[option] = None
    return recipe.model_copy(update={"tune": recipe.tune.model_copy(update={"spaces": spaces})})


def options_in(names: Names | None) -> list[tuple[str, str]]:
    """Return each option that is given with names, behind its name."""
    given = names if isinstance(names, Mapping) else {}
    return [(name, option) for name, options in given.items() for option in options or ()]


def with_reference(recipe: Recipe, reference: Iterable[str] | None) -> Recipe:
    """Return the recipe with another reference; rows that are only there for the old one go with it where rows are
    chosen next.
    """
    return recipe if reference is None else recipe.model_copy(update={"reference": list(reference)})


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with other values of its keys, validated like a recipe; None leaves a value.

    Raises:
        UsageError: a value is none of those that are allowed.
    """
    from unlearnbench.planning.recipe_files import load_recipe

    wanted = {key: value for key, value in changes.items() if value is not None}
    return load_recipe({**recipe.model_dump(), **wanted}) if wanted else recipe


def evaluation(model: str, benchmarks: Names, problems: Problems) -> Recipe:
    """Return the recipe that scores a model and nothing else; the sandbox's benchmarks come with their data."""
    from unlearnbench.planning.recipe_files import load_recipe
    from unlearnbench.records.recipe import Recipe

    configured = load_recipe(DEFAULT_RECIPE).benchmarks if model.startswith("sandbox:") else {}
    recipe = Recipe(name=f"evaluate-{name_of(model)}", model=model, benchmarks=configured)
    return with_benchmarks(recipe, benchmarks, problems)


def _by_name(flag: str, names: Names, problems: Problems) -> Mapping[str, Mapping[str, Any] | None] | None:
    """Return each name with its options, or None where a text names nothing."""
    if isinstance(names, Mapping):
        return names
    listed = problems.attempt(split_list, flag, names) if isinstance(names, str) else names
    return None if listed is None else dict.fromkeys(listed)


def _misspelt(names: Iterable[str], recipe: Recipe, problems: Problems) -> set[str]:
    """Return names that can only mean one of the recipe's checkpoints; other unknown names are reported with the list of
    methods.
    """
    from unlearnbench.plugins.registry import list_plugins

    known = {
        normalise(name) for name in (*recipe.methods, *recipe.checkpoints, *(info.name for info in list_plugins("method")))
    }
    found = [name for name in names if normalise(name) not in known and closest(name, recipe.checkpoints)]
    for name in found:
        problems.add(unknown_name("row", name, [*recipe.methods, *recipe.checkpoints]))
    return {normalise(name) for name in found}
