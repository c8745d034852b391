"""Ways to run the jobs of a comparison; chosen with `--executor`."""

from __future__ import annotations

from dataclasses import dataclass

from unlearnbench.errors import UsageError, unknown_name

EXECUTORS = ("local", "isolated")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What jobs in processes of their own keep to.

    Attributes:
        jobs: at a time.
        seconds: wall clock of one job, from the start of its process; None means no limit.
        bytes: resident memory of a job's processes together; None means no limit.
    """

    jobs: int = 1
    seconds: float | None = None
    bytes: int | None = None


def check_executor(name: str, limits: Limits) -> str:
    """The executor's name, or a `UsageError` that lists those there are or says that it cannot keep to the limits."""
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if name != "isolated" and limits != Limits():
        raise UsageError("--jobs, --job-timeout and --job-memory need jobs in processes of their own: add --executor isolated.")
    return name
