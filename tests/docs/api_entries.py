"""What the docstrings and signatures of `unlearnbench.api` say, name by name; `api_reference` makes a page of it."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib
import inspect
import itertools
import re
import sys
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

HOME = re.compile(r"\bunlearnbench(\.\w+)+\.(?=\w)")  # of a name in a signature
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source|Deviations):(?: (.*))?$")
ENTRY = re.compile(r"^ {4}(\*{0,2}\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)
MOST = 110  # characters of a call in one line


class Doc(NamedTuple):
    """A docstring in its parts.

    Attributes:
        text: what stands before the first section.
        entries: by section, the names it has with what is said of them.
        prose: by section, its text where it has no names.
    """

    text: str
    entries: dict[str, dict[str, str]]
    prose: dict[str, str]


class Member(NamedTuple):
    """A public method, property or attribute of a class.

    Attributes:
        name: as it is written behind the dot.
        signature: with its types; of a property the type.
        doc: its docstring in its parts.
        parameters: that a caller gives.
        documented_elsewhere: it overrides a method of a library's class, or of one that has its own entry.
    """

    name: str
    signature: list[str]
    doc: Doc
    parameters: list[str]
    documented_elsewhere: bool


class Entry(NamedTuple):
    """One name of the page.

    Attributes:
        name: as an author writes it.
        signature: line by line, what an author may rely on.
        doc: the docstring in its parts.
        parameters: of the function, or of the class's `__init__`; fields of a record.
        members: of a class.
        bases: classes of a library or with an entry of their own, which a class extends.
    """

    name: str
    signature: list[str]
    doc: Doc
    parameters: list[str]
    members: list[Member]
    bases: list[str]


class Found(NamedTuple):
    """A type, and the module where it lives."""

    kind: Any
    home: str


def parsed(docstring: str | None) -> Doc:
    """A docstring in its parts; sections as Google's style has them."""
    parts: dict[str, list[str]] = {"": []}
    section = ""
    for line in (docstring or "").splitlines():
        if found := SECTION.match(line):
            section = found[1]
            parts[section] = [f"    {found[2]}"] if found[2] else []
        else:
            parts[section].append(line)
    bodies = {name: "\n".join(lines) for name, lines in parts.items()}
    text = bodies.pop("").strip()
    entries = {name: {key: _flat(said) for key, said in ENTRY.findall(body)} for name, body in bodies.items()}
    return Doc(text, entries, {name: _flat(body) for name, body in bodies.items()})


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def entry_of(name: str, thing: Any, home: str, *, alone: bool = True) -> Entry:
    """What the page says of a thing.

    Args:
        name: as an author writes it.
        thing: a function, a class, a constant or an alias of a type.
        home: the module where it lives.
        alone: a class whose name an author imports; else its constructor is nobody's business.
    """
    thing = inspect.unwrap(thing) if callable(thing) else thing
    if typing.is_typeddict(thing):
        fields = [f"{key}: {_plain(hint)}" for key, hint in vars(thing)["__annotations__"].items()]
        return Entry(name, fields, parsed(inspect.getdoc(thing)), list(vars(thing)["__annotations__"]), [], [])
    if inspect.isclass(thing):
        members = list(_members(thing))
        parameters = _parameters(thing) if alone or _is_record(thing) else []
        lines = [*(_call(name, parameters) if parameters else []), *(line for member in members for line in member.signature)]
        lines = lines or [name]
        return Entry(name, lines, parsed(_own_doc(thing)), [p.name for p in parameters], members, _bases(thing))
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        parameters = list(signature.parameters.values())
        lines = _call(name, parameters, signature.return_annotation)
        return Entry(name, lines, parsed(inspect.getdoc(thing)), [p.name for p in parameters], [], [])
    shown = re.sub(r"<[\w.]*?(\w+) object at 0x\w+>", r"\1", repr(thing)).replace("typing.", "").replace("collections.abc.", "")
    return Entry(name, [HOME.sub("", shown)], parsed(module_names(home)[1].get(name.rpartition(".")[2])), [], [], [])


def _bases(thing: type) -> list[str]:
    """Those whose members an author finds on the class as well: of a library, or with an entry of their own."""
    library = {base: base.__module__.partition(".")[0] for base in thing.__bases__}
    names = {base: f"{top}.{base.__name__}" for base, top in library.items() if top in ("lightning", "torch", "transformers")}
    return [names.get(base, base.__name__) for base in thing.__bases__ if base in names or (_ours(base) and _has_entry(base))]


def _own_doc(thing: type) -> str | None:
    """A class's docstring, unless it is one that Python wrote."""
    doc = inspect.getdoc(thing)
    return None if doc and doc.startswith(f"{thing.__name__}(") else doc


def _call(name: str, parameters: list[inspect.Parameter], returned: Any = inspect.Signature.empty) -> list[str]:
    """A call; of a class, or where it is long, with a line for each parameter, so that a new one changes no line."""
    arrow = "" if returned is inspect.Signature.empty else f" -> {_written(returned)}"
    lines: list[str] = []
    kinds = [parameter.kind for parameter in parameters]
    for place, parameter in enumerate(parameters):
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.KEYWORD_ONLY not in kinds[:place]:
            lines += [] if parameter.VAR_POSITIONAL in kinds[:place] else ["    *,"]
        shown = parameter.replace(annotation=_written(parameter.annotation), default=_brief(parameter.default))
        lines.append(f"    {HOME.sub('', str(shown))},")
    short = f"{name}({' '.join(line.strip() for line in lines).rstrip(',')}){arrow}"
    return [short] if arrow and len(short) <= MOST else [f"{name}(", *lines, f"){arrow}"]


def _is_record(thing: type) -> bool:
    return dataclasses.is_dataclass(thing) or issubclass(thing, BaseModel) or hasattr(thing, "_fields")


def _parameters(thing: type) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return []


def _members(thing: type) -> Iterator[Member]:
    """What a caller or a subclass finds, in the order of the source; fields of records are parameters."""
    if not _is_record(thing):
        for name, hint in vars(thing).get("__annotations__", {}).items():
            if not name.startswith("_"):
                default = f" = {vars(thing)[name]!r}" if name in vars(thing) else ""
                yield Member(name, [f".{name}: {_plain(hint)}{default}"], Doc("", {}, {}), [], False)
    for name, member in vars(thing).items():
        if (name.startswith("_") and name != "__call__") or name == "model_config":
            continue
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        above = [base for base in thing.__mro__[1:] if hasattr(base, name)]
        if any(_ours(base) and _has_entry(base) for base in above):
            continue  # what it promises stands with its base
        elsewhere = any(map(_has_entry, above))
        doc = parsed(inspect.getdoc(getattr(thing, name)))
        if inspect.isfunction(function):
            signature = inspect.signature(function)
            parameters = list(signature.parameters.values())[0 if isinstance(member, staticmethod) else 1 :]
            context = inspect.isgeneratorfunction(inspect.unwrap(function)) and hasattr(function, "__wrapped__")
            lines = _call(f".{name}", parameters, "AbstractContextManager[None]" if context else signature.return_annotation)
            yield Member(name, lines, doc, [p.name for p in parameters], elsewhere)
        elif isinstance(member, property | functools.cached_property):
            getter = member.fget if isinstance(member, property) else member.func
            returned = inspect.signature(getter).return_annotation
            yield Member(name, [f".{name}: {_written(returned)}"], doc, [], elsewhere)


def _has_entry(base: type) -> bool:
    """Whether a base class is a library's, or has an entry of its own."""
    from unlearnbench import api

    return base is not object and (not _ours(base) or base.__name__ in api.__all__)


def _brief(default: object) -> object:
    """A default that is a record or a spec as `Training()`: what it holds is written down where it is defined."""
    if isinstance(default, BaseModel) or (dataclasses.is_dataclass(default) and not isinstance(default, type)):
        return _Written(f"{type(default).__name__}()")
    if type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return _Written("<made anew>")
    return default


class _Written(str):
    """An annotation without the quotes that postponed evaluation puts around it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _written(annotation: Any) -> Any:
    if annotation is inspect.Signature.empty:
        return annotation
    return _Written(HOME.sub("", annotation if isinstance(annotation, str) else _plain(annotation)))


def _plain(hint: Any) -> str:
    """An annotation as it was written."""
    if isinstance(hint, str):
        return hint
    if isinstance(hint, typing.ForwardRef):
        return hint.__forward_arg__
    text = hint.__name__ if inspect.isclass(hint) and not typing.get_args(hint) else str(hint)
    return HOME.sub("", text).replace("typing.", "").replace("collections.abc.", "")


def _ours(thing: object) -> bool:
    return str(getattr(thing, "__module__", "")).startswith("unlearnbench")


@functools.cache
def module_names(module: str) -> tuple[dict[str, str], dict[str, str]]:
    """What a module imports, types included: name -> module; and what stands below its constants and aliases, by name."""
    body = ast.parse(inspect.getsource(importlib.import_module(module))).body
    imported: dict[str, str] = {}
    said: dict[str, str] = {}
    for node in ast.walk(ast.Module(body=body, type_ignores=[])):
        if isinstance(node, ast.ImportFrom) and node.module:
            imported |= {alias.asname or alias.name: node.module for alias in node.names}
    for node, below in itertools.pairwise(body):
        if (
            isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(node, ast.Assign | ast.AnnAssign)
        ):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            said |= {target.id: str(below.value.value) for target in targets if isinstance(target, ast.Name)}
    return imported, said


def types_in(thing: Any) -> dict[str, Found]:
    """Our own classes and aliases that stand in the signatures of a thing, by name."""
    if not inspect.isclass(thing) and not inspect.isfunction(thing):
        return {}
    public = {key: m for key, m in vars(thing).items() if not key.startswith("_") or key in ("__init__", "__call__")}
    functions = [thing] if inspect.isfunction(thing) else [m for m in public.values() if inspect.isfunction(m)]
    written = [str(hint) for function in functions for hint in function.__annotations__.values()]
    if inspect.isclass(thing):
        own = [m for m in public.values() if isinstance(m, property | functools.cached_property | classmethod)]
        getters = [getattr(m, "fget", None) or getattr(m, "func", None) or getattr(m, "__func__", None) for m in own]
        written += [str(hint) for getter in getters for hint in getter.__annotations__.values()]
        written += [_plain(hint) for key, hint in vars(thing).get("__annotations__", {}).items() if not key.startswith("_")]
    names = {word for text in written for word in re.findall(r"\b_?[A-Z]\w+", text)}
    module, found = sys.modules[thing.__module__], {}
    for name in sorted(names):
        if not hasattr(module, name) and not module_names(module.__name__)[0].get(name, "").startswith("unlearnbench"):
            continue
        home = module_names(module.__name__)[0].get(name, module.__name__)
        kind = getattr(importlib.import_module(home), name)
        if inspect.isclass(kind) if _ours(kind) else home.startswith("unlearnbench") and typing.get_origin(kind) is not None:
            found[name] = Found(kind, home)
    return found


def undescribed(entry: Entry) -> list[str]:
    """What of an entry is not described: the thing itself, its parameters, its members and theirs."""
    missing = [] if entry.doc.text else [entry.name]
    said = {**entry.doc.entries.get("Args", {}), **entry.doc.entries.get("Attributes", {})}
    missing += [f"{entry.name}({name})" for name in entry.parameters if not _told(name, said)]
    for member in entry.members:
        if member.documented_elsewhere:
            continue
        if not member.doc.text and member.name not in said:
            missing.append(f"{entry.name}.{member.name}")
        told = member.doc.entries.get("Args", {})
        missing += [f"{entry.name}.{member.name}({name})" for name in member.parameters if not _told(name, told)]
    return missing


def _told(name: str, said: dict[str, str]) -> bool:
    return bool(said.get(name) or said.get(f"*{name}") or said.get(f"**{name}"))
