"""Ways to run the jobs of a comparison; chosen with `--executor`."""

from __future__ import annotations

from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.planning.limits import Limits

EXECUTORS = ("local", "isolated")


def check_executor(name: str, limits: Limits) -> str:
    """The executor's name, or a `UsageError` that lists those there are or says that it cannot keep to the limits."""
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if name != "isolated" and limits != Limits():
        raise UsageError("--jobs, --job-timeout and --job-memory need jobs in processes of their own: add --executor isolated.")
    return name
