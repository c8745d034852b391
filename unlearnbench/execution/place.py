"""The place and manner of a comparison's run."""

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
    """The manner in which a comparison is run.

    Attributes:
        executor: name of one of `EXECUTORS`.
        limits: limits of its jobs.
        keep_deltas: unlearned weights that stay on disk.
        retry_failed: True computes failed cells again.
        join: True takes jobs of a comparison that another process has begun in the same folder.
        items: True keeps the benchmarks' questions, and shows them and the answers in the report.
        command: command line, for the report.
        loggers: function that returns Lightning loggers of a job that trains, beside those of the recipe and of extensions;
            jobs in other processes cannot be given any.

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
    """The place of a comparison's run, and its manner.

    Attributes:
        out: folder of the comparison.
        cache: folder of the user's cache.
        device: device to compute on.
        how: executor, limits, and the files that stay on disk.

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
        """Return the request for a recipe's comparison here, for the preflight."""
        return Request(
            recipe=recipe,
            out=self.out,
            cache=self.cache,
            device=self.device,
            retry_failed=self.how.retry_failed,
            keep_deltas=self.how.keep_deltas,
            limits=self.how.limits,
        )
