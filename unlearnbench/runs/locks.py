"""Locks on a comparison's folder: one process holds it, others join only if `--join` is given, and every job is claimed first.

The locks are the operating system's: they end with the process that has them, even if it is killed.
"""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from unlearnbench.errors import UsageError
from unlearnbench.runs.folder import folder_name
from unlearnbench.system.files import write_atomic

if TYPE_CHECKING:
    from unlearnbench.records.cells import Job

LOCKS = ".locks"
HOLDER = "holder.json"
WAIT_SECONDS = 0.2  # from one look to the next at jobs that another process is at


class Holding:
    """A hold on a folder, as a context: alone, or with `join` beside the process that has it.

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
        """Return whether this process is the one that holds the folder."""
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
        """Return the process that holds the folder, in words."""
        try:
            about: dict[str, Any] = json.loads((self._folder / HOLDER).read_text(encoding="utf-8"))
            return f"process {about['pid']} on {about['host']} since {about['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    def claim(self, job: Job) -> FileLock | None:
        """Return the lock of a job, or None while another process has it."""
        self.take()
        name = f"{folder_name(job.variant)}--seed-{job.seed}-{job.identity[:16]}.lock"
        lock = FileLock(self._folder / name, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return lock
