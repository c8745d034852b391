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
    """A claim of this process on a job, as a context.

    Attributes:
        plan: plan of the job; `due` is what it still owes.
        lock: lock that keeps other processes from the job; None where there are none.
        open: open jobs of this process, from which this one is removed when it is released.
    """

    plan: JobPlan
    lock: FileLock | None
    open: list[Job] = field(default_factory=list["Job"])

    def __enter__(self) -> JobPlan:
        return self.plan

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the job for other processes."""
        if self.plan.job in self.open:
            self.open.remove(self.plan.job)
        if self.lock is not None:
            self.lock.release()


class Queue:
    """The jobs that are left; true while there are any. A job that is derived from another comes after that one's training.

    Args:
        plans: plans of the jobs, in order; those that owe nothing are left out.
        run: folder of their cells.
        holding: hold on the folder; without one no other process takes its jobs.
    """

    def __init__(self, plans: Sequence[JobPlan], run: RunFolder, holding: Holding | None = None) -> None:
        self._left = deque(plan for plan in plans if plan.due)
        self._waiting = {_key(plan.job) for plan in self._left}
        self._run, self._holding = run, holding
        self._open: list[Job] = []  # that this process is at

    def __bool__(self) -> bool:
        return bool(self._left)

    def take(self) -> Claim | None:
        """Return the next job that no other process has claimed; None where there is none now."""
        for _ in range(len(self._left)):
            plan = self._left.popleft()
            self._waiting.discard(_key(plan.job))
            if self._holding is None:
                return Claim(plan, None)
            lock = self._holding.claim(plan.job) if self._is_ready(plan, self._holding) else None
            if lock is None:
                self._left.append(plan)  # if its process dies, somebody must do it
                self._waiting.add(_key(plan.job))
                continue
            plan = replace(plan, due=missing(plan, self._run))
            if plan.due:
                self._open.append(plan.job)
                return Claim(plan, lock, self._open)
            lock.release()
        return None

    def _is_ready(self, plan: JobPlan, holding: Holding) -> bool:
        """Return whether the delta that a job is derived from is on the disk, or no process is left to make it."""
        source = plan.source
        if source is None or self._run.read_manifest(self._run.delta_path_of(source)) is not None:
            return True
        if source in self._open or _key(source) in self._waiting:
            return False
        lock = holding.claim(source)
        if lock is not None:
            lock.release()
        return lock is not None


def _key(job: Job) -> tuple[str, int]:
    return job.variant, job.seed


def missing(plan: JobPlan, run: RunFolder) -> tuple[str, ...]:
    """Return the due benchmarks of a job whose cells are not on the disk, or not to the last item."""
    found = {name: run.read_cell(plan.key(name), plan.cells[name]) for name in plan.due}
    return tuple(name for name, cell in found.items() if cell is None or cell.incomplete)
