"""The table of a comparison that is going on, made of cells in memory and rewritten now and then."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from unlearnbench.errors import StorageError, UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import TableSettings
from unlearnbench.reports.run_files import write_table
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_cells, read_manifest

LEAST_SECONDS = 2.0  # from one writing to the next
SHARE = 50  # at most one part in so many of the time goes into the table


class InterimTable:
    """The table with figures only, as a context: on leaving it, however that comes, the file has every cell that was added.

    A writing is due with the first cell, and then once both `LEAST_SECONDS` and `SHARE` times the processor time of the last
    one have passed. What other processes add to the folder is found when a writing is due.

    Args:
        run: folder of the comparison, with its plan and the cells that are there already.
        settings: settings of the table.
        clock: clock that tells when a writing is due, in seconds.
        spent: processor time of this thread, in seconds.
    """

    def __init__(
        self,
        run: RunFolder,
        settings: TableSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._run, self._settings = run, settings
        self._clock, self._spent = clock, spent
        self._manifest = read_manifest(run)
        self._cells = read_cells(run, self._manifest, in_passing=True)
        self._places = {
            name: (row.key(name), identity, str(run.cell_path(row.key(name), identity)))
            for row in self._manifest.rows
            for name, identity in row.all_cells.items()
        }
        self._open = {name for name in self._places if name not in self._cells or self._cells[name].incomplete}
        self._due = self._clock()
        self._stale = False  # there is a cell that the file does not have

    def __enter__(self) -> InterimTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # what ended the block is to be heard of, and not what then happened to the table
        with contextlib.suppress(*(() if kind is None else (StorageError, UsageError))):
            self.flush()

    def add(self, result: CellResult) -> None:
        """Take a durable cell into the table; write it where that is due."""
        name = str(result.key)
        self._cells[name] = result
        (self._open.add if result.incomplete else self._open.discard)(name)
        self._stale = True
        if self._clock() >= self._due:
            self._write()

    def flush(self) -> None:
        """Write the table where a cell came after the last writing."""
        if self._stale:
            self._write()

    def _write(self) -> None:
        begun, before = self._clock(), self._spent()
        self._take_others()
        cells = {name: self._cells[name] for name in self._places if name in self._cells}  # in the plan's order
        write_table(self._run, build_leaderboard(self._manifest, cells, settings=self._settings))
        self._stale = False
        self._due = begun + max(LEAST_SECONDS, SHARE * (self._spent() - before))

    def _take_others(self) -> None:
        """Take cells that another process has written."""
        for name in [name for name in self._open if os.path.exists(self._places[name][2])]:
            key, identity, _ = self._places[name]
            if (found := self._run.read_cell(key, identity)) is not None:
                self._cells[name] = found
                if not found.incomplete:
                    self._open.discard(name)
