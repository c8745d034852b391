"""`unlearnbench card`: the model card of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options


def card(
    run: Annotated[Path, typer.Argument(help="Folder of a comparison.")],
    variant: Annotated[str, typer.Argument(help="The row.")],
    seed: Annotated[int | None, typer.Option(help="Seed of the row; by default the first.")] = None,
) -> None:
    """Print the model card that `unlearnbench export` writes with the model; the weights need not have been kept."""
    from unlearnbench.reports.export import describe
    from unlearnbench.reports.model_card import card as write

    options.check_runs([run])
    typer.echo(write(describe(run, variant, seed)), nl=False)
