"""`unlearnbench sandbox`: rebuild the embedded world and the model that knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(help="The embedded data and models that unlearnbench is demonstrated on.", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Hold the commands below `sandbox`."""


@app.command("build")
def build(
    out: Annotated[Path, typer.Option(help="Folder to write `data`, `model` and `retrained` into.")] = Path("sandbox"),
    seed: Annotated[int, typer.Option(help="Seed of the world and of the training.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Updates of each model; the shipped ones took the default.")] = None,
    only: Annotated[
        Literal["model", "retrained"] | None, typer.Option(help="Train one model: the base, or the one without the hazards.")
    ] = None,
    data_only: Annotated[bool, typer.Option("--data-only", help="Write the data sets and train nothing.")] = False,
) -> None:
    """Write the sandbox's data from the seed and train its two models: about an hour each on two cores."""
    from unlearnbench.sandbox.write_data import write_data
    from unlearnbench.system.files import check_folder

    check_folder(out)
    if data_only:
        write_data(out / "data", seed)
        typer.echo(f"Data sets written to {out / 'data'}.")
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from unlearnbench.data.sources import SANDBOX_MODELS
    from unlearnbench.sandbox import build as builder

    total = builder.STEPS if steps is None else steps
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        models = SANDBOX_MODELS if only is None else (only,)
        task = bars.add_task("training", total=total * len(models))
        done = 0

        def report(step: int, language: float, letter: float) -> None:
            nonlocal done
            bars.update(task, completed=done + step, description=f"text {language:.3f}, letters {letter:.3f} nats")
            if step == total:
                done += total

        builder.build(out, seed=seed, steps=total, models=models, report=report)
    typer.echo(f"Sandbox written to {out}.")
