"""Train the untaught model on the retain texts alone, as a reference for comparisons."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.verbs.steps import Folder

if TYPE_CHECKING:
    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.planning.request import Device
    from unlearnbench.planning.retraining import RetrainingPlan
    from unlearnbench.records.recipe import Dtype
    from unlearnbench.records.retraining import Retraining


def retrain(
    untaught: str,
    retain: str | Iterable[str],
    out: Folder,
    *,
    epochs: int = 5,
    lr: float = 1e-5,
    batch_size: int = 32,
    max_length: int | None = None,
    seed: int = 0,
    dtype: Dtype = "auto",
    device: Device = "auto",
    settings: Iterable[str] = (),
    cache: Folder | None = None,
    reporter: Reporter | None = None,
) -> Retraining:
    """Train all weights of an untaught model on the retain texts, write the model, and return its record with the cost.

    The folder is an ordinary model folder, for `compare(checkpoints=..., reference=...)`. The same call again finds the model
    there and trains nothing.

    Args:
        untaught: model before it was taught the texts to forget and to keep: a folder, a hub id or `sandbox:model`.
        retain: sources of the retain texts.
        out: folder to write; it must not exist, or be empty.
        epochs: number of passes over the texts; the learning rate rises in the first and falls to 0 in the others.
        lr: peak learning rate.
        batch_size: number of texts per update.
        max_length: number of tokens at which a text is cut; 512 by default.
        seed: seed of the order of the texts.
        dtype: dtype of the weights.
        device: device to train on.
        settings: further options, as in `trainer.precision=bf16-mixed` or `retrain.checkpointing=true`.
        cache: folder for the hashes of files; the user's cache by default.
        reporter: reporter of the progress; silent by default.

    Raises:
        UsageError: the request cannot be met; the message lists every problem, and nothing was computed or written.
        CellError: the training failed; nothing was written.
        StorageError: the model cannot be written to the folder.
    """
    from unlearnbench.planning.retraining import plan_retraining
    from unlearnbench.planning.retraining_recipe import RetrainingRequest
    from unlearnbench.system.files import default_cache

    request = RetrainingRequest(
        model=untaught,
        retain=[retain] if isinstance(retain, str) else list(retain),
        out=Path(out),
        cache=default_cache() if cache is None else Path(cache),
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        max_length=max_length,
        seed=seed,
        dtype=dtype,
        device=device,
        settings=list(settings),
    )
    return carry_out_retraining(plan_retraining(request), reporter)


def carry_out_retraining(plan: RetrainingPlan, reporter: Reporter | None = None) -> Retraining:
    """Train and write the planned model, unless it is there already; return its record.

    Raises:
        CellError: the training failed; nothing was written.
        StorageError: the model cannot be written to the folder.
    """
    if plan.finished is not None:
        return plan.finished
    from unlearnbench.execution.reporter import Silent
    from unlearnbench.execution.retraining import retrain_model
    from unlearnbench.system.stop_signals import answered_with, interruptible_afterwards

    words = f"Nothing is in {plan.request.out}; the same command begins anew."
    with answered_with(words), interruptible_afterwards():
        return retrain_model(plan, reporter or Silent())
