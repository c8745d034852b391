"""`unlearnbench recipe show`: a recipe as it is resolved."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(help="The recipes that ship, and your own.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Hold the commands below `recipe`."""


@app.command("show")
def show(name: Annotated[str, typer.Argument(help="A shipped recipe's name, or the path of a YAML file.")]) -> None:
    """Print a recipe with all its keys, those of the recipe it extends included: YAML that is a recipe again."""
    from unlearnbench.planning.recipe_files import load_recipe

    typer.echo(load_recipe(name).to_yaml(), nl=False)
