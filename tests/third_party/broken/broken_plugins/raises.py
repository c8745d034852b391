"""Fails when asked what it offers."""

from unlearnbench.api import hookimpl


@hookimpl
def unlearnbench_methods():
    raise RuntimeError("no licence")
