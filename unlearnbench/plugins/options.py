"""The options of a plugin, read from its factory's signature."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from unlearnbench.errors import PluginError, Problems, UsageError, unknown_name
from unlearnbench.plugins.specs import MethodSpec, PluginSpec, Training
from unlearnbench.records.base import Options, Value, unfit_numbers
from unlearnbench.records.search_space import Domain, check_domain, probes

UNIONS = (typing.Union, types.UnionType)


@dataclass(frozen=True)
class Option:
    """One line of `unlearnbench plugins NAME`."""

    name: str
    type: str
    default: Value


@dataclass(frozen=True)
class Setting:
    """A value of `--set`; the option's type decides how it is read.

    Attributes:
        text: value as it was written.
        value: value as YAML reads it.
    """

    text: str
    value: Value


def is_text(kind: Any) -> bool:
    """Return whether an option of this type takes texts and nothing else, but for None."""
    if typing.get_origin(kind) is Annotated:
        return is_text(kind.__origin__)
    if typing.get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in typing.get_args(kind))
    if typing.get_origin(kind) in UNIONS:
        return all(is_text(member) for member in typing.get_args(kind) if member is not types.NoneType)
    return isinstance(kind, type) and issubclass(kind, str | PurePath)


def read_as(kind: Any, given: object) -> Any:
    """Read a given value for an option of this type: a text stays as it was written, whatever YAML would read.

    Args:
        kind: type of the option.
        given: a `Setting`, or a recipe's value, in which numbers that are no text's canonical form are texts already.
    """
    if not is_text(kind):
        return given.value if isinstance(given, Setting) else given
    if isinstance(given, Setting):
        return None if given.value is None and types.NoneType in typing.get_args(kind) else given.text
    return str(given) if type(given) is int else given


def read_given(spec: PluginSpec, given: Mapping[str, object]) -> dict[str, Any]:
    """Return the given options, each read by its type; those that do not exist as YAML reads them."""
    known = _options_model(spec.factory, getattr(spec, "training", None)).model_fields
    return {name: read_as(known[name].annotation if name in known else None, value) for name, value in given.items()}


def untyped(given: Mapping[str, object]) -> dict[str, Any]:
    """Return the given options as YAML reads them, where no types are known."""
    return {name: read_as(None, value) for name, value in given.items()}


@functools.cache
def _options_model(factory: Callable[..., object], training: Training | None) -> type[BaseModel]:
    """Build a pydantic model of the factory's keyword-only parameters and of the budget."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    try:
        parameters = [
            parameter
            for parameter in inspect.signature(factory).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.name != "argument"
        ]
        # only these: the model's annotation is often importable for type checkers alone
        wanted = {p.name: function.__annotations__.get(p.name, Any) for p in parameters}
        names = getattr(function, "__globals__", {})  # a class without an `__init__` of its own has object's
        hints = typing.get_type_hints(types.SimpleNamespace(__annotations__=wanted), globalns=names, include_extras=True)
    except (AttributeError, TypeError, ValueError, NameError) as error:
        raise PluginError(f"The options of {factory!r} cannot be read: {error}.") from error
    declared: dict[str, Any] = {
        p.name: (hints[p.name], ... if p.default is inspect.Parameter.empty else p.default) for p in parameters
    }
    if training is not None:
        if clash := declared.keys() & {field.name for field in fields(Training)}:
            raise PluginError(f"The options of {factory!r} clash with its budget: {', '.join(sorted(clash))}; rename them.")
        hints = typing.get_type_hints(Training, include_extras=True)
        declared |= {field.name: (hints[field.name], getattr(training, field.name)) for field in fields(Training)}
    config = ConfigDict(extra="forbid", validate_default=False, protected_namespaces=())
    return create_model("Options", __config__=config, **declared)


def takes_argument(factory: Callable[..., object]) -> bool:
    """Return whether the factory accepts the part after the colon of `NAME:ARGUMENT`."""
    return "argument" in inspect.signature(factory).parameters


def list_options(spec: PluginSpec) -> list[Option]:
    """Return every option a user can set, with its type and default."""
    model = _options_model(spec.factory, getattr(spec, "training", None))
    return [
        Option(name, _type_name(field), "required" if field.is_required() else field.default)
        for name, field in model.model_fields.items()
    ]


def _type_name(field: FieldInfo) -> str:
    """Return the type as its author wrote it, with its bounds: `float > 0`."""
    return _bounded(field.annotation, field.metadata)


def _bounded(kind: Any, metadata: Iterable[Any]) -> str:
    if typing.get_origin(kind) is Annotated:
        return _bounded(kind.__origin__, kind.__metadata__)
    if typing.get_origin(kind) in UNIONS:  # `PositiveInt | None`, a `Literal` or None
        return " | ".join("None" if member is types.NoneType else _bounded(member, ()) for member in typing.get_args(kind))
    name = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    bounds = [f"{sign} {getattr(b, word)}" for b in metadata for word, sign in signs.items() if hasattr(b, word)]
    return " ".join([name, ", ".join(bounds)]) if bounds else name


def resolve_options(spec: PluginSpec, given: Mapping[str, Value | Setting], owner: str) -> Options:
    """Return defaults and the given values as one validated dictionary, JSON-able.

    Args:
        spec: spec whose factory declares the options.
        given: values from the recipe and from `--set`; strings such as `3e-5` become numbers where a number is expected, and
            texts stay texts.
        owner: name of the variant or benchmark, for messages.

    Raises:
        UsageError: options that do not exist (with a suggestion) or values of the wrong type, all of them at once.
    """
    model = _options_model(spec.factory, getattr(spec, "training", None))
    problems = Problems()
    for name in given:
        if name not in model.model_fields:
            kind = f"option of {owner}"
            problems.add(unknown_name(kind, name, model.model_fields, f"`unlearnbench plugins {spec.name}` explains them."))
    known = {name: value for name, value in read_given(spec, given).items() if name in model.model_fields}
    resolved: Options = {}
    try:
        options = model(**known)
    except ValidationError as error:
        wrong = {
            str(problem["loc"][0]): problem["msg"] for problem in reversed(error.errors())
        }  # of an option's several the first
    else:
        wrong = {str(path[0]): problem for path, problem, _ in unfit_numbers(known, options.model_dump())}
        resolved = options.model_dump(mode="json")
    for name, field in model.model_fields.items():
        if name in wrong and name not in known:
            problems.add(UsageError(f"Option {owner}.{name} has no default; give it with --set {owner}.{name}=VALUE."))
        elif name in wrong:
            problems.add(wrong_value(f"{owner}.{name}", field, wrong[name], known[name]))
    problems.settle()
    return resolved


def wrong_value(option: str, field: FieldInfo, problem: str, given: object) -> UsageError:
    """Return the error on a value that an option does not take, with what it takes.

    Args:
        option: name of the option, with its owner's name.
        field: field that declares it.
        problem: problem in pydantic's words.
        given: value that the option does not take.
    """
    problem = problem[0].lower() + problem[1:]
    quoted = "; in a recipe a text that reads as something else stands in quotes"
    advice = quoted if is_text(field.annotation) and given is not None and not isinstance(given, str) else ""
    return UsageError(f"Option {option} takes {_type_name(field)}: {problem}, got {given!r}{advice}.")


def resolve_space(spec: MethodSpec, changes: Mapping[str, Domain | None], options: Options, owner: str) -> dict[str, Domain]:
    """Return the ranges from which a row's options are chosen.

    Args:
        spec: spec whose declared space is the start.
        changes: ranges from the recipe; None takes an option out of the search.
        options: other options of the row, as given.
        owner: name of the row, for messages.

    Raises:
        UsageError: an option that does not exist, or a value that it does not take.
    """
    merged = {name: domain for name, domain in {**spec.space, **changes}.items() if domain is not None}
    for name, domain in merged.items():
        try:
            check_domain(domain)
        except ValueError as error:
            raise UsageError(f"The space of {owner}.{name}: {error}.") from error
        for value in probes(domain):
            resolve_options(spec, {**options, name: value}, owner)
    return merged


def split_budget(spec: MethodSpec, options: Options) -> tuple[Options, Training | None]:
    """Separate the factory's own options from the budget."""
    if spec.training is None:
        return options, None
    names = set(asdict(spec.training))
    budget = {name: value for name, value in options.items() if name in names}
    return {n: v for n, v in options.items() if n not in names}, Training(**budget)  # pyright: ignore[reportArgumentType]
