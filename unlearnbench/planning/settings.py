"""Changes of a recipe: `--set` values, a selection of its rows, or the part that one job needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from unlearnbench.errors import Problems, UsageError, normalise, unknown_name
from unlearnbench.planning.attacks import attack_of
from unlearnbench.planning.columns import plugin_of
from unlearnbench.plugins.fingerprint import options_hash
from unlearnbench.plugins.kinds import OfferedKind
from unlearnbench.plugins.options import Setting, read_as, read_given, untyped, wrong_value
from unlearnbench.plugins.registry import find_plugin
from unlearnbench.records.base import Value
from unlearnbench.records.cells import CellKey
from unlearnbench.records.recipe import Recipe, Topic, TrainerOptions
from unlearnbench.system.files import JsonCache, content_hash


def parse_setting(text: str) -> tuple[str, str, Value | Setting]:
    """Parse `NAME.option=value` into (name, option, value); the value is left to the option's type, unless it is plain."""
    target, equals, raw = text.partition("=")
    name, dot, option = target.rpartition(".")
    if not equals or not dot or not name or not option:
        raise UsageError(f"--set takes NAME.option=value, as in --set rmu.lr=5e-5; got '{text}'.")
    try:
        node, value = yaml.compose(raw, Loader=yaml.SafeLoader), yaml.safe_load(raw)
    except (yaml.YAMLError, ValueError):  # 2024-99-99 is no date
        return name, option, raw
    quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"')
    if quoted or value == raw or (type(value) is int and str(value) == raw):
        return name, option, value
    return name, option, Setting(raw, value)


def apply_settings(recipe: Recipe, settings: Iterable[str], problems: Problems | None = None) -> Recipe:
    """Add `--set` values to the rows, benchmarks and topics that they name, and to `trainer`.

    Options of rows and benchmarks stay `Setting`s where only their types can tell what is meant; see `read_settings`.

    Args:
        recipe: recipe to change.
        settings: settings, each `NAME.option=value`.
        problems: problems, to which wrong settings are added and then left out; None raises them.

    Raises:
        UsageError: a name is none of these, or a topic or `trainer` has no such key or takes no such value.
    """
    noted = Problems() if problems is None else problems
    for text in settings:
        recipe = noted.attempt(_apply_setting, recipe, text) or recipe
    if problems is None:
        noted.settle()
    return recipe


def _apply_setting(recipe: Recipe, text: str) -> Recipe:
    name, option, value = parse_setting(text)
    section = next((place for place in ("methods", "attacks") if _same_name(name, getattr(recipe, place))), "benchmarks")
    entries: dict[str, dict[str, Any]] = getattr(recipe, section)
    if (found := _same_name(name, entries)) is not None:
        return recipe.model_copy(update={section: {**entries, found: {**entries[found], option: value}}})
    if name == "trainer":
        return recipe.model_copy(update={"trainer": _changed(recipe.trainer, name, option, value)})
    topics = {f"topics.{topic}": topic for topic in recipe.topics}
    if (found := topics.get(name)) is not None:
        return recipe.model_copy(
            update={"topics": {**recipe.topics, found: _changed(recipe.topics[found], name, option, value)}}
        )
    allowed = [*recipe.methods, *recipe.benchmarks, *recipe.attacks, "trainer", *topics]
    kinds = "rows or benchmarks" if not recipe.attacks else "rows, benchmarks or attacks"
    raise unknown_name("name in --set", name, allowed, f"It must be one of the comparison's {kinds}, topics.TOPIC or trainer.")


Section = TypeVar("Section", TrainerOptions, Topic)


def _changed(section: Section, name: str, option: str, value: Value | Setting) -> Section:
    """Return a section of the recipe with another value."""
    fields = type(section).model_fields
    if option not in fields:
        raise unknown_name(f"option of {name}", option, fields)
    read = read_as(fields[option].annotation, value)
    try:
        return type(section).model_validate({**section.model_dump(), option: read})
    except ValidationError as error:
        raise wrong_value(f"{name}.{option}", fields[option], error.errors()[0]["msg"], read) from error


def read_settings(recipe: Recipe, memory: JsonCache | None = None, broken: Collection[str] = ()) -> Recipe:
    """Return the recipe with each `Setting` read by its option's type, as it can be written down.

    What it reads follows from the plugin's source, so it is remembered: going on with a finished comparison imports no method.

    Args:
        recipe: recipe with `--set` values applied.
        memory: cache of what was read once.
        broken: rows whose method cannot be loaded.
    """
    plugins: dict[str, tuple[OfferedKind, dict[str, str]]] = {
        "methods": ("method", {row: method for row, (method, _) in recipe.variants().items()}),
        "attacks": ("attack", {label: attack_of(label, given) for label, given in recipe.attacks.items()}),
        "benchmarks": ("benchmark", {name: plugin_of(name, given) for name, given in recipe.benchmarks.items()}),
    }
    changes: dict[str, dict[str, dict[str, Any]]] = {}
    for section, (kind, names) in plugins.items():
        entries: dict[str, dict[str, Any]] = getattr(recipe, section)
        changes[section] = {
            entry: untyped(given) if entry in broken else _read(kind, names[entry], given, memory)
            for entry, given in entries.items()
        }
    return recipe.model_copy(update=changes)


def _read(kind: OfferedKind, name: str, given: dict[str, Any], memory: JsonCache | None) -> dict[str, Any]:
    """Return the options of one plugin; as YAML reads them where it cannot be found or loaded, which its planning says."""
    if not any(isinstance(value, Setting) for value in given.values()):
        return given
    try:
        plugin = find_plugin(kind, name)
        facts = {option: vars(value) if isinstance(value, Setting) else value for option, value in given.items()}
        key = content_hash(["settings", kind, plugin.info.name, plugin.source_hash, options_hash(), facts])
        read = memory.get(key) if memory is not None else None
        if read is None:
            read = read_given(plugin.spec, given)
            if memory is not None:
                memory.put(key, read)
    except UsageError:
        return untyped(given)
    return read


def _same_name(name: str, known: Mapping[str, object]) -> str | None:
    return next((candidate for candidate in known if normalise(candidate) == normalise(name)), None)


def one_row(recipe: Recipe, variant: str, seed: int, cells: Collection[str]) -> Recipe:
    """Return the part of a recipe that one job needs: its row, and for a control the row that it is like.

    Args:
        recipe: recipe of the comparison.
        variant: row of the job.
        seed: seed of the job.
        cells: names of the cells that it owes; none means all.
    """
    rows = {variant, recipe.controls.get(variant)}
    changes: dict[str, Any] = {
        section: {name: value for name, value in getattr(recipe, section).items() if name in rows}
        for section in ("methods", "checkpoints", "controls")
    }
    keys = [CellKey.read(variant, name, seed) for name in cells]
    attacks = {key.attack for key in keys}
    changes["attacks"] = {label: options for label, options in recipe.attacks.items() if label in attacks}
    if keys and recipe.looks_every is None and not changes["attacks"]:  # a look asks all of them, and so does an attack
        asked = {key.benchmark for key in keys}
        changes["benchmarks"] = {name: options for name, options in recipe.benchmarks.items() if name in asked}
    if variant in (*recipe.methods, *recipe.controls) or not changes["attacks"]:
        changes["seeds"] = [seed]  # an attack takes all of them where the model itself has none
    return recipe.model_copy(update={**changes, "reference": []})


def select(
    names: Iterable[str] | Mapping[str, Mapping[str, Any] | None], configured: Mapping[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return the named entries: those the recipe configures keep their options, new ones start from their defaults.

    Args:
        names: names of the entries; of a mapping, each with options to add or change.
        configured: existing entries with their options.
    """
    given = names if isinstance(names, Mapping) else {}
    chosen: dict[str, dict[str, Any]] = {}
    for name in names:
        known = _same_name(name, configured)
        chosen[known or name] = {**(configured[known] if known else {}), **(given.get(name) or {})}
    return chosen
