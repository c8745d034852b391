"""A finished search for settings, for Python and notebooks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.records.recipe import Recipe
from unlearnbench.records.tuning import Tuning

if TYPE_CHECKING:
    from pandas import DataFrame


class Search:
    """A search with its trials and its choices.

    At the end of a notebook's cell it shows the trials.

    Attributes:
        out: folder of the comparison that the settings are for; the search is in `tuning` there.
        tuning: every trial and the choices, as in trials.json.
        recipe: recipe of the comparison with the chosen settings, on the half of the questions that was not used to choose.
    """

    def __init__(self, out: Path, tuning: Tuning, recipe: Recipe) -> None:
        self.out, self.tuning, self.recipe = out, tuning, recipe

    def to_frame(self) -> DataFrame:
        """Return the trials as a pandas frame, one a line, with the settings as a mapping."""
        import pandas

        head = ["row", "trial", "settings", "F", "K", "S", "seconds", "status", "error", "chosen"]
        lines = [
            (
                row.row,
                trial.number,
                trial.settings,
                trial.forget,
                trial.keep,
                trial.score,
                trial.seconds,
                trial.status,
                trial.error,
                trial.number == row.chosen,
            )
            for row in self.tuning.rows
            for trial in row.trials
        ]
        return pandas.DataFrame(lines, columns=head)

    def _repr_html_(self) -> str:
        """Return the trials for a notebook; names and settings are escaped."""
        from unlearnbench.reports.tuning import html

        return html(self.tuning)

    def __repr__(self) -> str:
        return f"<Search in {self.out}: {', '.join(f'{row.row} {row.label}' for row in self.tuning.rows)}>"
