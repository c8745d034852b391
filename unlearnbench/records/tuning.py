"""What a search for settings leaves behind: every trial, the chosen one and why, as in `tuning/trials.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from unlearnbench.records.cells import Record

TrialStatus = Literal["done", "failed", "diverged", "pruned"]
TUNING = "tuning"  # folder of a comparison: the trials are rows of a comparison of their own
TRIALS = "trials.json"
NOT_MET = "constraint not met"
NO_SPACE = "not tuned (no search space)"


class Look(Record):
    """F, K and S of a look at a training, on some of the items that choose, after so many updates."""

    update: int
    forget: float
    keep: float
    score: float


def best_look(looks: Sequence[Look], keep_at_least: float) -> Look:
    """The look with the highest F of those that kept enough, else with the highest S; of equals the first."""
    kept = [look for look in looks if look.keep >= keep_at_least]
    return max(kept or looks, key=lambda look: look.forget if kept else look.score)


class Trial(Record):
    """One set of settings, and what it did on the half of the questions that chooses.

    Attributes:
        number: from 1, in the order of proposal; the row of the search is `ROW.trial-NUMBER`.
        settings: the options that were searched.
        status: what became of the job; a trial that failed or was pruned counts like any other.
        error: what went wrong, or why it was pruned.
        forget: F; None where the trial did not finish, as are K and S.
        keep: K.
        score: S.
        seconds: of unlearning and scoring, looks included.
        looks: at the training, where there were any.
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
        """Whether it kept enough."""
        return self.status == "done" and self.keep is not None and self.keep >= keep_at_least


class RowTrials(Record):
    """The search of one row.

    Attributes:
        row: of the comparison.
        method: its plugin.
        label: what the table says of the row: `tuned 8`.
        chosen: number of the trial whose settings the row has; None where none finished or nothing was searched.
        met: whether the chosen trial kept enough.
        settings: the chosen ones.
        space: what was searched, as a recipe would write it.
        search: hash of all that its trials depend on; a search of another hash starts anew.
        trials: all of them.
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
        trials: of each row; None where only time counted.
        seconds: of each row's unlearning and scoring, after which there was no further trial; None: only their number counted.
        keep_at_least: the constraint: K of a trial, where one meets it.
        seed: of the sampler.
        split: benchmark -> part -> how many items choose.
        rows: the searches.
    """

    schema_version: Literal[1] = Field(default=1, alias="schema", serialization_alias="schema")
    trials: int | None
    seconds: float | None = None
    keep_at_least: float
    seed: int
    split: dict[str, dict[str, int]] = {}
    rows: list[RowTrials] = []


def read_tuning(out: Path) -> Tuning | None:
    """The search that was made for a comparison, or None where there is none."""
    try:
        return Tuning.model_validate_json((out / TUNING / TRIALS).read_bytes())
    except (OSError, ValueError):
        return None


MIN_PEERS = 4  # earlier trials that a look is compared with


def floor(trials: Sequence[Trial], update: int) -> float | None:
    """S of a look after so many updates below which a trial is hopeless: the lower quartile of the earlier trials'.

    Each row is compared with itself: a method that first damages and then repairs is no worse for it.
    """
    scores = sorted(look.score for trial in trials for look in trial.looks if look.update == update)
    return scores[len(scores) // 4] if len(scores) >= MIN_PEERS else None


def choose(trials: Sequence[Trial], keep_at_least: float) -> Trial | None:
    """The trial with the highest F of those that kept enough; where none did, the one with the highest S.

    Of equals the one that kept more, then the first. None where no trial finished.
    """
    done = [trial for trial in trials if trial.status == "done" and trial.score is not None]
    kept = [trial for trial in done if trial.met(keep_at_least)]

    def worth(trial: Trial) -> tuple[float, float, int]:
        best = trial.forget if kept else trial.score
        return best or 0.0, trial.keep or 0.0, -trial.number

    return max(kept or done, key=worth, default=None)


def label(trials: Sequence[Trial], seconds: float | None, best: Trial | None, keep_at_least: float) -> str:
    """What the table says of a row that was tuned with these trials, in so many seconds where time counted."""
    how = f"tuned {len(trials)}" + ("" if seconds is None else f" in {seconds:g} s")
    if best is None:
        return f"{how} (no trial finished)"
    return how if best.met(keep_at_least) else f"{how} ({NOT_MET})"
