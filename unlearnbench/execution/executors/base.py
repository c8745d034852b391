"""The interface of an executor, a way to run the jobs of a comparison."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from unlearnbench.planning.limits import Limits

if TYPE_CHECKING:
    from unlearnbench.execution.context import JobContext
    from unlearnbench.execution.queue import Queue
    from unlearnbench.records.cells import CellResult


class Execute(Protocol):
    """A function that runs every job of a queue; an executor's module offers it as `execute`."""

    def __call__(self, queue: Queue, context: JobContext, limits: Limits) -> Iterator[CellResult]:
        """Yield every due cell once it is durable.

        Raises:
            StorageError: a job could not keep what it computed; nothing goes on then.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Executor:
    """One line of the table of executors; its module is imported when it runs.

    Attributes:
        name: name as users type it.
        module: name of the module with its `execute`.
        manner: manner of running a job, behind its name in a list; empty where the name says it.
        own_processes: True where each job has a process of its own, so that plugins are tried before anything is planned.
        takes_limits: True where it applies `--jobs`, `--job-timeout` and `--job-memory`.
    """

    name: str
    module: str
    manner: str = ""
    own_processes: bool = False
    takes_limits: bool = False

    def execute(self, queue: Queue, context: JobContext, limits: Limits) -> Iterator[CellResult]:
        """Run the jobs; see `Execute`."""
        run: Execute = importlib.import_module(self.module).execute
        return run(queue, context, limits)
