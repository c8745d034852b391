"""Implements a hook that does not exist."""

from unlearnbench.api import hookimpl


@hookimpl
def unlearnbench_method():
    return []
