"""The reporter of a comparison's progress."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from unlearnbench.records.cells import CellResult, Job

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan


class Reporter(Protocol):
    """A receiver of a comparison's progress; several jobs may go on at a time."""

    def expect(self, plans: Sequence[JobPlan]) -> None:
        """Note that so many more jobs are to come, such as the next trials of a search."""
        ...

    def loading(self, job: Job) -> None:
        """Note that a job begins: its model is on the way into memory."""
        ...

    def unlearning(self, job: Job, steps: int) -> None:
        """Note that a fit begins."""
        ...

    def step(self, job: Job, loss: float | None) -> None:
        """Note that one update is done; the loss in the method's own unit."""
        ...

    def scoring(self, job: Job, benchmark: str, items: int) -> None:
        """Note that a benchmark begins."""
        ...

    def scored(self, job: Job, items: int) -> None:
        """Note that so many more items are done."""
        ...

    def finished(self, result: CellResult) -> None:
        """Note that a cell is durable."""
        ...

    def warn(self, line: str) -> None:
        """Report a problem that does not stop the comparison."""
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
