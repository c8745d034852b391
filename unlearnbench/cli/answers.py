"""`unlearnbench answers`: a model's answers, beside those of the untouched model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unlearnbench.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from unlearnbench.records.items import ItemResult
    from unlearnbench.records.manifest import Manifest, ManifestRow
    from unlearnbench.runs.folder import RunFolder


def answers(
    run: Annotated[Path, typer.Argument(help="Folder of a comparison.")],
    variant: Annotated[str, typer.Argument(help="A row of its table.")],
    benchmark: Annotated[str | None, typer.Option(help="Benchmark to show, where several have written answers.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed to show; the first by default.")] = None,
    question: Annotated[str | None, typer.Option(help="Id of a question, to show that one only.")] = None,
    part: Annotated[str | None, typer.Option(help="Part whose questions are shown; by default all.")] = None,
    judgments: Annotated[bool, typer.Option("--judgments/--no-judgments", help="Show the judge's words, too.")] = True,
) -> None:
    """Show question, the untouched model's answer, the row's answer and the judgments."""
    from rich.console import Console

    from unlearnbench.records.manifest import BASELINE
    from unlearnbench.reports.answers import Written, render
    from unlearnbench.runs.folder import RunFolder
    from unlearnbench.runs.reading import read_manifest

    if not run.is_dir():
        raise UsageError(f"There is no folder {run}; `unlearnbench compare` makes one, by default under runs/.")
    folder = RunFolder(run)
    manifest = read_manifest(folder)
    rows = {row.variant: row for row in manifest.rows}
    if variant not in rows:
        raise unknown_name(f"row of {run}", variant, rows)
    name = _benchmark(manifest, benchmark, folder, rows[variant])
    of_row = _items(folder, rows[variant], name, seed)
    chosen = [item for item in of_row if _wanted(item, question, part)]
    if not chosen:
        ids = list(dict.fromkeys(item.id.partition("/")[0] for item in of_row))
        raise UsageError(
            f"{variant} has no such question in {name}; questions: {', '.join(ids[:20])}; parts: {_parts(of_row)}."
        )
    mine = Written(variant, chosen)
    base = _base(folder, rows.get(BASELINE), name) if variant != BASELINE else []
    left = Written(f"{BASELINE} (base)", [item for item in base if _wanted(item, question, part)])
    console = Console()
    pair = (left, mine) if left.items else (mine, None)
    for block in render(*pair, width=console.width, judgments=judgments):
        console.print(block)


def _wanted(item: ItemResult, question: str | None, part: str | None) -> bool:
    return (question is None or question in (item.id, item.id.partition("/")[0])) and (part is None or part == item.part)


def _written(item: ItemResult) -> bool:
    """Return whether the item asks for a written answer; an empty answer is one, too."""
    return bool(item.question or item.text or item.error)


def _parts(items: list[ItemResult]) -> str:
    return ", ".join(dict.fromkeys(item.part for item in items))


def _benchmark(manifest: Manifest, asked: str | None, folder: RunFolder, row: ManifestRow) -> str:
    """Return the benchmark to show: the one that is given, or the first whose answers are texts."""
    names = [head.name for head in manifest.benchmarks]
    if asked is not None:
        if asked not in names:
            raise unknown_name(f"benchmark of {folder.root}", asked, names)
        return asked
    for name in names:
        seeds = [seed for seed in row.seeds if _read(folder, row, name, seed) is not None]
        if seeds and any(_written(item) for item in _read(folder, row, name, seeds[0]) or ()):
            return name
    raise UsageError(
        f"{row.variant} has no written answers in {folder.root}: of {', '.join(names)} none that is finished has any; "
        "mt_bench is one that does."
    )


def _items(folder: RunFolder, row: ManifestRow, name: str, seed: int | None) -> list[ItemResult]:
    wanted = row.seeds[0] if seed is None else seed
    if wanted not in row.seeds:
        raise UsageError(f"{row.variant} has no seed {wanted} in {folder.root}; seeds: {', '.join(map(str, row.seeds))}.")
    found = _read(folder, row, name, wanted)
    if found is None:
        raise UsageError(f"{row.variant}/{name}/{wanted} is not finished; the comparison's command goes on with it.")
    if not any(_written(item) for item in found):
        raise UsageError(f"{name} has no written answers; it asks for choices.")
    return found


def _base(folder: RunFolder, row: ManifestRow | None, name: str) -> list[ItemResult]:
    return (_read(folder, row, name, row.seeds[0]) or []) if row is not None else []


def _read(folder: RunFolder, row: ManifestRow, name: str, seed: int) -> list[ItemResult] | None:
    """Return a cell's items; None where it has none yet."""
    from unlearnbench.records.cells import CellKey

    key = CellKey(variant=row.variant, benchmark=name, seed=seed)
    identity = row.cells.get(str(key))
    cell = folder.read_cell(key, identity) if identity is not None else None
    if cell is None or identity is None or (cell.status != "done" and cell.items_hash is None):
        return None
    try:
        return folder.read_items(key, identity)
    except (OSError, ValueError) as error:
        raise UsageError(f"The items of {key} cannot be read: {error}; run the comparison again.") from error
