"""A finished comparison, for Python and notebooks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.leaderboard.reading import last_settings, read_leaderboard, table_settings
from unlearnbench.records.leaderboard import Leaderboard
from unlearnbench.reports.finished import Finished
from unlearnbench.results import frames
from unlearnbench.results.figures import figures
from unlearnbench.results.frames import Frame
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_cells, read_manifest

if TYPE_CHECKING:
    from pandas import DataFrame
    from plotly.graph_objects import Figure


class Run:
    """A comparison in its folder, with its leaderboard.

    At the end of a notebook's cell it shows the leaderboard.

    Attributes:
        folder: folder of the comparison.
        leaderboard: table, as in leaderboard.json.
    """

    def __init__(self, folder: Path, leaderboard: Leaderboard) -> None:
        run = RunFolder(folder)
        manifest = read_manifest(run)
        self.folder, self.leaderboard = folder, leaderboard
        self._finished = Finished(run=run, manifest=manifest, cells=read_cells(run, manifest), board=leaderboard)

    def to_frame(self, what: Frame = "rows") -> DataFrame:
        """Return the comparison as a pandas frame.

        Args:
            what: frame to return: `rows`, the table as `leaderboard --format csv` has it; `scores`, every score of a benchmark,
                seed, part or group, one a line; `items`, every model's result on every item; `conversations`, every model's
                answers; `curves`, the values that methods logged during training, over their updates.

        Raises:
            UsageError: there is no such frame, or a file in the folder is damaged.
        """
        match what:
            case "rows":
                return frames.rows(self.leaderboard)
            case "scores":
                return frames.scores(self.leaderboard)
            case "items":
                return frames.items(self._finished)
            case "conversations":
                return frames.conversations(self._finished)
            case "curves":
                return frames.curves(self._finished)
            case _:
                raise unknown_name("frame", what, get_args(Frame))

    def figures(self) -> dict[str, Figure]:
        """Return the report's charts as plotly figures, by name; see `plot`."""
        return figures(self._finished)

    def plot(self, name: str = "plane") -> Figure:
        """Return one of the report's charts as a plotly figure.

        Args:
            name: name of the chart: `plane`, forgotten against kept; `parts/BENCHMARK`, the change of each part against the
                base; `letters/BENCHMARK`, the options that are answered; `curves/ROW/NAME`, a value that a method logged during
                training.

        Raises:
            UsageError: the comparison has no such chart; those that it has are named.
        """
        drawn = self.figures()
        if name not in drawn:
            raise unknown_name(f"figure of {self.folder}", name, drawn)
        return drawn[name]

    def _repr_html_(self) -> str:
        """Return the leaderboard for a notebook: `leaderboard --format html`, in which names and texts are escaped."""
        from unlearnbench.reports.text import render

        return render([self.leaderboard], "html")

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {', '.join(row.variant for row in self.leaderboard.rows)}>"


def read_run(folder: str | os.PathLike[str], *, rank_by: str | None = None, damage_margin: float | None = None) -> Run:
    """Return a comparison from its folder; nothing is computed, and torch is not imported.

    Args:
        folder: folder of the comparison, finished or not.
        rank_by: column that ranks go by: `score`, `forget`, `keep` or a benchmark's; by default as in the comparison's own
            table.
        damage_margin: share of the retain knowledge that a row may lose and still be called `forgot`; by default as in the
            comparison's own table.

    Raises:
        UsageError: it is not the folder of a comparison, a file in it is damaged, or there is nothing of the name to rank by.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"There is no folder {root}; `unlearnbench compare` makes one, by default under runs/.")
    return Run(root, read_leaderboard(root, table_settings(rank_by, damage_margin, last_settings(root))))
