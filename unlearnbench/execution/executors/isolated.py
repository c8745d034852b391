"""Run each job in a process of its own, so that a plugin's crash costs its own row only, or one cell of each row.

A process has a time and a memory to keep to, if the user gives them. It leads a group of its own and is ended with all that it
started: by a limit, when it falls silent, and when this process is interrupted or dies. One that ends while it scores costs
the benchmark that it was at: another process takes the weights that are kept, and scores the rest.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import psutil

from unlearnbench.errors import CellError, StorageError
from unlearnbench.execution.cell import fail_job
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.messages import error_of, relay
from unlearnbench.execution.processes import Worker, how_it_ended
from unlearnbench.execution.queue import Claim, Queue
from unlearnbench.planning.limits import Limits
from unlearnbench.records.cells import CellKey, CellResult

POLL_SECONDS = 0.1  # from one look at the limits to the next


def execute(queue: Queue, context: JobContext, limits: Limits) -> Iterator[CellResult]:
    """Yield every due cell once it is durable; up to `limits.jobs` jobs run at a time.

    Raises:
        StorageError: a job could not keep what it computed; the others are ended, too.
    """
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        running: list[_Running] = []
        while queue or running:
            while len(running) < limits.jobs and (claim := queue.take()) is not None:
                plan = stack.enter_context(claim)
                if plan.variant.problem is not None:
                    yield from fail_job(plan, context, CellError(plan.variant.problem))
                    claim.release()
                    continue
                running.append(_start(claim, context, stack, selector, limits.jobs))
            for key, _ in selector.select(POLL_SECONDS):
                yield from key.data.listen()
            for job in running[:]:
                job.keep_to(limits)
                if job.over:
                    selector.unregister(job.worker.pipe)
                    running.remove(job)
                    yield from job.close()
                    if job.due:
                        rest = replace(job.claim, plan=replace(job.claim.plan, due=tuple(job.due)))
                        running.append(_start(rest, context, stack, selector, limits.jobs))


def _start(
    claim: Claim, context: JobContext, stack: contextlib.ExitStack, selector: selectors.BaseSelector, beside: int
) -> _Running:
    """Start a process for a job's due cells, ended with the stack at the latest."""
    started = _Running(stack.enter_context(Worker(claim.plan, context, claim.plan.due, beside=beside)), claim, context)
    selector.register(started.worker.pipe, selectors.EVENT_READ, started)
    return started


class _Running:
    """A job in its process; `due` are the cells that it still owes."""

    def __init__(self, worker: Worker, claim: Claim, context: JobContext) -> None:
        self.worker, self.claim = worker, claim
        self.due = list(claim.plan.due)
        self._plan, self._context = claim.plan, context
        self._started = time.monotonic()
        self._at: str | None = None  # the benchmark that it scores, or has scored last
        self._silent = False  # it has said its last word
        self._problem: Exception | None = None

    @property
    def over(self) -> bool:
        """Return whether the process is to be closed: it has ended, closed its pipe, or broken a limit."""
        return self._silent or self._problem is not None or self.worker.process.poll() is not None

    def listen(self) -> Iterator[CellResult]:
        """Read its messages; a cell that it reports is read from the disk."""
        messages = self.worker.read()
        self._silent = messages is None
        for message in messages or ():
            yield from self._hear(message)

    def keep_to(self, limits: Limits) -> None:
        """Note the limit that it has broken, if any."""
        if self.over:
            return
        if limits.seconds is not None and time.monotonic() - self._started > limits.seconds:
            self._problem = CellError(f"it took longer than the {limits.seconds:g} seconds of --job-timeout and was stopped")
        elif limits.bytes is not None and (held := resident_bytes(self.worker.process.pid)) > limits.bytes:
            self._problem = CellError(
                f"its processes held {held / 1e6:,.0f} MB of memory, more than the {limits.bytes / 1e6:,.0f} MB of "
                "--job-memory, and were stopped"
            )

    def close(self) -> Iterator[CellResult]:
        """End it, take its finished cells, and fail those that it broke off; cells still due are for another process."""
        code = None if self._problem else self.worker.wait()
        os.set_blocking(self.worker.pipe, False)  # what it started may still hold the other end
        with contextlib.suppress(BlockingIOError):
            while not self._silent:
                yield from self.listen()
        self.worker.end()
        if isinstance(self._problem, StorageError):
            raise self._problem
        yield from self._finished(self.due[:])  # it may have died between a cell and its message
        lost = self._lost()
        if lost:
            error = self._problem or CellError(f"{how_it_ended(code or 0)}; {self.worker.where_to_look()}")
            yield from fail_job(replace(self._plan, due=lost), self._context, error)
        self.due = [name for name in self.due if name not in lost]
        if not self.due:
            self.claim.release()

    def _lost(self) -> tuple[str, ...]:
        """Return the benchmarks that the end of the process costs: the one that it was scoring, or all where it had not begun
        to score.
        """
        if self._at is None or not self.due:
            return tuple(self.due)
        return (self._at if self._at in self.due else self.due[0],)  # between two of them: nobody knows, so one fails

    def _hear(self, message: dict[str, Any]) -> Iterator[CellResult]:
        if message["kind"] == "error":
            self._problem = error_of(message)
        elif message["kind"] == "cell":
            name = CellKey.model_validate(message["key"]).within(self._plan.job.seed)
            yield from self._finished([name], failed=True)
        else:
            if message["kind"] == "scoring":
                self._at = message["benchmark"]
            relay(message, self._plan, self._context.reporter)

    def _finished(self, benchmarks: Sequence[str], *, failed: bool = False) -> Iterator[CellResult]:
        """Yield cells that are on the disk; a failed one may be an earlier try's, unless the job has reported it."""
        for name in benchmarks:
            result = self._context.run.read_cell(self._plan.key(name), self._plan.cells[name])
            if result is not None and (failed or result.status == "done") and name in self.due:
                self.due.remove(name)
                yield result


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and of all that it started; pages that they share count for each."""
    held = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                held += process.memory_info().rss
    return held
