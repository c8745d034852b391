"""Ways to run the jobs of a comparison, as a table; chosen with `--executor`."""

from __future__ import annotations

from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.execution.executors.base import Executor
from unlearnbench.planning.limits import Limits

EXECUTORS: dict[str, Executor] = {
    executor.name: executor
    for executor in (
        Executor(name="local", module="unlearnbench.execution.executors.local"),
        Executor(
            name="isolated",
            module="unlearnbench.execution.executors.isolated",
            manner="each in a process of its own",
            own_processes=True,
            takes_limits=True,
        ),
    )
}


def find_executor(name: str, limits: Limits) -> Executor:
    """Return the executor of that name.

    Raises:
        UsageError: there is none, or it does not keep to limits and some are given.
    """
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if limits != Limits() and not EXECUTORS[name].takes_limits:
        able = " or ".join(f"--executor {executor.name}" for executor in EXECUTORS.values() if executor.takes_limits)
        raise UsageError(f"--jobs, --job-timeout and --job-memory need jobs in processes of their own: add {able}.")
    return EXECUTORS[name]


def listed(*, manners: bool = True) -> str:
    """Return the executors' names as a sentence lists them, with their manners or without."""
    names = [
        f"{executor.name}, {executor.manner}" if manners and executor.manner else executor.name
        for executor in EXECUTORS.values()
    ]
    return f"{', '.join(names[:-1])}, or {names[-1]}" if len(names) > 1 else names[0]
