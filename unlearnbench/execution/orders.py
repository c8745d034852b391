"""The order to another process: one job, as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from unlearnbench.records.base import Record


class JobOrder(Record):
    """One job of a comparison whose recipe lies in its run folder.

    Attributes:
        run: folder of the comparison.
        variant: row of the job.
        seed: seed of the job.
        identity: hash of all that may change the unlearned weights, as the sender planned it.
        cells: identity of each cell that is owed, by its benchmark; without any the process trains, and leaves the delta.
        cache: folder of the user's cache.
        device: type of the device to compute on.
    """

    run: Path
    variant: str
    seed: int
    identity: str
    cells: dict[str, str] = {}
    cache: Path
    device: Literal["cpu", "cuda"]
