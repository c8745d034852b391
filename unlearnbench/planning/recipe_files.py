"""From a recipe's name or YAML file to a recipe; mistakes in it are reported with their lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from unlearnbench.errors import CombinedUsageError, Problems, UsageError, closest, reason_of, unknown_name
from unlearnbench.records.base import unfit_numbers
from unlearnbench.records.recipe import Recipe, Topic, TrainerOptions, TuneOptions, check_names

HALF = re.compile("[\ud800-\udfff]")
RecipeLike = str | os.PathLike[str] | Mapping[str, Any] | Recipe
KEYS = [*Recipe.model_fields, "extends"]
OPTIONS = ("attacks", "benchmarks", "methods")  # sections whose entries have options of plugins
# how deep a recipe and the one that it extends are merged: topics.bio.forget, tune.spaces.rmu.lr; elsewhere trainer.devices
DEPTHS = {"topics": 2, "attacks": 2, "benchmarks": 2, "methods": 2, "floors": 2, "tune": 3}
INTEGER, TEXT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:str"
PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("unlearnbench") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_recipe(recipe: RecipeLike) -> Recipe:
    """Return a recipe, checked: a shipped one by its name, a YAML file by its path, or what a file would hold as a mapping.

    What a file or a mapping extends is part of it; a mapping names paths from the working directory on.

    Args:
        recipe: `"sandbox"`, `"mine.yaml"`, a path, a mapping with the keys of a recipe file, or a recipe.

    Raises:
        UsageError: no such recipe, not YAML, or a key that stands twice or does not exist (with its line and a suggestion).
    """
    if isinstance(recipe, Recipe):
        return check_names(recipe)
    if isinstance(recipe, Mapping):
        return _resolved(_File("The recipe", None, _with_defaults(recipe)), "comparison")
    name_or_path = os.fspath(recipe)
    text, origin = _read(name_or_path)
    return parse_recipe(text, origin, Path(name_or_path).stem if _is_path(name_or_path) else name_or_path)


def parse_recipe(text: str, origin: str, name: str) -> Recipe:
    """Parse a recipe's YAML and what it extends.

    Args:
        text: text of the file.
        origin: path of the file, for messages and for the paths of the recipes that it extends.
        name: name of the recipe, unless the text gives one.
    """
    return _resolved(_parse(text, origin), name)


def _resolved(first: _File, name: str) -> Recipe:
    """Return the recipe that a file or a mapping describes with what it extends; `name` is its name unless it gives one."""
    files = [first]
    while (base := _base_of(files[-1])) is not None:
        if os.path.realpath(base) in [os.path.realpath(file.origin) for file in files]:
            circle = " extends ".join([*(file.origin for file in files), base])
            raise UsageError(f"The recipe would never end: {circle}; take one 'extends' out.")
        try:
            text, found = _read(base)
        except UsageError as error:
            raise UsageError(f"{files[-1].at(['extends'])}: 'extends': {error}") from error
        files.append(_parse(text, found))
    content: dict[str, Any] = {}
    for file in reversed(files):
        content = _merged({key: value for key, value in content.items() if key != "name"}, file.content)
    content = {"name": name, **content}
    content.pop("extends", None)
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise _explain(error.errors(), files) from error
    unfit = [
        {"loc": path, "type": "unfit", "msg": problem, "input": given}
        for path, problem, given in unfit_numbers(content, recipe.model_dump())
    ]
    if unfit:
        raise _explain(unfit, files)
    return check_names(recipe)


@dataclass(frozen=True)
class _File:
    """One recipe file, or a mapping: its name in messages, a file's nodes with their lines, and its content."""

    origin: str
    root: yaml.Node | None
    content: dict[str, Any]

    def place(self, location: Iterable[object]) -> _Place:
        """Return the place of a key, or of as much of its path as there is; in a mapping there are no lines."""
        return _locate(self.root, location) if self.root is not None else _Place(0, _depth(self.content, location))

    def at(self, location: Iterable[object]) -> str:
        """Return the place of a key in a message's words."""
        return self.origin if self.root is None else f"{self.origin}, line {self.place(location).line}"


def _is_path(name_or_path: str) -> bool:
    return Path(name_or_path).suffix in (".yaml", ".yml")


def _read(name_or_path: str) -> tuple[str, str]:
    """Return a recipe's text, and its name in messages: its path, or for one that ships its name alone."""
    if _is_path(name_or_path):
        try:
            return Path(name_or_path).read_text(encoding="utf-8"), name_or_path
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"The recipe {name_or_path} cannot be read: {_reason(error)}.") from error
    if name_or_path not in shipped_recipes():
        raise unknown_name("recipe", name_or_path, shipped_recipes(), "A recipe of your own is a path that ends in .yaml.")
    return (resources.files("unlearnbench") / "recipes" / f"{name_or_path}.yaml").read_text(encoding="utf-8"), name_or_path


def _parse(text: str, origin: str) -> _File:
    """Parse one file's YAML, each key once."""
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        problems = Problems()
        for sentence in (*_repeated(root, origin), *_halves(root, origin)):
            problems.add(UsageError(sentence))
        problems.settle()
        for section in OPTIONS:
            for _, node in _nodes(_child(root, section)):
                # YAML reads 00111111 as octal and 12:30:45 in base 60; as texts, they become numbers by an option's type
                if node.tag == INTEGER and not PLAIN_INTEGER.fullmatch(node.value):
                    node.tag = TEXT
        content = loader.construct_document(root) if root is not None else None
    except UsageError:
        raise
    except Exception as error:  # a tag on a value that it does not suit may raise anything
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}," if mark else ""
        deep = "it is nested too deeply" if isinstance(error, RecursionError) else ""
        reason = deep or getattr(error, "problem", None) or reason_of(error)
        raise UsageError(f"{origin}{where} is not valid YAML: {reason}.") from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(content, dict):
        raise UsageError(f"{origin} must be a mapping with the keys {', '.join(KEYS)}.")
    return _File(origin, root, _with_defaults(content))


def _with_defaults(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's content in which a plugin without a value (`wmdp:`) has its defaults."""
    return {
        section: {name: {} if options is None else options for name, options in entries.items()}
        if section in OPTIONS and isinstance(entries, Mapping)
        else entries
        for section, entries in content.items()
    }


def _nodes(node: yaml.Node | None, path: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, yaml.Node]]:
    """Yield every value below a node and itself, each once, with its dotted key."""
    seen = set[int]() if seen is None else seen
    if node is None or id(node) in seen:  # aliases may go in circles
        return
    seen.add(id(node))
    yield path, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _nodes(value, f"{path}.{key.value}" if path else str(key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _nodes(item, path, seen)


def _repeated(root: yaml.Node | None, origin: str) -> Iterator[str]:
    """Yield a sentence for each key that a mapping has more than once; YAML itself would keep the last one."""
    for path, node in _nodes(root):
        lines: dict[str, list[int]] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            lines.setdefault(str(key.value), []).append(key.start_mark.line + 1)
        for name, at in lines.items():
            if len(at) > 1:
                where = f"lines {', '.join(map(str, at[:-1]))} and {at[-1]}" if at[0] != at[-1] else f"line {at[0]}"
                dotted = f"{path}.{name}" if path else name
                yield f"{origin}, {where}: the key '{dotted}' stands more than once; keep one of them."


def _halves(root: yaml.Node | None, origin: str) -> Iterator[str]:
    """Yield a sentence for each value or key with half a character, which no file can store."""
    for _, node in _nodes(root):
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        for part in (*keys, node):
            if isinstance(part, yaml.ScalarNode) and HALF.search(part.value):
                text = part.value.encode("ascii", "backslashreplace").decode()
                line = part.start_mark.line + 1
                yield f"{origin}, line {line}: '{text}' has half a character (a lone surrogate), which is no text; remove it."


def _base_of(file: _File) -> str | None:
    """Return the recipe that a file extends: a shipped one's name, or a path, from the file's own folder on."""
    base = file.content.get("extends")
    base = os.fspath(base) if isinstance(base, os.PathLike) else base
    if base is None or (isinstance(base, str) and not _is_path(base)):
        return base
    if not isinstance(base, str):
        raise UsageError(
            f"{file.at(['extends'])}: 'extends' takes one shipped recipe's name or the path of one YAML file, got {base!r}."
        )
    return os.path.normpath(Path(file.origin).parent / base)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge a recipe into the one that it extends: entries and their options are added or replaced one by one, lists as a
    whole.
    """
    return {**base, **{key: _merge(base.get(key), value, DEPTHS.get(key, 1)) for key, value in changes.items()}}


def _merge(base: Any, changes: Any, depth: int) -> Any:
    if depth == 0 or not isinstance(base, Mapping) or not isinstance(changes, Mapping):
        return changes
    return {**base, **{key: _merge(base.get(key), value, depth - 1) for key, value in changes.items()}}


def _explain(errors: Iterable[Mapping[str, Any]], files: Sequence[_File]) -> UsageError:
    """Return a sentence about each problem: the line, what was given, what is allowed."""
    problems = [_explain_one(error, files) for error in errors]
    return problems[0] if len(problems) == 1 else CombinedUsageError(map(str, problems))


def _explain_one(first: Mapping[str, Any], files: Sequence[_File]) -> UsageError:
    location = list(first["loc"])
    # the file that says most of it; where several do, the one that has the last word
    at, dotted = max(files, key=lambda file: file.place(location).depth).at(location), ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        models = {"topics": Topic, "trainer": TrainerOptions, "tune": TuneOptions}
        section = models.get(str(location[0])) if len(location) > 1 else None
        allowed = KEYS if section is None else list(section.model_fields)
        guess = closest(str(location[-1]), allowed)
        meant = f" Did you mean '{guess}'?" if guess else ""
        return UsageError(f"{at}: unknown key '{dotted}'.{meant} Allowed: {', '.join(allowed)}.")
    if first["type"] == "missing":
        return UsageError(f"{at}: the key '{dotted}' is missing; it has no default.")
    problem = re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", first["msg"][0].lower() + first["msg"][1:])
    return UsageError(f"{at}: '{dotted}': {problem}, got {first['input']!r}.")


class _Place(NamedTuple):
    """The place of a key: its 1-based line, and the number of steps of its path that exist."""

    line: int
    depth: int


def _locate(node: yaml.Node | None, location: Iterable[object]) -> _Place:
    """Return the place of a key, or of as much of its path as there is."""
    place = _Place(1, 0)
    for step in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):  # those of a merged alias come first
                if key.value == str(step):
                    place, node = _Place(key.start_mark.line + 1, place.depth + 1), value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            item: yaml.Node = node.value[step]
            place, node = _Place(item.start_mark.line + 1, place.depth + 1), item
    return place


def _depth(content: Any, location: Iterable[Any]) -> int:
    """Return the number of steps of a key's path that a mapping has."""
    depth = 0
    for step in location:
        known = content if isinstance(content, Mapping) else range(len(content)) if isinstance(content, list) else ()
        if step in known:
            content, depth = content[step], depth + 1
    return depth


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    """Return the value of a mapping's key; None where there is no such key."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next((value for key, value in pairs if key.value == name), None)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is not UTF-8 text"
