"""Who is told how far a comparison is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from unlearnbench.records.cells import CellResult, Job

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan


class Reporter(Protocol):
    """Who is told how far things are; several jobs may go on at a time."""

    def expect(self, plans: Sequence[JobPlan]) -> None:
        """So many more jobs are to come, such as the next trials of a search."""
        ...

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


class Silent:
    """A `Reporter` that says nothing."""

    def expect(self, plans: Sequence[JobPlan]) -> None:
        pass

    def loading(self, job: Job) -> None:
        pass

    def unlearning(self, job: Job, steps: int) -> None:
        pass

    def step(self, job: Job, loss: float | None) -> None:
        pass

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        pass

    def scored(self, job: Job, items: int) -> None:
        pass

    def finished(self, result: CellResult) -> None:
        pass

    def warn(self, line: str) -> None:
        pass
