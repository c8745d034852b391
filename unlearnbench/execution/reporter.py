"""Who is told how far a comparison is."""

from __future__ import annotations

from typing import Protocol

from unlearnbench.records.cells import CellResult, Job


class Reporter(Protocol):
    """Who is told how far things are; several jobs may go on at a time."""

    def loading(self, job: Job) -> None:
        """A job begins: its model is on the way into memory."""
        ...

    def unlearning(self, job: Job, steps: int) -> None:
        """A fit begins."""
        ...

    def step(self, job: Job, loss: float | None) -> None:
        """One update is done; the loss in the method's own unit."""
        ...

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        """A benchmark begins."""
        ...

    def scored(self, job: Job, items: int) -> None:
        """So many more items are done."""
        ...

    def finished(self, result: CellResult) -> None:
        """A cell is durable."""
        ...

    def warn(self, line: str) -> None:
        """Something that does not stop the comparison."""
        ...
