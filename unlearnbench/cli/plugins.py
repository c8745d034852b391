"""`unlearnbench plugins`: the installed plugins, and the options of one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unlearnbench.errors import UsageError, normalise

if TYPE_CHECKING:
    from unlearnbench.plugins.kinds import KindName


def plugins(
    name: Annotated[str | None, typer.Argument(help="Show this plugin's options.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List methods and benchmarks without importing any; with a name, load that one and show its options.

    Those whose module is missing or does not compile are marked, and why is said on stderr.
    """
    from unlearnbench.plugins.registry import list_plugins, what_is_broken

    found = list_plugins()
    if name is not None:
        _show_one(name, [info.kind for info in found if normalise(info.name) == normalise(name)], as_json)
        return
    broken = what_is_broken(found)
    for sentence in broken.values():
        typer.echo(f"warning: {sentence}", err=True)
    if as_json:
        marks = [{"broken": broken[info]} if info in broken else {} for info in found]
        typer.echo(json.dumps([{**vars(info), **mark} for info, mark in zip(found, marks, strict=True)], indent=1))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("kind", "name", "distribution", "version", "module", header_style="bold")
    for info in found:
        style = "red" if info in broken else ""
        module = f"{info.module} (broken)" if info in broken else info.module
        table.add_row(*(Text(value, style) for value in (info.kind, info.name, info.distribution, info.version, module)))
    Console().print(table)


def _show_one(name: str, kinds: list[KindName], as_json: bool) -> None:
    from unlearnbench.plugins.kinds import offered_among
    from unlearnbench.plugins.options import list_options
    from unlearnbench.plugins.registry import find_plugin, list_plugins
    from unlearnbench.plugins.specs import MethodSpec
    from unlearnbench.records.search_space import written

    if not kinds:
        from unlearnbench.errors import unknown_name

        raise unknown_name("plugin", name, {info.name for info in list_plugins()}, "`unlearnbench plugins` lists them.")
    offered = offered_among(kinds)
    if not offered:
        raise UsageError(f"'{name}' is an {kinds[0]}; {kinds[0]}s have no options.")
    plugin = find_plugin(offered[0], name)
    listed = list_options(plugin.spec)
    budget = plugin.spec.training if isinstance(plugin.spec, MethodSpec) else None
    searched = plugin.spec.space if isinstance(plugin.spec, MethodSpec) else {}
    space = {name: f"tuned: {written(domain)}" for name, domain in searched.items()}
    if as_json:
        facts: dict[str, Any] = {**vars(plugin.info), "summary": plugin.spec.summary, "source": plugin.spec.source}
        if space:
            facts["space"] = {name: written(domain) for name, domain in searched.items()}
        typer.echo(json.dumps({**facts, "options": [vars(option) for option in listed]}, indent=1, default=str))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    info = plugin.info
    console.print(Text(f"{info.kind} {info.name}: {plugin.spec.summary}", style="bold"))
    console.print(Text(f"source: {plugin.spec.source}; from {info.distribution} {info.version}, {info.module}"))
    table = Table("option", "type", "default", "", header_style="bold")
    for option in listed:
        mark = "budget" if budget is not None and option.name in vars(budget) else space.get(option.name, "")
        table.add_row(*(Text(str(value)) for value in (option.name, option.type, option.default, mark)))
    console.print(table)
    console.print(Text(f"Set one with --set {info.name}.OPTION=VALUE."))
