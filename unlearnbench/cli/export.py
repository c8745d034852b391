"""`unlearnbench export`: an unlearned model as an ordinary model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unlearnbench.cli import options


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a comparison.")],
    variant: Annotated[str, typer.Argument(help="Row whose model to write.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    seed: Annotated[int | None, typer.Option(help="Seed of the row; by default the first that is kept.")] = None,
    model: Annotated[str | None, typer.Option(help="Folder or hub id of the base model, if it has moved.")] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload the folder to this model repository on the hub, too.")
    ] = None,
    private: options.Private = False,
) -> None:
    """Write the model that a row of a comparison left: safetensors, config, tokenizer and a model card."""
    from unlearnbench.reports.export import WEIGHTS, export, find

    repository = options.repository(push_to_hub, "model", private=private)
    candidate = find(run, variant, seed)
    export(candidate, out, model, repository)
    typer.echo(f"{variant}, seed {candidate.seed}, is in {out}; its model card is {out / 'README.md'}.", err=True)
    if repository is not None:
        typer.echo(f"Uploaded to {repository.upload(out, replaced=WEIGHTS)}.", err=True)
