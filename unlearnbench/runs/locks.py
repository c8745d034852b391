"""Who works in a comparison's folder: one process holds it, others join only if asked to, and every job is claimed first.

The locks are the operating system's: they end with the process that has them, even if it is killed.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from unlearnbench.errors import UsageError
from unlearnbench.runs.folder import RunFolder, folder_name
from unlearnbench.system.files import write_atomic

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan
    from unlearnbench.records.cells import Job

LOCKS = ".locks"
HOLDER = "holder.json"
WAIT_SECONDS = 0.2  # from one look to the next at jobs that another process is at


class Holding:
    """A hold on a folder, as a context: alone, or with `join` beside whoever has it.

    Raises:
        UsageError: another process has it, and this one does not join; or the folder takes no files.
    """

    def __init__(self, root: Path, *, join: bool = False) -> None:
        self._root, self._join = root, join
        self._folder = root / LOCKS
        self._lock = FileLock(self._folder / "folder.lock", thread_local=False)

    def __enter__(self) -> Holding:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self.take()
        except OSError as error:
            raise UsageError(f"{self._root} cannot be written: {error.strerror or error}.") from error
        if not self.alone and not self._join:
            raise UsageError(
                f"{self._root} is in use by {self.holder()}; wait for it, choose another --out, or add --join to take a "
                "share of its jobs."
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def alone(self) -> bool:
        """Whether this process is the one that holds the folder."""
        return self._lock.is_locked

    def take(self) -> None:
        """Become the holder, if there is none any more."""
        if self.alone:
            return
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            return
        about = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomic(self._folder / HOLDER, json.dumps(about).encode())

    def holder(self) -> str:
        """Who has the folder, in words."""
        try:
            about: dict[str, Any] = json.loads((self._folder / HOLDER).read_text(encoding="utf-8"))
            return f"process {about['pid']} on {about['host']} since {about['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def claim(self, job: Job) -> FileLock | None:
        """The lock of a job, or None while another process has it."""
        self.take()
        name = f"{folder_name(job.variant)}--seed-{job.seed}-{job.identity[:16]}.lock"
        lock = FileLock(self._folder / name, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock


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
