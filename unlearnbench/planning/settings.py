"""Change a recipe: `--set` values, a selection of its rows, or what one job needs of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import yaml

from unlearnbench.errors import Problems, UsageError, normalise, unknown_name
from unlearnbench.records.base import Value
from unlearnbench.records.recipe import Recipe


def parse_setting(text: str) -> tuple[str, str, Value]:
    """`NAME.option=value` -> (name, option, value); the value is read as YAML."""
    target, equals, raw = text.partition("=")
    name, dot, option = target.rpartition(".")
    if not equals or not dot or not name or not option:
        raise UsageError(f"--set takes NAME.option=value, as in --set rmu.lr=5e-5; got '{text}'.")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not valid YAML.") from error
    return name, option, value


def apply_settings(recipe: Recipe, settings: Iterable[str], problems: Problems | None = None) -> Recipe:
    """Add `--set` values to the variants and benchmarks they name.

    Args:
        recipe: to change.
        settings: `NAME.option=value`.
        problems: where to note what is wrong, and leave it out; None raises it.

    Raises:
        UsageError: a name is neither a row nor a benchmark of the recipe.
    """
    noted = Problems() if problems is None else problems
    methods = {name: dict(options) for name, options in recipe.methods.items()}
    benchmarks = {name: dict(options) for name, options in recipe.benchmarks.items()}
    for text in settings:
        with noted.noted():
            name, option, value = parse_setting(text)
            found = _same_name(name, methods) or _same_name(name, benchmarks)
            if found is None:
                allowed = [*methods, *benchmarks]
                raise unknown_name("name in --set", name, allowed, "It must be one of the comparison's rows or benchmarks.")
            (methods if found in methods else benchmarks)[found][option] = value
    if problems is None:
        noted.settle()
    return recipe.model_copy(update={"methods": methods, "benchmarks": benchmarks})


def _same_name(name: str, known: Mapping[str, object]) -> str | None:
    return next((candidate for candidate in known if normalise(candidate) == normalise(name)), None)


def one_row(recipe: Recipe, variant: str, seed: int, benchmarks: Collection[str]) -> Recipe:
    """What of a recipe one job needs: its row, and for a control the row that it is like; no benchmarks means all."""
    rows = {variant, recipe.controls.get(variant)}
    changes: dict[str, Any] = {
        section: {name: value for name, value in getattr(recipe, section).items() if name in rows}
        for section in ("methods", "checkpoints", "controls")
    }
    if benchmarks and recipe.looks_every is None:  # a look asks all of them
        changes["benchmarks"] = {name: options for name, options in recipe.benchmarks.items() if name in benchmarks}
    return recipe.model_copy(update={**changes, "seeds": [seed], "reference": []})


def select(
    names: Iterable[str] | Mapping[str, Mapping[str, Any] | None], configured: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The named entries: those the recipe configures keep their options, new ones start from their defaults.

    Args:
        names: of the entries; of a mapping, each with options to add or change.
        configured: the entries that there are, with their options.
    """
    given = names if isinstance(names, Mapping) else {}
    chosen: dict[str, dict[str, Any]] = {}
    for name in names:
        known = _same_name(name, configured)
        chosen[known or name] = {**(configured[known] if known else {}), **(given.get(name) or {})}
    return chosen
