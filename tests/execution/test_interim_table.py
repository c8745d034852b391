"""The table while cells are still coming: written seldom, from memory, and in the end what the disk says."""

from __future__ import annotations

import itertools

import pytest
from helpers.small_runs import small_run

from unlearnbench.errors import StorageError
from unlearnbench.execution import interim_table
from unlearnbench.execution.interim_table import LEAST_SECONDS, SHARE, InterimTable
from unlearnbench.reports.run_files import write_leaderboard
from unlearnbench.runs.reading import read_cells, read_manifest

FILES = ("leaderboard.json", "leaderboard.md")


class Clock:
    """A clock that stands still until it is moved, and a processor that takes as long as it is told for a table."""

    def __init__(self, cost: float = 0.0) -> None:
        self.now = 100.0
        self._spent = itertools.count(0.0, cost)

    def __call__(self) -> float:
        return self.now

    def spent(self) -> float:
        return next(self._spent)


@pytest.fixture
def run(tmp_path):
    return small_run(tmp_path / "run", write=False)


@pytest.fixture
def cells(run):
    return list(read_cells(run, read_manifest(run)).values())


@pytest.fixture
def writes(monkeypatch):
    """The number of cells in each table that was written."""
    seen: list[int] = []
    write = interim_table.write_table

    def watched(run, board):
        seen.append(sum(len(score.by_seed) for row in board.rows for score in row.scores.values()))
        return write(run, board)

    monkeypatch.setattr(interim_table, "write_table", watched)
    return seen


def forget(run, cells):
    """Move the records away; what puts one back is returned."""
    records = {cell.key: (path := run.cell_path(cell.key, cell.identity), path.read_bytes()) for cell in cells}
    for path, _ in records.values():
        path.unlink()

    def put_back(cell):
        path, content = records[cell.key]
        path.write_bytes(content)

    return put_back


def test_cells_in_quick_succession_cost_two_tables(run, cells, writes):
    """One at the first cell, one at the end: how many come in between is all the same."""
    put_back = forget(run, cells)
    clock = Clock()
    with InterimTable(run, clock=clock, spent=clock.spent) as table:
        for cell in cells:
            put_back(cell)
            table.add(cell)
    assert writes == [1, len(cells)]


def test_slow_cells_have_a_table_each(run, cells, writes):
    put_back = forget(run, cells)
    clock = Clock()
    with InterimTable(run, clock=clock, spent=clock.spent) as table:
        for cell in cells:
            put_back(cell)
            clock.now += LEAST_SECONDS
            table.add(cell)
    assert writes == [number + 1 for number in range(len(cells))]


def test_a_costly_table_is_written_less_often(run, cells, writes):
    """A table that takes a second of processor time is written every SHARE seconds: every 25th of cells two seconds apart."""
    cost = 1.0
    clock = Clock(cost)
    with InterimTable(run, clock=clock, spent=clock.spent) as table:
        for _ in range(2):
            for _ in range(int(SHARE * cost / LEAST_SECONDS)):
                table.add(cells[0])
                clock.now += LEAST_SECONDS
    assert len(writes) == 2 + 1


def test_the_last_table_is_what_the_disk_says(run, cells):
    put_back = forget(run, cells)
    with InterimTable(run) as table:
        for cell in reversed(cells):  # whatever the order in which they come
            put_back(cell)
            table.add(cell)
    ours = [(run.root / name).read_bytes() for name in FILES]
    write_leaderboard(run, in_passing=True)
    assert ours == [(run.root / name).read_bytes() for name in FILES]


@pytest.mark.parametrize("end", [KeyboardInterrupt, GeneratorExit, StorageError])
def test_a_broken_off_loop_leaves_every_cell_in_the_table(run, cells, writes, end):
    put_back = forget(run, cells)

    def loop():
        with InterimTable(run, clock=Clock()) as table:
            for cell in cells[:5]:
                put_back(cell)
                table.add(cell)
            raise end

    with pytest.raises(end):
        loop()
    assert writes == [1, 5]


def test_what_ended_the_loop_is_heard_where_the_table_cannot_be_written(run, cells, monkeypatch):
    def full(run, board):
        raise StorageError("disk full")

    def stopped_loop():
        with InterimTable(run, clock=Clock()) as table:
            table.add(cells[0])
            monkeypatch.setattr(interim_table, "write_table", full)
            table.add(cells[1])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_loop()
    with pytest.raises(StorageError), InterimTable(run, clock=Clock()) as table:
        table.add(cells[0])


def test_cells_of_other_processes_are_found_when_a_table_is_due(run, cells, writes):
    put_back = forget(run, cells)
    clock = Clock()
    with InterimTable(run, clock=clock, spent=clock.spent) as table:
        put_back(cells[0])
        table.add(cells[0])
        for cell in cells[1:4]:
            put_back(cell)
        clock.now += LEAST_SECONDS
        put_back(cells[4])
        table.add(cells[4])
    assert writes == [1, 5]


def test_a_cell_that_another_process_completes_is_read_again(run, cells):
    whole = cells[0]
    partial = whole.model_copy(update={"asked": whole.n + 1, "value": 0.0})
    record = run.cell_path(whole.key, whole.identity)
    kept = record.read_bytes()
    run.write_cell(partial, run.read_items(whole.key, whole.identity))
    with InterimTable(run, clock=Clock()) as table:
        record.write_bytes(kept)
        table.add(cells[1])
    ours = (run.root / FILES[0]).read_bytes()
    write_leaderboard(run, in_passing=True)
    assert ours == (run.root / FILES[0]).read_bytes()


def test_no_cell_means_no_writing(run, writes):
    with InterimTable(run):
        pass
    assert writes == []
