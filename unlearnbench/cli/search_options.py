"""The options that `tune` and `compare --tune` share: the rules of a search, and the settings that are not searched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearnbench.errors import UsageError
from unlearnbench.verbs.recipes import with_fixed

if TYPE_CHECKING:
    from unlearnbench.records.recipe import Recipe


def with_rule(recipe: Recipe, keep_at_least: float | None, probe_every: int | None, seed: int | None = None) -> Recipe:
    """Return the recipe with the command line's rules of choosing and pruning."""
    if keep_at_least is not None and not 0 <= keep_at_least <= 1:
        raise UsageError(f"--keep-at-least takes a share from 0 to 1, as in .95; got {keep_at_least:g}.")
    given = {"keep_at_least": keep_at_least, "probe_every": probe_every, "seed": seed}
    changes = {name: value for name, value in given.items() if value is not None}
    return recipe.model_copy(update={"tune": recipe.tune.model_copy(update=changes)})


def with_settings(recipe: Recipe, settings: list[str]) -> Recipe:
    """Return the recipe with `--set` values, each read by its option's type, which are not searched."""
    from unlearnbench.planning.settings import apply_settings, parse_setting, read_settings

    given = [(name, option) for name, option, _ in map(parse_setting, settings)]
    return with_fixed(read_settings(apply_settings(recipe, settings)), given)
