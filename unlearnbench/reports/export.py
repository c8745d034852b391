"""From a row of a finished comparison to an ordinary model folder with a model card."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.leaderboard.reading import written_leaderboard
from unlearnbench.models.folders import model_folder, weights_identity
from unlearnbench.records.cells import CellKey, CellResult
from unlearnbench.records.leaderboard import TableSettings
from unlearnbench.records.manifest import BASELINE, CHECKPOINT
from unlearnbench.reports.model_card import CARD, Scored, card
from unlearnbench.runs.deltas import weights_hash
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import PLAN_FILE
from unlearnbench.system.files import HASH_CHARS, JsonCache, default_cache


@dataclass(frozen=True, kw_only=True)
class Candidate(Scored):
    """An unlearned model that can be written out.

    Attributes:
        delta: folder of its delta.
        manifest: of the delta.
    """

    delta: Path
    manifest: Mapping[str, Any]


def find(folder: Path, variant: str, seed: int | None) -> Candidate:
    """What `variant` of the comparison in `folder` left behind.

    Args:
        folder: of the comparison.
        variant: the row's name.
        seed: which of its seeds; None: the first whose weights are kept.

    Raises:
        UsageError: there is no such row or seed, or its weights are not kept.
    """
    run = RunFolder(folder)
    for scored in _scored(run, variant, seed):
        weights = {cell.provenance.get("weights") for cell in scored.cells}
        for delta in sorted((folder / "deltas").glob(f"*/seed-{scored.seed}-*")):
            manifest = run.read_manifest(delta)
            if manifest is not None and manifest["job"]["variant"] == variant and manifest["weights"] in weights:
                return Candidate(**vars(scored), delta=delta, manifest=manifest)
    raise UsageError(
        f"The weights of '{variant}' are not in {folder}: they were not kept (--keep-deltas), or it is not finished; "
        "run the comparison again with --keep-deltas all."
    )


def describe(folder: Path, variant: str, seed: int | None) -> Scored:
    """What `variant` of the comparison in `folder` scored, whether or not its weights were kept.

    Raises:
        UsageError: there is no such row or seed, or nothing of it is finished.
    """
    for scored in _scored(RunFolder(folder), variant, seed):
        if scored.cells:
            return scored
    raise UsageError(f"Nothing of '{variant}' is finished in {folder}; run the comparison again.")


def _scored(run: RunFolder, variant: str, seed: int | None) -> Iterator[Scored]:
    """The seeds of a row, or the one that is wanted."""
    if not run.root.is_dir():
        raise UsageError(f"There is no folder {run.root}; `unlearnbench compare` makes one, by default under runs/.")
    plan = run.read_json(PLAN_FILE)
    rows = {row["variant"]: row for row in plan["rows"]}
    if variant not in rows:
        raise unknown_name("row", variant, rows)
    row = rows[variant]
    if row["method"] in (BASELINE, CHECKPOINT):
        raise UsageError(f"'{variant}' changed no weights; there is nothing to export beyond the model that it names.")
    if seed is not None and seed not in row["seeds"]:
        raise UsageError(f"'{variant}' did not run with seed {seed}; it has: {', '.join(map(str, row['seeds']))}.")
    try:
        board = written_leaderboard(run.root)
        table, level = {one.variant: one for one in board.rows}, board.settings.level
    except (UsageError, ValidationError):
        table, level = {}, TableSettings().level
    facts: dict[str, Any] = {"source": str(plan["recipe"]["model"]), "row": table.get(variant), "base": table.get(BASELINE)}
    facts["level"] = level
    for own in [seed] if seed is not None else row["seeds"]:
        yield Scored(variant=variant, seed=own, cells=_cells(run, row, own), **facts)


def _cells(run: RunFolder, row: Mapping[str, Any], seed: int) -> list[CellResult]:
    found: list[CellResult] = []
    for name, identity in row["cells"].items():
        benchmark, _, number = name.removeprefix(f"{row['variant']}/").rpartition("/")
        if int(number) != seed:
            continue
        cell = run.read_cell(CellKey(variant=row["variant"], benchmark=benchmark, seed=seed), identity)
        if cell is not None and cell.status == "done":
            found.append(cell)
    return found


def export(candidate: Candidate, out: Path, base: str | None = None) -> None:
    """Write base and delta as one model: safetensors, config, tokenizer and model card. All of it, or nothing.

    Args:
        candidate: from `find`.
        out: a folder that does not exist yet, or is empty.
        base: source of the base model, where it is not where it was.

    Raises:
        UsageError: `out` is taken, or the base model is not the one that the delta was made from.
    """
    from unlearnbench.models.restorable import LoadedModel, resolve_device

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already; name a folder that does not.")
    source = base or candidate.source
    own = weights_identity(model_folder(source), JsonCache(default_cache() / "memory.json"))
    if own != candidate.manifest["base"]:
        raise UsageError(
            f"The delta of '{candidate.variant}' belongs to another base model: it was made from weights "
            f"{candidate.manifest['base'][:HASH_CHARS]}, and {source} has {own[:HASH_CHARS]}."
        )
    stored = RunFolder(candidate.delta.parents[2]).read_delta(candidate.delta)
    if stored is None or weights_hash(own, candidate.manifest["dtype"], stored[0]) != candidate.manifest["weights"]:
        raise UsageError(f"The delta in {candidate.delta} is damaged; run the comparison again.")
    loaded = LoadedModel(source, candidate.manifest["dtype"], resolve_device("cpu"))
    loaded.apply(stored[0])
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.absolute().parent, prefix=".export-"))
    try:
        loaded.model.save_pretrained(temporary)
        loaded.tokenizer.save_pretrained(temporary)
        (temporary / CARD).write_text(card(candidate), encoding="utf-8")
        temporary.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
