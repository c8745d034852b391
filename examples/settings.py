"""Pieces of a search by hand: trials as rows of an ordinary comparison, the choice of the best, and the table.

A search is honest when every method has the same number of trials and the questions that choose are not those that are
reported. Since trials are rows, a search that was interrupted goes on, and its cells can be looked at like any others.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import unlearnbench
from unlearnbench import Execution, PlainReporter, Recipe
from unlearnbench.records.leaderboard import Leaderboard

Options = dict[str, Any]
Trials = Mapping[str, Sequence[Options]]  # method -> the settings of each of its trials


def grid(common: Options, **values: Sequence[Any]) -> list[Options]:
    """Return every combination of some options' values, each with the common options."""
    return [{**common, **dict(zip(values, chosen, strict=True))} for chosen in itertools.product(*values.values())]


def rows_of(trials: Trials) -> dict[str, Options]:
    """Return the trials as rows of a recipe: rmu-1, rmu-2, ...

    Raises:
        ValueError: the methods have different numbers of trials.
    """
    if len({len(settings) for settings in trials.values()}) != 1:
        raise ValueError(f"every method gets the same number of trials, not {[len(settings) for settings in trials.values()]}")
    return {
        f"{method}-{number}": {"method": method, **options}
        for method, settings in trials.items()
        for number, options in enumerate(settings, 1)
    }


def run(recipe: Recipe, out: Path, *, keep_deltas: bool = False) -> Leaderboard:
    """Compute the missing cells of a comparison; return its table."""
    how = Execution(keep_deltas="all" if keep_deltas else "none")
    return unlearnbench.compare(recipe, out=out, execution=how, reporter=PlainReporter()).leaderboard


def best_of(trials: Trials, board: Leaderboard) -> dict[str, str]:
    """Return each method's row with the highest S; of equals the first."""
    return {
        method: max((f"{method}-{number}" for number in range(1, len(settings) + 1)), key=lambda row: summary(board, row)[2])
        for method, settings in trials.items()
    }


def summary(board: Leaderboard, variant: str) -> tuple[float, float, float]:
    """Return F, K and S of a row; a row that failed has none of them."""
    found = next((row.summary for row in board.rows if row.variant == variant), None)
    if found is None:
        return 0.0, 0.0, 0.0
    return found.forget.value or 0.0, found.keep.value or 0.0, found.score.value or 0.0


def table(trials: Trials, board: Leaderboard) -> str:
    """Return every trial as a row of markdown: the settings that differ, F, K and S; the chosen trial is bold."""
    lines = ["| trial | settings | F | K | S |", "|---|---|---|---|---|"]
    for method, best in best_of(trials, board).items():
        settings = trials[method]
        varied = [name for name in settings[0] if any(options[name] != settings[0][name] for options in settings)]
        for number, options in enumerate(settings, 1):
            name = f"{method}-{number}"
            shown = ", ".join(f"{option} {_short(options[option])}" for option in varied)
            mark = "**" if name == best else ""
            cells = [f"{mark}{name}{mark}", shown, *(f"{value:.3f}" for value in summary(board, name))]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
