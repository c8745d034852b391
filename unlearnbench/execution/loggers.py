"""Lightning loggers of a job, beside metrics.csv; they change no result, so that no identity covers this file."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import StorageError
from unlearnbench.execution.distributed import rank_zero
from unlearnbench.records.cells import Job
from unlearnbench.runs.folder import RunFolder
from unlearnbench.system.process_state import generators

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger


@contextmanager
def job_loggers(name: str, job: Job, run: RunFolder, offered: Callable[[Job], Sequence[Logger]]) -> Generator[list[Logger]]:
    """Give the loggers of one training, to the first of its processes alone, and close them afterwards.

    Args:
        name: `trainer.logger` of the recipe.
        job: job that trains.
        run: folder of the comparison, below whose `logs` everything goes.
        offered: function that returns further loggers of a job, from extensions and from Python.
    """
    if not rank_zero():
        yield []
        return
    make = NAMED.get(name)
    named = make(job, run) if make is not None else None
    try:
        loggers = [*([named] if named is not None else []), *offered(job)]
        for logger in loggers:
            _set_apart(logger)
        yield loggers
    finally:
        if name == "wandb":
            _finish_wandb()


def _set_apart(logger: Logger) -> None:
    """Let a logger draw random numbers, as for a run's name, without changing those that the training draws next."""

    def apart(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def call_apart(*args: Any, **kwargs: Any) -> Any:
            restore = generators()
            try:
                return call(*args, **kwargs)
            finally:
                restore()

        return call_apart

    for name in ("log_metrics", "log_hyperparams", "log_graph", "save"):
        setattr(logger, name, apart(getattr(logger, name)))


def _tensorboard(job: Job, run: RunFolder) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(run.log_path(job), name="", version="tensorboard")


def _wandb(job: Job, run: RunFolder) -> Logger:
    """Return a wandb logger that keeps its files in the folder; uploads are left to wandb's own variables."""
    import wandb  # pyright: ignore[reportMissingImports]
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(
        name=_title(job),
        save_dir=_folder(job, run),
        project=os.environ.get("WANDB_PROJECT", run.root.name),
        mode=os.environ.get("WANDB_MODE", "offline"),
        settings=wandb.Settings(silent=True, console="off"),
    )


def _finish_wandb() -> None:
    """End the run: Lightning would write the next job's figures into it."""
    import wandb  # pyright: ignore[reportMissingImports]

    wandb.finish()


def _mlflow(job: Job, run: RunFolder) -> Logger:
    """Return an mlflow logger with one database for all jobs, for comparison side by side; or the server of
    MLFLOW_TRACKING_URI.
    """
    from lightning.pytorch.loggers import MLFlowLogger

    for talker in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(talker).setLevel(logging.ERROR)
    _folder(job, run)
    database = f"sqlite:///{(run.root / 'logs' / 'mlflow.db').absolute()}"
    place = os.environ.get("MLFLOW_TRACKING_URI") or database
    return MLFlowLogger(experiment_name=run.root.name, run_name=_title(job), tracking_uri=place)


def _title(job: Job) -> str:
    return f"{job.variant}, seed {job.seed}"


def _folder(job: Job, run: RunFolder) -> Path:
    """Return the job's folder of logs, made."""
    folder = run.log_path(job)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError.of(folder, error) from error
    return folder


NAMED: dict[str, Callable[[Job, RunFolder], Logger]] = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow}
