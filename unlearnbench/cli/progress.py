"""What a user sees while a comparison runs: bars in a terminal, lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from unlearnbench.records import CellResult, Job

QUIET_SECONDS = 15.0  # between lines about one phase, where there are no bars


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
        self._phase = _Phase("", 0, "")

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

    def loading(self, job: Job) -> None: ...

    def unlearning(self, job: Job, steps: int) -> None:
        self._begin(f"{job.variant}, seed {job.seed}: unlearning", steps, "updates")

    def step(self, job: Job, loss: float | None) -> None:
        self._advance(1, "" if loss is None else f"loss {loss:.4g}")

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        self._begin(f"{job.variant}, seed {job.seed}: {benchmark}", items, "questions")

    def scored(self, job: Job, items: int) -> None:
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
        self.say(f"{result.key}: {result.value:.3f} ({', '.join(_about(result))})")

    def _begin(self, title: str, total: int, unit: str) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
        self._current = self._bars.add_task(title, total=total, note="")
        self._phase = _Phase(title, total, unit)
        if not self._console.is_terminal:
            self.say(f"{title} ({total})")

    def _advance(self, count: int, note: str) -> None:
        line = self._phase.advance(count)
        if line and not self._console.is_terminal:
            self.say(line)
        if self._current is not None:
            shown = ", ".join(text for text in (note, self._phase.speed()) if text)
            self._bars.update(self._current, advance=count, note=shown)


class _Phase:
    """How fast one phase goes, and how long it will still take."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._started = self._said = time.monotonic()

    def advance(self, count: int) -> str | None:
        """Count; a line to say where the last one was long ago."""
        self._done += count
        now = time.monotonic()
        if now - self._said < QUIET_SECONDS or self._done >= self._total:
            return None
        self._said = now
        left = (self._total - self._done) * (now - self._started) / max(self._done, 1)
        return f"{self._title}: {self._done} of {self._total}, {self.speed()}, {duration(left)} left"

    def speed(self) -> str:
        """Units per second since the phase began."""
        seconds = time.monotonic() - self._started
        return f"{self._done / seconds:.1f} {self._unit}/s" if self._done and seconds > 0 else ""


def duration(seconds: float) -> str:
    """Rounded as people say it: 42 s, 3 min, 2 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _about(result: CellResult) -> list[str]:
    """What a finished cell's line says behind its score."""
    seconds = result.cost.evaluate_seconds or 0.0
    spent = ["cached"] if result.provenance.get("cached") else [f"{seconds:.1f} s"]
    if spent != ["cached"] and seconds > 0:
        spent.append(f"{result.n / seconds:.1f}/s")
    cut = [f"{result.truncated} cut from the left to fit the model"] if result.truncated else []
    return [f"{result.n} items", *spent, *cut]
