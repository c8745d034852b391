"""Checks that cells may share a table: nothing is averaged or compared across different identities; pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.cells import CellKey, CellResult
from unlearnbench.records.manifest import CHECKPOINT, Manifest, ManifestRow

# what a cell's provenance must share with the others of its column, and with the other seeds of its row
OF_COLUMN = ("benchmark_source", "benchmark_options", "data", "limit", "half", "dtype", "unlearnbench")
OF_ROW = ("base_weights", "method", "method_source", "method_options", "budget", "trainer", "topics", "dtype", "unlearnbench")
OF_TRAINED = ("base_weights",)  # and with every row that starts from the same base


def cell_name(row: ManifestRow, benchmark: str, seed: int) -> str:
    """Return the name of a row's cell."""
    return str(CellKey(variant=row.variant, benchmark=benchmark, seed=seed))


def check_comparable(manifest: Manifest, cells: Mapping[str, CellResult]) -> None:
    """Refuse a table whose cells answer different questions.

    Raises:
        UsageError: two cells differ; the message names them and the field.
    """
    for head in manifest.benchmarks:
        column = [cell_name(row, head.name, seed) for row in manifest.rows for seed in row.seeds]
        _check_same(column, cells, OF_COLUMN)
    for row in manifest.rows:
        _check_same([cell_name(row, head.name, seed) for head in manifest.benchmarks for seed in row.seeds], cells, OF_ROW)
    trained = [row for row in manifest.rows if row.method != CHECKPOINT]
    _check_same([name for row in trained for name in row.cells], cells, OF_TRAINED)


def _check_same(names: list[str], cells: Mapping[str, CellResult], fields: tuple[str, ...]) -> None:
    """Check every finished cell against the first; a field that a cell does not record is skipped."""
    first: CellResult | None = None
    for name in names:
        cell = cells.get(name)
        if cell is None or cell.status != "done":
            continue
        first = first or cell
        if found := first_difference(first, cell, fields):
            field, there, here = found
            raise UsageError(_differ(str(first.key), name, field, f"{_short(there)} against {_short(here)}"))


def first_difference(first: CellResult, other: CellResult, fields: tuple[str, ...]) -> tuple[str, Any, Any] | None:
    """Return the first field of provenance in which two cells differ, with both values; a field that one lacks is skipped."""
    for field in fields:
        both = field in first.provenance and field in other.provenance
        if both and first.provenance[field] != other.provenance[field]:
            return field, first.provenance[field], other.provenance[field]
    return None


def align(manifest: Manifest, items: Mapping[str, Outcomes]) -> dict[str, Outcomes]:
    """Return every column's items in the order of its first cell.

    Raises:
        UsageError: a cell was asked something that another was not.
    """
    aligned: dict[str, Outcomes] = {}
    for head in manifest.benchmarks:
        first = ""
        for name in (cell_name(row, head.name, seed) for row in manifest.rows for seed in row.seeds):
            if name not in items:
                continue
            first = first or name
            try:
                aligned[name] = items[name].in_order_of(items[first])
            except KeyError as error:
                raise UsageError(_differ(first, name, "id", f"only one of them has item {error.args[0]}")) from error
    return aligned


def _differ(first: str, other: str, field: str, how: str) -> str:
    return (
        f"The cells {first} and {other} cannot stand in one table: they differ in '{field}' ({how}). "
        "Run the comparison again; it computes what does not fit."
    )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}..."
