"""Shared code of methods' and benchmarks' checks: how plugins are offered and described, and the statements on their checks."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from unlearnbench.errors import PluginError, normalise
from unlearnbench.plugins.kinds import KINDS, OfferedKind
from unlearnbench.plugins.registry import find_plugin, list_plugins
from unlearnbench.plugins.specs import PluginSpec
from unlearnbench.records.base import Value
from unlearnbench.testing.checks import CheckFailed, require

STATEMENT = "CONFORMANCE"  # a dictionary in the plugin's module, or in a package around it


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A distribution's statements on one of its plugins.

    Attributes:
        options: options that fit a tiny model, where the defaults are made for large ones.
        expected_failures: reasons why checks are known to fail, by the check's name.
    """

    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    expected_failures: Mapping[str, str] = field(default_factory=dict[str, str])


def stated_by(spec: PluginSpec) -> Stated:
    """Return the entry of `CONFORMANCE` by the plugin's name, in the factory's module or a package around it.

    Raises:
        PluginError: it has other keys than `options` and `expected_failures`.
    """
    module = str(getattr(spec.factory, "__module__", ""))
    while module:
        statement = getattr(sys.modules.get(module), STATEMENT, {}).get(spec.name)
        if statement is not None:
            if unknown := statement.keys() - {"options", "expected_failures"}:
                raise PluginError(
                    f"{STATEMENT} of {module} has {', '.join(sorted(unknown))} for '{spec.name}'; it takes options and "
                    "expected_failures."
                )
            return Stated(**statement)
        module = module.rpartition(".")[0]
    return Stated()


def entry_point_of(kind: OfferedKind, spec: PluginSpec) -> None:
    """Fail unless exactly one entry point of the spec's own name leads to the spec."""
    found = [info for info in list_plugins(kind) if normalise(info.name) == normalise(spec.name)]
    where = f'[project.entry-points."{KINDS[kind].group}"]'
    require(
        bool(found),
        f"no installed entry point is called '{spec.name}'; write `{spec.name} = \"MODULE\"` under {where} in pyproject.toml "
        "and install again: `pip install -e .`.",
    )
    owners = " and ".join(f"{info.distribution} ({info.module})" for info in found)
    require(len(found) == 1, f"'{spec.name}' is offered by {owners}; choose a name that nobody has.")
    require(found[0].name == spec.name, f"the entry point is called '{found[0].name}' and the spec '{spec.name}'; use one.")
    try:
        offered = find_plugin(kind, spec.name).spec
    except PluginError as error:
        raise CheckFailed(str(error)) from error
    same = _qualified(offered.factory) == _qualified(spec.factory)
    require(same, f"the entry point '{spec.name}' leads to {_qualified(offered.factory)}, not to {_qualified(spec.factory)}.")


def described(spec: PluginSpec) -> None:
    """Fail unless the factory and its module have docstrings of their own."""
    factory = spec.factory
    docstring = vars(factory).get("__doc__") if inspect.isclass(factory) else factory.__doc__
    require(
        bool((docstring or "").strip()), f"{_qualified(factory)} has no docstring; say what it does and what each option means."
    )
    module = sys.modules.get(str(getattr(factory, "__module__", None)))
    require(
        bool((getattr(module, "__doc__", None) or "").strip()),
        f"the module {getattr(factory, '__module__', '?')} has no docstring; begin it with the paper and where you deviate.",
    )


def in_one_line(spec: PluginSpec) -> None:
    """Fail unless the spec says in one line each where the plugin comes from and what it does."""
    for name in ("source", "summary"):
        text = getattr(spec, name).strip()
        require(bool(text) and "\n" not in text, f"the {name} must be one line; give {type(spec).__name__} {name}='...'.")


def of_keywords_alone(spec: PluginSpec) -> None:
    """Fail unless the factory takes options by keyword alone."""
    parameters = inspect.signature(spec.factory).parameters.values()
    others = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    require(not others, f"the factory takes {', '.join(others)} by position; write all its options after a *.")


def _qualified(factory: object) -> str:
    return f"{getattr(factory, '__module__', '?')}.{getattr(factory, '__qualname__', factory)}"
