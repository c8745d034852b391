"""A log per job in the run folder: its events and their times; its process may append output to the same file."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unlearnbench.records.cells import CellResult, Job
from unlearnbench.runs.folder import RunFolder

if TYPE_CHECKING:
    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.planning.plan import JobPlan

QUIET_SECONDS = 10.0  # between lines about one phase; metrics.csv has every update


class LoggedReporter:
    """A `Reporter` that writes the logs and passes everything on.

    Logs are read, never relied upon: one that cannot be written stops nothing.
    """

    def __init__(self, reporter: Reporter, run: RunFolder) -> None:
        self._reporter, self._run = reporter, run
        self._done: dict[tuple[str, int], int] = {}
        self._reported: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()  # jobs may go on in several threads
        self._begun: Job | None = None  # the one that began last

    def expect(self, plans: Sequence[JobPlan]) -> None:
        self._reporter.expect(plans)

    def loading(self, job: Job) -> None:
        self._begun = job
        self._write(job, f"{job.method} begins, job {job.identity}")
        self._reporter.loading(job)

    def unlearning(self, job: Job, steps: int) -> None:
        self._begin(job, f"unlearning, {steps} updates")
        self._reporter.unlearning(job, steps)

    def step(self, job: Job, loss: float | None) -> None:
        self._advance(job, 1, "updates" if loss is None else f"updates, loss {loss:.6g}")
        self._reporter.step(job, loss)

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        self._begin(job, f"scoring {benchmark}, {items} items")
        self._reporter.scoring(job, benchmark, items)

    def scored(self, job: Job, items: int) -> None:
        self._advance(job, items, "items")
        self._reporter.scored(job, items)

    def finished(self, result: CellResult) -> None:
        self._reporter.finished(result)

    def warn(self, line: str) -> None:
        self._reporter.warn(line)

    def library(self, line: str) -> None:
        """Note a library's warning in this process, where one job is carried out at a time."""
        if self._begun is not None:
            self._write(self._begun, line)

    def durable(self, job: Job, result: CellResult) -> None:
        """Note that a cell is on disk, or where it failed."""
        if result.status == "done":
            self._write(job, f"{result.key}: {result.value} over {result.n} items in {result.cost.evaluate_seconds} s")
            return
        frames = [f"  {frame}" for frame in result.provenance.get("traceback", ())]
        self._write(job, "\n".join([f"{result.key}: {result.status}: {result.error}", *frames]))

    def _begin(self, job: Job, line: str) -> None:
        key = (job.variant, job.seed)
        self._done[key], self._reported[key] = 0, time.monotonic()
        self._write(job, line)

    def _advance(self, job: Job, count: int, what: str) -> None:
        key, now = (job.variant, job.seed), time.monotonic()
        self._done[key] = self._done.get(key, 0) + count
        if now - self._reported.get(key, 0.0) >= QUIET_SECONDS:
            self._reported[key] = now
            self._write(job, f"{self._done[key]} {what}")

    def _write(self, job: Job, line: str) -> None:
        path = self._run.job_log_path(job)
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with self._lock:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(f"{stamp} {line}\n")
        except OSError:
            return
