"""The hooks a plugin may implement. Plugins import `hookimpl` from `unlearnbench.api`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger

    from unlearnbench.plugins.specs import AttackSpec, BenchmarkSpec, MethodSpec
    from unlearnbench.records.cells import CellResult, Job

PROJECT = "unlearnbench"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Mark a function of a module as a hook: `@hookimpl` above `unlearnbench_methods`, `unlearnbench_benchmarks`,
`unlearnbench_attacks` or one of the [hooks for extensions](hooks.md)."""


class MethodHooks:
    """Hooks of the entry-point group `unlearnbench.methods`."""

    @hookspec
    def unlearnbench_methods(self) -> Iterable[MethodSpec]:  # pyright: ignore[reportReturnType]
        """Return the methods this module offers; each name is also the name of an entry point."""


class BenchmarkHooks:
    """Hooks of the entry-point group `unlearnbench.benchmarks`."""

    @hookspec
    def unlearnbench_benchmarks(self) -> Iterable[BenchmarkSpec]:  # pyright: ignore[reportReturnType]
        """Return the benchmarks this module offers; each name is also the name of an entry point."""


class AttackHooks:
    """Hooks of the entry-point group `unlearnbench.attacks`."""

    @hookspec
    def unlearnbench_attacks(self) -> Iterable[AttackSpec]:  # pyright: ignore[reportReturnType]
        """Return the attacks this module offers; each name is also the name of an entry point."""


class ExtensionHooks:
    """Hooks of the entry-point group `unlearnbench.extensions`."""

    @hookspec
    def unlearnbench_trainer_callbacks(self, job: Job) -> Iterable[Callback]:  # pyright: ignore[reportReturnType]
        """Return Lightning callbacks to attach to the job's Trainer."""

    @hookspec
    def unlearnbench_trainer_loggers(self, job: Job) -> Iterable[Logger]:  # pyright: ignore[reportReturnType]
        """Return Lightning loggers for the job's Trainer; asked in the first of its processes only."""

    @hookspec
    def unlearnbench_cell_done(self, result: CellResult) -> None:
        """React to a finished cell; called once the cell is durable on disk."""
