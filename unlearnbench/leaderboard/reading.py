"""The table of a run folder, from what is on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.leaderboard.outcomes import Outcomes, read_outcomes
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_cells, read_manifest


def read_leaderboard(folder: Path, settings: TableSettings | None = None, *, in_passing: bool = False) -> Leaderboard:
    """Read the table of a run folder, from its plan and the cells that belong to it.

    Args:
        folder: folder of the comparison.
        settings: settings of ranks, margins and reference.
        in_passing: True reads figures only, not the items of the cells.

    Raises:
        UsageError: it is not the folder of a comparison, or its cells do not belong together.
    """
    run = RunFolder(folder)
    manifest = read_manifest(run)
    cells = read_cells(run, manifest, in_passing=in_passing)
    return build_leaderboard(manifest, cells, None if in_passing else read_items(run, cells), settings)


def last_settings(folder: Path) -> TableSettings | None:
    """Return the settings of the comparison's own table; None where there is none."""
    try:
        return written_leaderboard(folder).settings
    except (UsageError, ValidationError):
        return None


def table_settings(
    rank_by: str | None,
    damage_margin: float | None,
    start: TableSettings | None = None,
    *,
    reference: list[str] | None = None,
) -> TableSettings:
    """Return the settings of a table: the given ones, else those of `start`.

    Raises:
        UsageError: the margin is no share.
    """
    if damage_margin is not None and not 0 <= damage_margin < 1:
        raise UsageError(f"--damage-margin takes a share from 0 to below 1, as in 0.05; got {damage_margin:g}.")
    given = {"rank_by": rank_by, "damage_margin": damage_margin, "reference": reference}
    return (start or TableSettings()).model_copy(update={name: value for name, value in given.items() if value is not None})


def written_leaderboard(folder: Path) -> Leaderboard:
    """Return the table that the comparison wrote last."""
    return Leaderboard.model_validate(RunFolder(folder).read_json("leaderboard.json"))


def read_items(run: RunFolder, cells: Mapping[str, CellResult]) -> dict[str, Outcomes]:
    """Return the outcomes of each finished cell's items, by its name; columns that were asked the same share their ids."""
    items: dict[str, Outcomes] = {}
    first: dict[str, Outcomes] = {}
    for name, cell in cells.items():
        if cell.status == "done":
            items[name] = read_outcomes(run, cell.key, cell.identity, first.get(cell.key.benchmark))
            first.setdefault(cell.key.benchmark, items[name])
    return items
