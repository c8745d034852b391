"""What a user sees while a comparison runs: bars in a terminal, lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from unlearnbench.records import CellResult, Job


class ProgressReporter:
    """A `Reporter` on the terminal."""

    def __init__(self, cells: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._cells = self._bars.add_task("cells", total=cells, note="") if cells else None
        self._current: TaskID | None = None
        self._started = time.monotonic()

    def __enter__(self) -> ProgressReporter:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def warn(self, line: str) -> None:
        self.say(f"warning: {line}")

    def say(self, line: str) -> None:
        """One line that stays."""
        self._console.print(line, markup=False, soft_wrap=True)

    def unlearning(self, job: Job, steps: int) -> None:
        self._begin(f"{job.variant}, seed {job.seed}: unlearning", steps)

    def step(self, loss: float | None) -> None:
        self._advance(1, "" if loss is None else f"loss {loss:.4g}")

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        self._begin(f"{job.variant}, seed {job.seed}: {benchmark}", items)

    def scored(self, items: int) -> None:
        self._advance(items, "")

    def finished(self, result: CellResult) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None
        if self._cells is not None:
            self._bars.advance(self._cells)
        if result.status != "done":
            self.say(f"{result.key}: {result.status}: {result.error}")
            return
        assert result.value is not None
        source = "cached" if result.provenance.get("cached") else f"{result.cost.evaluate_seconds:.1f} s"
        self.say(f"{result.key}: {result.value:.3f} ({result.n} items, {source})")

    def _begin(self, title: str, total: int) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
        self._current = self._bars.add_task(title, total=total, note="")
        if not self._console.is_terminal:
            self.say(f"{title} ({total})")

    def _advance(self, count: int, note: str) -> None:
        if self._current is not None:
            self._bars.update(self._current, advance=count, note=note)
