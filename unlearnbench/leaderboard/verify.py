"""Verification of a comparison's folder: its table recomputed from the per-item results, its hashes and its schema."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unlearnbench.errors import UsageError
from unlearnbench.leaderboard.build import build_leaderboard
from unlearnbench.leaderboard.reading import read_items
from unlearnbench.records.cells import CellKey, CellResult
from unlearnbench.records.items import ItemResult, ItemText
from unlearnbench.records.leaderboard import Leaderboard
from unlearnbench.records.manifest import Manifest, ManifestRow
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import DELTA, RunFolder, record_checksum
from unlearnbench.runs.reading import PLAN_FILE, read_manifest
from unlearnbench.system.files import content_hash

CLOSE = 5e-6  # figures are kept with six decimals
BOARD = "leaderboard.json"
MOST_DIFFERENCES = 20  # of a table that are listed; after so many the rest is counted


def verify(folder: Path) -> Iterator[str]:
    """Yield the mismatches, one sentence each; nothing where everything matches.

    Nothing is changed or repaired. What is consistent in itself but was never computed cannot be seen from the folder alone:
    only running the recipe again shows that.

    Args:
        folder: folder of the comparison.

    Raises:
        UsageError: it is not the folder of a comparison.
    """
    run = RunFolder(folder)
    manifest = read_manifest(run)
    yield from _recipe(run, manifest)
    cells: dict[str, CellResult] = {}
    for row in manifest.rows:
        yield from _row(run, row, manifest, cells)
    yield from _strangers(run)
    yield from _deltas(run, cells)
    yield from _board(run, manifest, cells)


def _recipe(run: RunFolder, manifest: Manifest) -> Iterator[str]:
    """Check the plan's recipe against recipe.yaml."""
    import yaml

    try:
        recipe = Recipe.model_validate(yaml.safe_load((run.root / "recipe.yaml").read_text(encoding="utf-8")))
    except FileNotFoundError:
        yield "recipe.yaml is missing."
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        yield f"recipe.yaml is not a recipe: {_first(error)}."
    else:
        try:
            planned = Recipe.model_validate(manifest.recipe)  # keys that are younger than the plan have their defaults
        except ValidationError as error:
            yield f"{PLAN_FILE} has no recipe: {_first(error)}."
            return
        if recipe != planned:
            yield f"recipe.yaml is not the recipe of {PLAN_FILE}."


def _row(run: RunFolder, row: ManifestRow, manifest: Manifest, cells: dict[str, CellResult]) -> Iterator[str]:
    """Check every cell of a row; put the sound ones into `cells`."""
    heads = {head.name: head for head in manifest.benchmarks}
    texts = {name: run.read_texts(name, head.data) for name, head in heads.items() if head.data}
    attacks = {attack.label for attack in manifest.attacks}
    for name, identity in row.all_cells.items():
        key = row.key(name)
        planned = key.seed in row.seeds if key.attack is None else key.attack in attacks
        if key.benchmark not in heads or not planned:
            yield f"{PLAN_FILE}: the cell {name} belongs to no benchmark or seed of the plan."
            continue
        path = run.cell_path(key, identity)
        try:
            record = json.loads(path.read_bytes())
            cell = CellResult.model_validate(record)
        except FileNotFoundError:
            yield f"{name}: {_relative(path, run)} is missing."
            continue
        except ValueError as error:
            yield f"{name}: {_relative(path, run)} is not a cell: {_first(error)}."
            continue
        if cell.checksum not in (None, record_checksum(record)):
            yield f"{name}: {_relative(path, run)} was changed after it was written: its checksum differs."
        cells[name] = cell
        yield from (f"{name}: {problem}" for problem in _cell(run, key, identity, cell, texts.get(key.benchmark, {})))


def _cell(run: RunFolder, key: CellKey, identity: str, cell: CellResult, texts: Mapping[str, ItemText]) -> Iterator[str]:
    """Check a cell against its name and its items."""
    if cell.key != key or cell.identity != identity:
        yield f"the file is of the cell {cell.key} with identity {cell.identity[:16]}, not of the one that the plan names."
    if cell.status != "done":
        return
    path = run.items_path(key, identity)
    try:
        content = path.read_bytes()
        items = run.read_items(key, identity)
    except (OSError, ValueError) as error:
        yield f"the items in {_relative(path, run)} cannot be read: {_first(error)}."
        return
    if cell.items_hash is not None and cell.items_hash != hashlib.sha256(content).hexdigest():
        yield f"the items in {_relative(path, run)} are not those that were stored: their hash differs."
    yield from _figures(cell, items)
    yield from _answers(items, texts)


def _figures(cell: CellResult, items: list[ItemResult]) -> Iterator[str]:
    """Recompute a cell's figures."""
    if not items:
        yield "there are no items behind its score."
        return
    if len({item.id for item in items}) != len(items):
        yield "an item is there twice."
    scored = [item for item in items if not math.isnan(item.score)]  # what a judge left out counts in no mean
    parts: dict[str, list[float]] = {}
    for item in scored:
        parts.setdefault(item.part, []).append(item.score)
    counted: dict[str, tuple[Any, Any]] = {
        "n": (cell.n, len(scored)),
        "value": (cell.value, sum(item.score for item in scored) / len(scored) if scored else None),
        "truncated": (cell.truncated, sum(item.truncated for item in items)),
    }
    for part in dict.fromkeys([*cell.parts, *parts]):
        scores, kept = parts.get(part), cell.parts.get(part)
        counted[f"parts.{part}.value"] = (kept.value if kept else None, sum(scores) / len(scores) if scores else None)
        counted[f"parts.{part}.n"] = (kept.n if kept else None, len(scores) if scores else None)
    for name, (stored, found) in counted.items():
        if not _close(stored, found):
            yield f"{name} is {stored}, and its items give {_number(found)}."


def _answers(items: list[ItemResult], texts: Mapping[str, ItemText]) -> Iterator[str]:
    """Check items against themselves: a choice is the likeliest option, and right or wrong is whether it is the answer."""
    wrong = [
        i.id for i in items if i.choice is not None and i.score in (0.0, 1.0) and (i.choice == i.answer) != (i.score == 1.0)
    ]
    if wrong:
        yield f"the score of {_count(wrong, 'item')} is not that of the choice, first {wrong[0]}."
    unlikely = [i.id for i in items if i.choice is not None and i.logprobs and i.logprobs[i.choice] < max(i.logprobs)]
    if unlikely:
        yield f"the choice of {_count(unlikely, 'item')} is not the likeliest option, first {unlikely[0]}."
    unknown = [item.id for item in items if texts and item.id not in texts]
    if unknown:
        yield f"{_count(unknown, 'item')} are none of the benchmark's questions, first {unknown[0]}."


def _strangers(run: RunFolder) -> Iterator[str]:
    """Yield files that do not belong among the cells: links, which may lead anywhere, and files that were set aside."""
    for path in sorted(path for folder in ("attacked", "cells") for path in (run.root / folder).rglob("*")):
        if path.is_symlink():
            yield f"{_relative(path, run)} is a link."
        elif path.suffix == ".damaged":
            yield f"{_relative(path, run)} was damaged and set aside."


def _deltas(run: RunFolder, cells: Mapping[str, CellResult]) -> Iterator[str]:
    """Check the weights that were kept against the hash that their scores name."""
    weights = {(c.key.variant, c.key.seed): c.provenance.get("weights") for c in cells.values() if c.status == "done"}
    for folder in sorted((run.root / "deltas").glob("*/seed-*")):
        delta = run.read_manifest(folder)
        if delta is None:
            yield f"{_relative(folder, run)} is not whole."
            continue
        job = delta["job"]
        scored = weights.get((job.get("variant"), job.get("seed")))
        if scored is None:
            continue  # of an older plan
        try:
            found = content_hash([delta["base"], delta["dtype"], hashes_of_file(folder / DELTA)])
        except (OSError, ValueError, KeyError) as error:
            yield f"{_relative(folder, run)}: {DELTA} cannot be read: {_first(error)}."
            continue
        if found != delta["weights"]:
            yield f"{_relative(folder, run)}: the tensors are not those that its manifest names."
        elif delta["weights"] != scored and job.get("identity", "")[:16] in folder.name:
            yield f"{_relative(folder, run)}: the scores of {job['variant']} are of other weights."


def hashes_of_file(path: Path) -> list[tuple[str, str]]:
    """Return the sha256 of every tensor in a safetensors file, by name, without reading it into a framework.

    Raises:
        ValueError: not a safetensors file.
    """
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > len(content) - 8:
        raise ValueError("not a safetensors file")
    header = json.loads(content[8 : 8 + size])
    start = 8 + size
    found: list[tuple[str, str]] = []
    for name, entry in sorted(header.items()):
        if name != "__metadata__":
            low, high = entry["data_offsets"]
            found.append((name, hashlib.sha256(content[start + low : start + high]).hexdigest()))
    return found


def _board(run: RunFolder, manifest: Manifest, cells: dict[str, CellResult]) -> Iterator[str]:
    """Check leaderboard.json against the table that the cells give."""
    try:
        written = run.read_json(BOARD)
        stored = Leaderboard.model_validate(written)
    except (UsageError, ValidationError) as error:
        yield f"{BOARD} is not a table: {_first(error)}."
        return
    try:
        sound = {name: cell for name, cell in cells.items() if str(cell.key) == name}
        board = build_leaderboard(manifest, sound, read_items(run, sound), stored.settings)
    except (UsageError, ValueError, KeyError) as error:
        yield f"No table can be made of the cells: {_first(error)}"
        return
    recounted = board.model_dump(mode="json", by_alias=True)
    if stored.schema_version < board.schema_version:
        recounted = {**_as_far_as(written, recounted), "schema": stored.schema_version}
    found = list(_differences(written, recounted))
    yield from (f"{BOARD}: {difference}" for difference in found[:MOST_DIFFERENCES])
    if len(found) > MOST_DIFFERENCES:
        yield f"{BOARD}: {len(found) - MOST_DIFFERENCES} more differences."


def _as_far_as(written: Any, recounted: Any) -> Any:
    """Return the entries of a table that one of an older schema has, too."""
    if isinstance(written, dict) and isinstance(recounted, dict):
        return {name: _as_far_as(entry, recounted[name]) for name, entry in written.items() if name in recounted}
    if isinstance(written, list) and isinstance(recounted, list) and len(written) == len(recounted):
        return [_as_far_as(*pair) for pair in zip(written, recounted, strict=True)]
    return recounted


def _differences(stored: Any, found: Any, path: str = "") -> Iterator[str]:
    """Yield the places where two JSON values differ, by their paths; a list of rows is named by its variants."""
    if isinstance(stored, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*stored, *found]):
            yield from _differences(stored.get(key), found.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(stored, list) and isinstance(found, list):
        if len(stored) != len(found):
            yield f"{path} has {len(stored)} entries, and the items give {len(found)}."
            return
        for number, (ours, other) in enumerate(zip(stored, found, strict=True)):
            name = other.get("variant", number) if isinstance(other, dict) else number
            yield from _differences(ours, other, f"{path}[{name}]")
    elif not _close(stored, found):
        yield f"{path} is {_number(stored)}, and the items give {_number(found)}."


def _close(first: Any, other: Any) -> bool:
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (first, other))
    return math.isclose(first, other, rel_tol=1e-6, abs_tol=CLOSE) if numbers else first == other


def _number(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _count(names: list[str], what: str) -> str:
    return f"{len(names)} {what}{'' if len(names) == 1 else 's'}"


def _relative(path: Path, run: RunFolder) -> str:
    return str(path.relative_to(run.root))


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:3]).rstrip(".") if lines else type(error).__name__
