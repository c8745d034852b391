"""The limits of jobs in processes of their own."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnbench.errors import Problems, UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The number of jobs that run at a time, and the limits of each job's process.

    Attributes:
        jobs: number of jobs at a time.
        seconds: longest wall-clock time of a process, from its start; None means no limit.
        bytes: largest resident memory of a process and all that it started; None means no limit.

    Raises:
        UsageError: one of them leaves nothing to run with.
    """

    jobs: int = 1
    seconds: float | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        problems = Problems()
        if self.jobs < 1:
            problems.add(UsageError(f"--jobs takes a whole number of at least 1; got {self.jobs}."))
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            problems.add(UsageError(f"--job-timeout takes a number of seconds above 0; got {self.seconds:g}."))
        if self.bytes is not None and self.bytes <= 0:
            problems.add(UsageError(f"--job-memory takes a size above 0; got {self.bytes} bytes."))
        problems.settle()
