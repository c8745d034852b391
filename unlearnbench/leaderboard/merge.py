"""Several comparisons as one table, where they measured the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.leaderboard.comparability import OF_COLUMN, OF_ROW, first_difference
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.leaderboard.reading import last_settings, read_items
from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import Leaderboard, TableSettings
from unlearnbench.records.manifest import BASELINE, CHECKPOINT, Manifest, ManifestRow
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_cells, read_manifest


@dataclass(frozen=True)
class Part:
    """One of the comparisons that are merged."""

    name: str
    manifest: Manifest
    cells: dict[str, CellResult]
    items: dict[str, Outcomes]

    def of_benchmark(self, benchmark: str) -> CellResult | None:
        """Return a finished cell of a benchmark."""
        return next((c for c in self.cells.values() if c.key.benchmark == benchmark and c.status == "done"), None)

    def of_base(self) -> CellResult | None:
        """Return a finished cell of a row that is the base model, or made from it."""
        return next((cell for row in self.manifest.rows if row.method != CHECKPOINT and (cell := self.of_row(row))), None)

    def of_row(self, row: ManifestRow) -> CellResult | None:
        """Return a finished cell of a row."""
        return next((self.cells[n] for n in row.cells if n in self.cells and self.cells[n].status == "done"), None)


def read_part(folder: Path) -> Part:
    """Return a comparison's plan, cells and items."""
    run = RunFolder(folder)
    manifest = read_manifest(run)
    cells = read_cells(run, manifest)
    return Part(folder.resolve().name, manifest, cells, read_items(run, cells))


def merge(folders: Sequence[Path], settings: TableSettings | None = None) -> Leaderboard:
    """Merge several comparisons into one table.

    Rows of one name and one identity are one row, their seeds together; rows that share only the name are told apart by the
    comparison's name.

    Raises:
        UsageError: they measured different things; the message names the two comparisons and the field.
    """
    parts = _with_names([read_part(folder) for folder in folders], folders)
    first = parts[0]
    for other in parts[1:]:
        _check(first, other)
    rows: dict[str, ManifestRow] = {}
    cells: dict[str, CellResult] = {}
    items: dict[str, Outcomes] = {}
    origin: dict[str, CellResult] = {}
    for part in parts:
        for row in part.manifest.rows:
            cell = part.of_row(row)
            name = row.variant if _is_one_row(row, cell, rows.get(row.variant), origin) else f"{row.variant}@{part.name}"
            if cell is not None:
                origin.setdefault(name, cell)
            _add(row, name, part, rows, cells, items)
    recipe = {**first.manifest.recipe, "name": " + ".join(part.name for part in parts)}
    manifest = Manifest(recipe=recipe, benchmarks=first.manifest.benchmarks, rows=list(rows.values()))
    return build_leaderboard(manifest, cells, items, settings or last_settings(folders[0]))


def _is_one_row(row: ManifestRow, cell: CellResult | None, known: ManifestRow | None, origin: dict[str, CellResult]) -> bool:
    """Return whether a row is the one that is there under its name, or there is none yet."""
    if known is None:
        return True
    before = origin.get(row.variant)
    if row.method != known.method:
        return False
    if row.method == BASELINE or cell is None or before is None:
        return True
    if row.method == CHECKPOINT:
        return first_difference(before, cell, ("weights",)) is None
    return first_difference(before, cell, OF_ROW) is None


def _with_names(parts: Sequence[Part], folders: Sequence[Path]) -> list[Part]:
    """Rename comparisons of one name to their paths as they were given."""
    names = [part.name for part in parts]
    return [
        part if names.count(part.name) == 1 else Part(str(folder), part.manifest, part.cells, part.items)
        for part, folder in zip(parts, folders, strict=True)
    ]


def _add(
    row: ManifestRow,
    name: str,
    part: Part,
    rows: dict[str, ManifestRow],
    cells: dict[str, CellResult],
    items: dict[str, Outcomes],
) -> None:
    """Add a row, under a name, to those that are there; a cell that is there already counts once."""
    known = rows.get(name)
    mine: dict[str, str] = {}
    for old, identity in row.cells.items():
        key = row.key(old).model_copy(update={"variant": name})
        mine[str(key)] = identity
        if old in part.cells and str(key) not in cells:
            cells[str(key)] = part.cells[old].model_copy(update={"key": key})
            if old in part.items:
                items[str(key)] = part.items[old]
    rows[name] = ManifestRow(
        variant=name,
        method=row.method,
        hash=known.hash if known else row.hash,
        seeds=list(dict.fromkeys([*(known.seeds if known else []), *row.seeds])),
        cells={**mine, **(known.cells if known else {})},
    )


def _check(first: Part, other: Part) -> None:
    """Refuse to merge comparisons that do not belong together."""
    heads, theirs = ({head.name: head for head in part.manifest.benchmarks} for part in (first, other))
    if heads.keys() != theirs.keys():
        raise _refusal(first, other, "benchmarks", ", ".join(heads), ", ".join(theirs))
    for name, head in heads.items():
        for field in ("metric", "parts", "topics", "measures"):
            here, there = getattr(head, field), getattr(theirs[name], field)
            if here != there:
                raise _refusal(first, other, f"{name}: {field}", here, there)
        cells = first.of_benchmark(name), other.of_benchmark(name)
        if cells[0] is not None and cells[1] is not None and (found := first_difference(cells[0], cells[1], OF_COLUMN)):
            raise _refusal(first, other, f"{name}: {found[0]}", *found[1:])
    bases = first.of_base(), other.of_base()
    if bases[0] is not None and bases[1] is not None and (found := first_difference(bases[0], bases[1], ("base_weights",))):
        raise _refusal(first, other, *found)


def _refusal(first: Part, other: Part, field: str, value: Any, other_value: Any) -> UsageError:
    def short(value: Any) -> str:
        text = str(value)
        return text if len(text) <= 60 else f"{text[:40]}..."

    return UsageError(
        f"{first.name} and {other.name} cannot stand in one table: they differ in '{field}' "
        f"({short(value)} against {short(other_value)}). "
        "--separate shows one table after the other; `unlearnbench diff` lists all that differs."
    )
