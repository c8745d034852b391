"""The result of a search for settings: every trial, the chosen one and why, as in `tuning/trials.json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from unlearnbench.errors import CellError
from unlearnbench.records.base import Record

TrialStatus = Literal["done", "failed", "diverged", "pruned"]


class Look(Record):
    """F, K and S of a look at a training, on some of the items that choose, after so many updates."""

    update: int
    forget: float
    keep: float
    score: float


class Trial(Record):
    """One set of settings, and its result on the half of the questions that chooses.

    Attributes:
        number: number of the trial from 1, in the order of proposal; the row of the search is `ROW.trial-NUMBER`.
        settings: options that were searched.
        status: status of the job; a trial that failed or was pruned counts like any other.
        error: error, or the reason why it was pruned.
        forget: F; None where the trial did not finish, as are K and S.
        keep: K.
        score: S.
        seconds: seconds of unlearning and scoring, looks included.
        looks: looks at the training, where there were any.
    """

    number: int
    settings: dict[str, Any]
    status: TrialStatus
    error: str | None = None
    forget: float | None = None
    keep: float | None = None
    score: float | None = None
    seconds: float = 0.0
    looks: list[Look] = []

    def met(self, keep_at_least: float) -> bool:
        """Return whether it kept enough."""
        return self.status == "done" and self.keep is not None and self.keep >= keep_at_least


class RowTrials(Record):
    """The search of one row.

    Attributes:
        row: row of the comparison.
        method: plugin of the method.
        label: label of the row in the table: `tuned 8`.
        chosen: number of the trial whose settings the row has; None where none finished or nothing was searched.
        met: True where the chosen trial kept enough.
        settings: chosen settings.
        space: options that were searched, as a recipe would write them.
        search: hash of all that its trials depend on; a search of another hash starts anew.
        trials: trials of the row.
    """

    row: str
    method: str
    label: str
    chosen: int | None
    met: bool = False
    settings: dict[str, Any] = {}
    space: dict[str, Any] = {}
    search: str = ""
    trials: list[Trial] = []


class Tuning(Record):
    """The whole search, as in trials.json.

    Attributes:
        trials: number of trials of each row; None where only time counted.
        seconds: seconds of each row's unlearning and scoring, after which there was no further trial; None: only their number
            counted.
        keep_at_least: constraint: K of a trial, where one meets it.
        seed: seed of the sampler.
        split: number of items that choose, by benchmark and part.
        rows: searches of the rows.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    trials: int | None
    seconds: float | None = None
    keep_at_least: float
    seed: int
    split: dict[str, dict[str, int]] = {}
    rows: list[RowTrials] = []


class PrunedError(CellError):
    """A trial of a search was stopped halfway; `looks` are those at its training."""

    def __init__(self, message: str, looks: Sequence[Look] = ()) -> None:
        super().__init__(message)
        self.looks = list(looks)
