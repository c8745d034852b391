"""Ways to run the jobs of a comparison; chosen with `--executor`."""

from __future__ import annotations

from unlearnbench.errors import unknown_name

EXECUTORS = ("local",)


def check_executor(name: str) -> str:
    """The executor's name, or a `UsageError` that lists those there are."""
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    return name
