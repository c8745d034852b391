"""The jobs that are left, and claims on them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from filelock import FileLock

from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.locks import Holding

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan
    from unlearnbench.records.cells import Job


@dataclass
class Claim:
    """A job that this process has, as a context.

    Attributes:
        plan: of the job; `due` is what it still owes.
        lock: that keeps other processes from it; None where there are none.
        open: jobs that this process is at, from which this one goes when it is released.
    """

    plan: JobPlan
    lock: FileLock | None
    open: list[Job] = field(default_factory=list["Job"])

    def __enter__(self) -> JobPlan:
        return self.plan

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others have the job."""
        if self.plan.job in self.open:
            self.open.remove(self.plan.job)
        if self.lock is not None:
            self.lock.release()


class Queue:
    """The jobs that are left; true while there are any. One that is derived from another comes after that one's training.

    Args:
        plans: in order; those that owe nothing are left out.
        run: where their cells are.
        holding: on the folder; without one the jobs are nobody else's.
    """

    def __init__(self, plans: Sequence[JobPlan], run: RunFolder, holding: Holding | None = None) -> None:
        self._left = deque(plan for plan in plans if plan.due)
        self._run, self._holding = run, holding
        self._open: list[Job] = []  # that this process is at

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self) -> Claim | None:
        """The next job that no other process is at; None where there is none now."""
        for _ in range(len(self._left)):
            plan = self._left.popleft()
            if self._holding is None:
                return Claim(plan, None)
            lock = self._holding.claim(plan.job) if self._is_ready(plan, self._holding) else None
            if lock is None:
                self._left.append(plan)  # if its process dies, somebody must do it
                continue
            plan = replace(plan, due=missing(plan, self._run))
            if plan.due:
                self._open.append(plan.job)
                return Claim(plan, lock, self._open)
            lock.release()
        return None

    def _is_ready(self, plan: JobPlan, holding: Holding) -> bool:
        """Whether what a job is derived from lies on the disk, or nobody is left to bring it there."""
        source = plan.source
        if source is None or self._run.read_manifest(self._run.delta_path_of(source)) is not None:
            return True
        if source in self._open or any(other.job == source for other in self._left):
            return False
        lock = holding.claim(source)
        if lock is not None:
            lock.release()
        return lock is not None


def missing(plan: JobPlan, run: RunFolder) -> tuple[str, ...]:
    """The due benchmarks of a job whose cells are not on the disk, or not to the last item."""
    found = {name: run.read_cell(plan.key(name), plan.cells[name]) for name in plan.due}
    return tuple(name for name, cell in found.items() if cell is None or cell.incomplete)
