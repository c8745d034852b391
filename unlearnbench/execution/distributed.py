"""Training in several processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import CellError
from unlearnbench.execution.messages import error_of, relay
from unlearnbench.execution.processes import Worker, how_it_ended

if TYPE_CHECKING:
    from unlearnbench.execution.context import JobContext
    from unlearnbench.planning.plan import JobPlan


def rank_zero() -> bool:
    """Return whether this process stores and scores; Lightning numbers the processes that it starts."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def train_in_processes(plan: JobPlan, context: JobContext) -> None:
    """Train a job in workers; its delta lies in the run folder afterwards.

    Raises:
        FloatingPointError: the loss or the weights were not finite, or exploded.
        StorageError: the delta could not be kept.
        CellError: whatever else stopped the workers, in their words.
    """
    error: Mapping[str, Any] | None = None
    with Worker(plan, context) as worker:
        for message in worker.messages():
            relay(message, plan, context.reporter)
            if message["kind"] == "error":
                error = message
        code = worker.wait()
    if error is not None:
        raise error_of(error)
    if code != 0:
        raise CellError(f"{how_it_ended(code)}; {worker.where_to_look()}")
