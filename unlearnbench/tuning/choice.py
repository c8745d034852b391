"""The decisions of a search: the trials that are hopeless, the trial that is chosen, and the row's label in the table."""

from __future__ import annotations

from collections.abc import Sequence

from unlearnbench.records.tuning import Trial

NOT_MET = "constraint not met"
NO_SPACE = "not tuned (no search space)"
MIN_PEERS = 4  # earlier trials that a look is compared with


def floor(trials: Sequence[Trial], update: int) -> float | None:
    """Return the S of a look after so many updates below which a trial is hopeless: the lower quartile of the earlier trials'.

    Each row is compared with itself: a method that first damages and then repairs is no worse for it.
    """
    scores = sorted(look.score for trial in trials for look in trial.looks if look.update == update)
    return scores[len(scores) // 4] if len(scores) >= MIN_PEERS else None


def choose(trials: Sequence[Trial], keep_at_least: float) -> Trial | None:
    """Return the trial with the highest F of those that kept enough; where none did, the one with the highest S.

    Of equals the one that kept more, then the first. None where no trial finished.
    """
    done = [trial for trial in trials if trial.status == "done" and trial.score is not None]
    kept = [trial for trial in done if trial.met(keep_at_least)]

    def worth(trial: Trial) -> tuple[float, float, int]:
        best = trial.forget if kept else trial.score
        return best or 0.0, trial.keep or 0.0, -trial.number

    return max(kept or done, key=worth, default=None)


def label_of(
    trials: Sequence[Trial], seconds: float | None, best: Trial | None, keep_at_least: float, *, saw: Sequence[str] = ()
) -> str:
    """Return the table's label of a row that was tuned with these trials, in so many seconds where time counted.

    Args:
        trials: finished trials of the row.
        seconds: limit of time; None where there was none.
        best: chosen trial; None where none finished.
        keep_at_least: constraint.
        saw: names of the references that F of the trials was read against.
    """
    how = f"tuned {len(trials)}" + ("" if seconds is None else f" in {seconds:g} s")
    how += f" against {', '.join(saw)}" if saw else ""
    if best is None:
        return f"{how} (no trial finished)"
    return how if best.met(keep_at_least) else f"{how} ({NOT_MET})"
