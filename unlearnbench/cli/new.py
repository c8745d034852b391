"""`unlearnbench new`: a new plugin's files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from unlearnbench.plugins.kinds import OfferedKind

app = typer.Typer(help="Write a plugin of your own: a small distribution that already runs.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name that users will type: small letters, digits and hyphens.")]
Folder = Annotated[Path | None, typer.Option("--out", help="Folder to make; unlearnbench-NAME by default.")]


@app.callback()
def _root() -> None:
    """Hold the commands below `new`."""


@app.command("method")
def method(name: Name, out: Folder = None) -> None:
    """Write a method: module, entry point, test, README, licence and CI file."""
    _write("method", name, out)


@app.command("benchmark")
def benchmark(
    name: Name,
    out: Folder = None,
    generation: Annotated[
        bool, typer.Option("--generation", help="Let the model write its answers, scored by ROUGE-L, instead of choosing.")
    ] = False,
) -> None:
    """Write a benchmark: module, entry point, test, README, licence and CI file."""
    _write("benchmark", name, out, generation=generation)


@app.command("attack")
def attack(name: Name, out: Folder = None) -> None:
    """Write an attack: module, entry point, test, README, licence and CI file."""
    _write("attack", name, out)


def _write(kind: OfferedKind, name: str, out: Path | None, *, generation: bool = False) -> None:
    from unlearnbench.plugins.kinds import KINDS
    from unlearnbench.plugins.scaffold import new_plugin

    folder = new_plugin(kind, name, out, generation=generation)
    asked = KINDS[kind].tried.format(name=name)
    typer.echo(f"The {kind} {name} is in {folder}. What comes next:")
    typer.echo(f"  pip install -e {shlex.quote(str(folder))}\n  unlearnbench compare {asked}\n  unlearnbench check {name}")
