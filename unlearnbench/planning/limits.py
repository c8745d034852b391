"""What jobs in processes of their own keep to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """As many jobs as may run at a time, and what the process of one may take.

    Attributes:
        jobs: at a time.
        seconds: wall clock of a process, from its start; None means no limit.
        bytes: resident memory of a process and all that it started; None means no limit.
    """

    jobs: int = 1
    seconds: float | None = None
    bytes: int | None = None
