"""A finished comparison as reports read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from unlearnbench.leaderboard.comparability import cell_name
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import BenchmarkHead, Leaderboard, Manifest, RowHead
from unlearnbench.runs.folder import RunFolder

COMMAND = "command.txt"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """One comparison.

    Attributes:
        run: its folder.
        manifest: its plan.
        cells: those that are there, by name.
        board: its table.
        items: whether questions and answers may be shown.
    """

    run: RunFolder
    manifest: Manifest
    cells: dict[str, CellResult]
    board: Leaderboard
    items: bool = True

    @cached_property
    def rows(self) -> list[RowHead]:
        """The plan's rows in the order of the table."""
        heads = {row.variant: row for row in self.manifest.rows}
        return [heads[row.variant] for row in self.board.rows]

    @cached_property
    def command(self) -> str:
        """The command line that made the comparison; empty where it is not known."""
        try:
            return (self.run.root / COMMAND).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def done(self, row: RowHead, head: BenchmarkHead) -> Iterator[tuple[int, CellResult]]:
        """The finished cells of a row on a benchmark, with their seeds."""
        for seed in row.seeds:
            cell = self.cells.get(cell_name(row, head.name, seed))
            if cell is not None and cell.status == "done":
                yield seed, cell
