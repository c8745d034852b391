"""From a recipe's name or YAML file to a recipe; what is wrong in one is said with its line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from unlearnbench.errors import CombinedUsageError, UsageError, closest, reason_of, unknown_name
from unlearnbench.records.base import unfit_numbers
from unlearnbench.records.recipe import Recipe, Topic, TrainerOptions, TuneOptions, check_names

HALF = re.compile("[\ud800-\udfff]")
RecipeLike = str | os.PathLike[str] | Mapping[str, Any] | Recipe


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("unlearnbench") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: RecipeLike) -> Recipe:
    """Return a recipe, checked: a shipped one by its name, a YAML file by its path, or what a file would hold as a mapping.

    Args:
        recipe: `"sandbox"`, `"mine.yaml"`, a path, a mapping with the keys of a recipe file, or a recipe.

    Raises:
        UsageError: no such recipe, not YAML, or a key that does not exist (with its line and a suggestion).
    """
    if isinstance(recipe, Recipe):
        return check_names(recipe)
    if isinstance(recipe, Mapping):
        return _validated(recipe, "The recipe", "comparison", None)
    name_or_path = os.fspath(recipe)
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The recipe {path} cannot be read: {_reason(error)}.") from error
        return parse_recipe(text, str(path), path.stem)
    if name_or_path not in shipped_recipes():
        raise unknown_name("recipe", name_or_path, shipped_recipes(), "A recipe of your own is a path that ends in .yaml.")
    text = (resources.files("unlearnbench") / "recipes" / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    return parse_recipe(text, f"{name_or_path}.yaml", name_or_path)


def parse_recipe(text: str, origin: str, name: str) -> Recipe:
    """Parse YAML; `origin` is named in messages, `name` is the default recipe name."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except Exception as error:  # a tag on a value that it does not suit may raise anything
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}," if mark else ""
        deep = "it is nested too deeply" if isinstance(error, RecursionError) else ""
        reason = deep or getattr(error, "problem", None) or reason_of(error)
        raise UsageError(f"{origin}{where} is not valid YAML: {reason}.") from error
    _check_nodes(root, origin)
    if not isinstance(content, dict):
        raise UsageError(f"{origin} must be a mapping with the keys {', '.join(Recipe.model_fields)}.")
    return _validated(content, origin, name, root)


def _check_nodes(root: yaml.Node | None, origin: str) -> None:
    """Refuse what YAML allows and nobody means: a key twice, of which the first would count for nothing, and half characters.

    Raises:
        UsageError: says the line.
    """
    waiting, seen = [root], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        line = f"{origin}, line {node.start_mark.line + 1}:"
        if isinstance(node, yaml.ScalarNode) and HALF.search(node.value):
            raise UsageError(f"{line} '{node.value}' has half a character (a lone surrogate), which is no text; remove it.")
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: dict[str, int] = {}
            for key, value in node.value:
                waiting += [key, value]
                if isinstance(key, yaml.ScalarNode):
                    here = key.start_mark.line + 1
                    if key.value in keys:
                        there = f"the key '{key.value}' is there twice, first in line {keys[key.value]}"
                        raise UsageError(f"{origin}, line {here}: {there}; keep one of them.")
                    keys[key.value] = here


def _validated(content: Mapping[str, Any], origin: str, name: str, root: yaml.Node | None) -> Recipe:
    """The recipe that a mapping describes; `root` tells the lines, where it comes from a file."""
    content = {"name": name, **content}
    # a key without a value (`wmdp:`) means "with its defaults"
    for section in ("benchmarks", "methods"):
        if isinstance(content.get(section), dict):
            content[section] = {key: {} if value is None else value for key, value in content[section].items()}
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise _explain(error.errors(), root, origin) from error
    unfit = [
        {"loc": path, "type": "unfit", "msg": problem, "input": given}
        for path, problem, given in unfit_numbers(content, recipe.model_dump())
    ]
    if unfit:
        raise _explain(unfit, root, origin)
    return check_names(recipe)


def _explain(errors: Iterable[Mapping[str, Any]], root: yaml.Node | None, origin: str) -> UsageError:
    """A sentence about each problem: the line, what was given, what is allowed."""
    problems = [_explain_one(one, root, origin) for one in errors]
    return problems[0] if len(problems) == 1 else CombinedUsageError(map(str, problems))


def _explain_one(first: Mapping[str, Any], root: yaml.Node | None, origin: str) -> UsageError:
    location = list(first["loc"])
    line, section = _locate(root, location)
    origin = origin if root is None else f"{origin}, line {line}"
    dotted = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        allowed = {"topics": Topic, "trainer": TrainerOptions, "tune": TuneOptions}.get(section, Recipe).model_fields
        guess = closest(str(location[-1]), allowed)
        meant = f" Did you mean '{guess}'?" if guess else ""
        return UsageError(f"{origin}: unknown key '{dotted}'.{meant} Allowed: {', '.join(allowed)}.")
    if first["type"] == "missing":
        return UsageError(f"{origin}: the key '{dotted}' is missing; it has no default.")
    problem = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", first["msg"][0].lower() + first["msg"][1:])
    return UsageError(f"{origin}: '{dotted}': {problem}, got {first['input']!r}.")


def _locate(node: yaml.Node | None, location: Iterable[object]) -> tuple[int, str]:
    """The 1-based line of a key and the top-level section it stands in."""
    steps = list(location)
    line = 1
    for step in steps:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            item: yaml.Node = node.value[step]
            line, node = item.start_mark.line + 1, item
    return line, str(steps[0]) if steps else ""


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8 text"
