"""Where and how a comparison runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from unlearnbench.errors import unknown_name
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.request import Device, Request
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import KeepDeltas

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from unlearnbench.records.cells import Job


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How a comparison is run.

    Attributes:
        executor: name of one of `EXECUTORS`.
        limits: that its jobs keep to.
        keep_deltas: which unlearned weights stay on disk.
        retry_failed: compute failed cells again.
        join: take jobs of a comparison that another process has begun in the same folder.
        items: keep the benchmarks' questions, and show them and the answers in the report.
        command: the command line, for the report.
        loggers: Lightning loggers of a job that trains, beside those of the recipe and of extensions; jobs in other processes
            cannot be given any.

    Raises:
        UsageError: `keep_deltas` is no such word.
    """

    executor: str = "local"
    limits: Limits = field(default_factory=Limits)
    keep_deltas: KeepDeltas = "all"
    retry_failed: bool = False
    join: bool = False
    items: bool = True
    command: str = ""
    loggers: Callable[[Job], Sequence[Logger]] | None = None

    def __post_init__(self) -> None:
        if self.keep_deltas not in get_args(KeepDeltas):
            raise unknown_name("value of --keep-deltas", self.keep_deltas, get_args(KeepDeltas))


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a comparison runs, and how.

    Attributes:
        out: its folder.
        cache: the user's cache.
        device: where to compute.
        how: with which executor, and what it leaves behind.

    Raises:
        UsageError: there is no such device.
    """

    out: Path
    cache: Path
    device: Device = "auto"
    how: Execution = field(default_factory=Execution)

    def __post_init__(self) -> None:
        if self.device not in get_args(Device):
            raise unknown_name("value of --device", self.device, get_args(Device))

    def request(self, recipe: Recipe) -> Request:
        """A recipe's comparison here, for the preflight."""
        return Request(
            recipe=recipe,
            out=self.out,
            cache=self.cache,
            device=self.device,
            retry_failed=self.how.retry_failed,
            keep_deltas=self.how.keep_deltas,
            limits=self.how.limits,
        )
