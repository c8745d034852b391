"""The progress of a comparison on the screen: a live table of jobs in a terminal, lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from unlearnbench.records.cells import CellResult, Job
from unlearnbench.reports.units import counted, duration, pace

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan

QUIET_SECONDS = 15.0  # between lines about one phase, where there is no live table
REFRESH = 4  # times a second
BAR_WIDTH = 20  # characters
SPARE_LINES = 6  # of a terminal, for the table's head and what stands below it


class ProgressReporter:
    """A `Reporter` on the terminal. Several jobs may go on at a time, reported from several threads.

    Attributes:
        phase: name of the phase in which a job trains.
    """

    phase = "unlearning"

    def __init__(self, plans: Sequence[JobPlan] = (), console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._waiting: dict[tuple[str, int], int] = {}  # cells that are not durable yet
        self._job_of: dict[str, tuple[str, int]] = {}  # by the names of its cells
        self._cells = 0
        self._done = self._failed = 0
        self._running: dict[tuple[str, int], _Phase] = {}
        self._started = time.monotonic()
        self._lock = threading.RLock()
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = (
            Live(get_renderable=self._table, console=self._console, refresh_per_second=REFRESH, transient=True)
            if terminal
            else None
        )

        self._count(plans)

    def expect(self, plans: Sequence[JobPlan]) -> None:
        """Note that more jobs are to come, as the next trials of a search."""
        self._count(plans)
        if self._live is not None and self._cells:
            self._live.start()

    def _count(self, plans: Sequence[JobPlan]) -> None:
        with self._lock:
            due = {_key(plan.job): len(plan.due) for plan in plans if plan.due}
            self._job_of |= {str(plan.key(name)): _key(plan.job) for plan in plans for name in plan.due}
            self._waiting |= due
            self._cells += sum(due.values())

    def __enter__(self) -> ProgressReporter:
        if self._live is not None and self._cells:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def warn(self, line: str) -> None:
        self.say(f"warning: {line}")

    def say(self, line: str) -> None:
        """Print one line that stays."""
        with self._lock:
            self._console.print(line, markup=False, soft_wrap=True)

    def loading(self, job: Job) -> None:
        with self._lock:
            self._running[_key(job)] = _Phase("loading", 0, "")

    def unlearning(self, job: Job, steps: int) -> None:
        self._begin(job, self.phase, steps, "update")

    def step(self, job: Job, loss: float | None) -> None:
        self._advance(job, 1, loss)

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        self._begin(job, benchmark, items, "question")

    def scored(self, job: Job, items: int) -> None:
        self._advance(job, items, None)

    def finished(self, result: CellResult) -> None:
        key = self._job_of.get(str(result.key), (result.key.variant, result.key.seed))
        with self._lock:
            self._done += 1
            self._failed += result.status != "done"
            self._waiting[key] = self._waiting.get(key, 1) - 1
            if self._waiting[key] <= 0:
                self._running.pop(key, None)
        if result.status != "done":
            self.say(f"{result.key}: {result.status}: {result.error}")
            return
        assert result.value is not None
        self.say(f"{result.key}: {result.value:.3f} ({', '.join(_about(result))})")

    def _begin(self, job: Job, name: str, total: int, unit: str) -> None:
        with self._lock:
            self._running[_key(job)] = _Phase(name, total, unit)
        if self._live is None:
            self.say(f"{_title(job)}: {name} ({total})")

    def _advance(self, job: Job, count: int, loss: float | None) -> None:
        with self._lock:
            phase = self._running.get(_key(job))
            line = phase.advance(count, loss) if phase is not None else None
        if line and self._live is None:
            self.say(f"{_title(job)}: {line}")

    def _table(self) -> RenderableType:
        """Return the current work, a row per job, and below it the progress of the whole."""
        with self._lock:
            table = Table(box=None, header_style="dim", pad_edge=False)
            for name in ("job", "seed", "phase", "", "done", "loss", "speed", "left"):
                table.add_column(name, justify="left" if name in ("job", "phase", "") else "right", no_wrap=True)
            room = max(self._console.height - SPARE_LINES, 1)
            for (variant, seed), phase in list(self._running.items())[:room]:
                table.add_row(Text(variant), str(seed), Text(phase.name), *phase.cells())
            hidden = max(len(self._running) - room, 0)
            started = [key for key, cells in self._waiting.items() if cells > 0 and key not in self._running]
            facts = [f"{self._done} of {counted(self._cells, 'cell')}", f"{counted(len(started), 'job')} waiting"]
            facts += [f"{self._failed} failed"] if self._failed else []
            facts += [counted(hidden, "more job")] if hidden else []
            facts.append(duration(time.monotonic() - self._started))
            return Group(table, Text(", ".join(facts), style="dim"))


class PlainReporter(ProgressReporter):
    """A `Reporter` of plain lines: each job's steps, each finished cell, and warnings.

    Args:
        stream: stream to write to; standard error by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        plain = Console(
            file=stream or sys.stderr, highlight=False, force_terminal=False, force_jupyter=False, color_system=None
        )
        super().__init__(console=plain)


class _Phase:
    """The progress of one job in its current step, its speed, and the time left."""

    def __init__(self, name: str, total: int, unit: str) -> None:
        self.name = name
        self._total, self._unit = total, unit
        self._done = 0
        self._loss: float | None = None
        self._started = self._reported = time.monotonic()

    def advance(self, count: int, loss: float | None) -> str | None:
        """Count; return a line to print where the last one was long ago."""
        self._done += count
        self._loss = loss if loss is not None else self._loss
        now = time.monotonic()
        if now - self._reported < QUIET_SECONDS or self._done >= self._total:
            return None
        self._reported = now
        parts = [f"{self._done} of {self._total}", *([f"loss {self._loss:.4g}"] if self._loss is not None else [])]
        return f"{self.name}: {', '.join([*parts, self._speed(), f'{self._left()} left'])}"

    def cells(self) -> list[RenderableType]:
        """Return bar, count, loss, speed and time left, for the live table."""
        if not self._total:
            return ["", "", "", "", ""]
        loss = "" if self._loss is None else f"{self._loss:.4g}"
        bar = ProgressBar(total=self._total, completed=self._done, width=BAR_WIDTH)
        return [bar, f"{self._done}/{self._total}", loss, self._speed(), self._left()]

    def _speed(self) -> str:
        """Return the mean speed since the phase began."""
        seconds = time.monotonic() - self._started
        return pace(self._done, seconds, self._unit) if self._done and seconds > 0 else ""

    def _left(self) -> str:
        if not self._done:
            return ""
        return duration((self._total - self._done) * (time.monotonic() - self._started) / self._done)


def _key(job: Job) -> tuple[str, int]:
    return job.variant, job.seed


def _title(job: Job) -> str:
    return f"{job.variant}, seed {job.seed}"


def _about(result: CellResult) -> list[str]:
    """Return the facts behind the score in a finished cell's line."""
    seconds = result.cost.evaluate_seconds or 0.0
    spent = ["cached"] if result.provenance.get("cached") else [f"{seconds:.1f} s"]
    if spent != ["cached"] and seconds > 0:
        spent.append(pace(result.n, seconds, "item"))
    cut = [f"{result.truncated} cut from the left to fit the model"] if result.truncated else []
    partial = result.asked is not None and result.n < result.asked
    return [f"{result.n}/{result.asked} judged" if partial else f"{result.n} items", *spent, *cut]
