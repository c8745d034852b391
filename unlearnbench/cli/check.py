"""`unlearnbench check`: the properties of a plugin that a comparison relies on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearnbench.cli import options
from unlearnbench.errors import UsageError, normalise, unknown_name

if TYPE_CHECKING:
    from unlearnbench.plugins.kinds import OfferedKind
    from unlearnbench.testing import Outcome

FAILED = 1
OTHERS = {"expected failure": "failed as expected", "skipped": "skipped"}
STYLES = {"passed": "green", "failed": "bold red", "unexpected pass": "bold red", "expected failure": "yellow"}


def check(
    name: Annotated[str, typer.Argument(help="A method, a benchmark or an attack.")],
    settings: options.Settings = None,
    expect_failure: Annotated[
        list[str] | None,
        typer.Option(metavar="CHECK=REASON", help="Check that is known to fail, with the reason; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try a method, benchmark or attack on tiny models and say, property by property, whether it is as it should be.

    Exit code 1 where a check fails. Benchmarks start from the settings of the recipe `sandbox`, where it has some.
    """
    expected = options.split_named("--expect-failure", expect_failure, "CHECK=REASON")
    checks = _checks(name, settings or [], expected)
    from rich.console import Console

    outcomes: list[Outcome] = []
    with Console(stderr=True).status("") as status:
        for number, current in enumerate(checks, 1):
            status.update(f"{number}/{len(checks)} {current.name}")
            outcomes.append(current.outcome())
    if as_json:
        typer.echo(json.dumps([vars(outcome) for outcome in outcomes], indent=1))
    else:
        _show(name, outcomes)
    if any(outcome.bad for outcome in outcomes):
        raise typer.Exit(FAILED)


def _checks(name: str, settings: Sequence[str], expected: dict[str, str]) -> list[Any]:
    """Return the plugin's checks; nothing has run yet."""
    from unlearnbench.planning.settings import parse_setting
    from unlearnbench.plugins.options import read_given, resolve_options, takes_argument
    from unlearnbench.plugins.registry import find_plugin

    plugin, colon, argument = name.partition(":")
    given: dict[str, Any] = {}
    for text in settings:
        owner, option, value = parse_setting(text)
        if normalise(owner) != normalise(name):
            raise UsageError(f"--set {text}: only '{name}' is checked; say --set {name}.{option}=VALUE.")
        given[option] = value
    kind = _kind(plugin)
    spec = find_plugin(kind, plugin).spec
    if colon and not takes_argument(spec.factory):
        raise UsageError(f"The {kind} '{plugin}' takes nothing after a colon; got '{name}'.")
    changed = bool(given)
    given = {**_started_with(kind, name), **read_given(spec, given)}
    from unlearnbench.testing import checks_of
    from unlearnbench.testing.entry_points import stated_by

    if changed:  # a mistake on this command line is none of the plugin's
        resolve_options(spec, {**stated_by(spec).options, **given}, name)
    if colon:
        given["argument"] = argument
    return checks_of(spec, given, expected)


def _started_with(kind: OfferedKind, name: str) -> dict[str, Any]:
    """Return options to start from: a benchmark needs data, and those of the sandbox are there."""
    from unlearnbench.planning.recipe_files import load_recipe

    sections = {"benchmark": load_recipe("sandbox").benchmarks}
    return next((configured for known, configured in sections.get(kind, {}).items() if normalise(known) == normalise(name)), {})


def _kind(name: str) -> OfferedKind:
    """Return the kind of a plugin.

    Raises:
        UsageError: there is none of that name that could be checked.
    """
    from unlearnbench.plugins.kinds import OFFERED, offered_among
    from unlearnbench.plugins.registry import list_plugins

    plugins = list_plugins()
    kinds = {info.kind for info in plugins if normalise(info.name) == normalise(name)}
    if found := offered_among(kinds):
        return found[-1]
    if kinds:
        checked = f"{', '.join(f'{kind}s' for kind in OFFERED[:-1])} and {OFFERED[-1]}s"
        raise UsageError(f"'{name}' is an {min(kinds)}; there are checks for {checked} only.")
    known = {info.name for info in plugins if info.kind in OFFERED}
    listed = f"{', '.join(OFFERED[:-1])} or {OFFERED[-1]}"
    raise unknown_name(listed, name, known, "`unlearnbench plugins` lists them with where they come from.")


def _show(name: str, outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "result", "", header_style="bold")
    for outcome in outcomes:
        style = STYLES.get(outcome.status, "dim")
        table.add_row(Text(outcome.check), Text(outcome.status, style=style), Text(outcome.message or outcome.promise))
    Console().print(table)
    bad = sum(outcome.bad for outcome in outcomes)
    count = Counter(outcome.status for outcome in outcomes)
    others = "".join(f", {count[status]} {words}" for status, words in OTHERS.items() if count[status])
    typer.echo(f"{name}: {count['passed']} of {len(outcomes)} checks passed{others}, {bad} failed.")
