"""A finished comparison as reports read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.leaderboard.comparability import cell_name
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.leaderboard.reading import last_settings, read_items
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, ManifestRow
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import COMMAND, read_cells, read_manifest


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One comparison.

    Attributes:
        run: folder of the comparison.
        manifest: plan of the comparison.
        cells: finished cells, by name.
        board: table of the comparison.
        items: True where questions and answers may be shown.
    """

    run: RunFolder
    manifest: Manifest
    cells: dict[str, CellResult]
    board: Leaderboard
    items: bool = True

    @cached_property
    def rows(self) -> list[ManifestRow]:
        """Return the plan's rows in the order of the table."""
        heads = {row.variant: row for row in self.manifest.rows}
        return [heads[row.variant] for row in self.board.rows]

    @cached_property
    def command(self) -> str:
        """Return the command line that made the comparison; empty where it is not known."""
        try:
            return (self.run.root / COMMAND).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def done(self, row: ManifestRow, head: ManifestBenchmark) -> Iterator[tuple[int, CellResult]]:
        """Yield the finished cells of a row on a benchmark, with their seeds."""
        for seed in row.seeds:
            cell = self.cells.get(cell_name(row, head.name, seed))
            if cell is not None and cell.status == "done":
                yield seed, cell


def read_finished(
    folder: Path, settings: TableSettings | None = None, *, items: bool = True
) -> tuple[Finished, dict[str, Outcomes]]:
    """Read a comparison for reports, with its table, by default as it was last made, and the outcomes of its items."""
    run = RunFolder(folder)
    manifest = read_manifest(run)
    cells = read_cells(run, manifest)
    outcomes = read_items(run, cells)
    board = build_leaderboard(manifest, cells, outcomes, settings or last_settings(folder))
    return Finished(run=run, manifest=manifest, cells=cells, board=board, items=items), outcomes
