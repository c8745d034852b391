"""`unlearnbench retrain`: the reference, where the untaught model is at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unlearnbench.cli import options
from unlearnbench.errors import Problems
from unlearnbench.records.retraining import RETRAINING_FILE
from unlearnbench.reports.units import amount, counted, duration, size

if TYPE_CHECKING:
    from unlearnbench.planning.request import Device
    from unlearnbench.planning.retraining import RetrainingPlan
    from unlearnbench.records.retraining import Retraining
    from unlearnbench.verbs.progress import PlainReporter


def retrain(
    untaught: Annotated[str, typer.Argument(help="Model that was taught neither texts: a folder or a hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of the retrained model.")],
    retain: options.Retain = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the texts.")] = 5,
    lr: Annotated[float, typer.Option(help="Learning rate at its peak, after the first epoch.")] = 1e-5,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Texts per update.")] = 32,
    max_length: Annotated[int | None, typer.Option(min=2, metavar="N", help="Tokens per text at most; 512 by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of the texts.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="trainer.OPTION=VALUE", help="An option of the training; repeatable.")
    ] = None,
    device: options.DeviceName = "auto",
    dtype: options.DtypeName = None,
    cache: options.Cache = None,
    dry_run: options.DryRun = False,
) -> None:
    """Train an untaught model on the retain texts alone: the reference, as an ordinary model folder.

    A model that is there already is not trained again.
    """
    from unlearnbench.cli.recipe_options import topic_and_source
    from unlearnbench.planning.retraining import plan_retraining
    from unlearnbench.planning.retraining_recipe import RetrainingRequest
    from unlearnbench.system.files import default_cache
    from unlearnbench.verbs.retrain import carry_out_retraining

    problems = Problems()
    place = problems.attempt(options.choose, "--device", device, ("auto", "cpu", "cuda")) or "auto"
    request = RetrainingRequest(
        model=untaught,
        retain=[topic_and_source(text, "")[1] for text in retain or ()],  # all of them are one corpus
        out=out,
        cache=cache or default_cache(),
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
        dtype=problems.attempt(options.read_dtype, dtype) or "auto",
        device=cast("Device", place),
        settings=settings or (),
    )
    with options.quiet_stdout():
        plan = plan_retraining(request, problems)
    if plan.finished is not None:
        typer.echo(f"{out} holds this model already; nothing was trained. {_how_to_use(out)}", err=True)
    elif dry_run:
        typer.echo(f"{_what_it_takes(plan)} Nothing was written.")
    else:
        typer.echo(_what_it_takes(plan), err=True)
        with options.quiet_stdout():
            record = carry_out_retraining(plan, _progress())
        typer.echo(f"{_what_it_took(record)} {_how_to_use(out)}", err=True)


def _progress() -> PlainReporter:
    """Return a reporter of plain lines that calls the training what it is."""
    from unlearnbench.verbs.progress import PlainReporter

    class Progress(PlainReporter):
        phase = "training"

    return Progress()


def _what_it_takes(plan: RetrainingPlan) -> str:
    """Return the sentence on the updates, and on memory and disk as far as shapes tell."""
    texts, epochs = counted(plan.texts, "text"), counted(plan.request.epochs, "epoch")
    updates = counted(plan.updates, "update")
    work = f"{texts}, {epochs}, {plan.request.batch_size} at a time: {updates} on at most {amount(plan.most_tokens)} tokens"
    if plan.footprint is None:
        return f"{work}."
    return f"{work}; about {size(plan.footprint.likely)} of memory, and {size(plan.footprint.weights)} on the disk."


def _what_it_took(record: Retraining) -> str:
    """Return the sentence on what the retraining cost."""
    cost, updates = record.cost, counted(record.recipe["steps"], "update")
    seconds = duration(cost.unlearn_seconds or 0.0)
    return f"Retrained: {updates} on {amount(cost.tokens)} tokens took {seconds}; {RETRAINING_FILE} beside the weights has all."


def _how_to_use(out: Path) -> str:
    return f"It is the reference of a comparison with --checkpoint retrain={out} --reference retrain."
