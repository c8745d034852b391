"""The input of the preflight."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unlearnbench.planning.limits import Limits
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import KeepDeltas

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A comparison that a user wants, before anything of it is checked.

    Attributes:
        recipe: recipe of the comparison.
        out: folder of the comparison; cells that are in it already are not computed again.
        cache: folder of the user's cache, for scores and file hashes.
        device: device to compute on.
        retry_failed: True counts failed cells as not finished.
        keep_deltas: unlearned weights that will stay on disk; there must be room for them.
        limits: limits of jobs in processes of their own.
    """

    recipe: Recipe
    out: Path
    cache: Path
    device: Device = "auto"
    retry_failed: bool = False
    keep_deltas: KeepDeltas = "all"
    limits: Limits = field(default_factory=Limits)
