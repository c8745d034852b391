"""The jobs that are left, and claims on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from filelock import FileLock

from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.locks import Holding

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan


@dataclass
class Claim:
    """A job that this process has, as a context; `plan.due` is what it still owes."""

    plan: JobPlan
    lock: FileLock | None

    def __enter__(self) -> JobPlan:
        return self.plan

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the job."""
        if self.lock is not None:
            self.lock.release()


class Queue:
    """The jobs that are left; true while there are any.

    Args:
        plans: in order; those that owe nothing are left out.
        run: where their cells are.
        holding: on the folder; without one the jobs are nobody else's.
    """

    def __init__(self, plans: Sequence[JobPlan], run: RunFolder, holding: Holding | None = None) -> None:
        self._left = deque(plan for plan in plans if plan.due)
        self._run, self._holding = run, holding

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self) -> Claim | None:
        """The next job that no other process is at; None where there is none now."""
        for _ in range(len(self._left)):
            plan = self._left.popleft()
            if self._holding is None:
                return Claim(plan, None)
            lock = self._holding.claim(plan.job)
            if lock is None:
                self._left.append(plan)  # if its process dies, somebody must do it
                continue
            plan = replace(plan, due=missing(plan, self._run))
            if plan.due:
                return Claim(plan, lock)
            lock.release()
        return None


def missing(plan: JobPlan, run: RunFolder) -> tuple[str, ...]:
    """The due benchmarks of a job whose cells are not on the disk, or not to the last item."""
    found = {name: run.read_cell(plan.key(name), plan.cells[name]) for name in plan.due}
    return tuple(name for name, cell in found.items() if cell is None or cell.incomplete)
