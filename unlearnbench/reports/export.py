"""From a row of a finished comparison to an ordinary model folder with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.leaderboard.reading import written_leaderboard
from unlearnbench.models.folders import base_folder, model_folder, tokenizer_folder, weights_identity
from unlearnbench.records.cells import CellKey, CellResult
from unlearnbench.records.leaderboard import TableSettings
from unlearnbench.records.manifest import BASELINE, CHECKPOINT
from unlearnbench.reports.model_card import CARD, Scored, card
from unlearnbench.reports.units import size
from unlearnbench.runs.deltas import weights_hash
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import PLAN_FILE
from unlearnbench.system.files import HASH_CHARS, JsonCache, check_folder, default_cache, whole_folder

if TYPE_CHECKING:
    from unlearnbench.models.restorable import LoadedModel
    from unlearnbench.reports.upload import Repository

SHARD = "5GB"  # larger files are slow to load side by side, and to upload again
CONFIG = "config.json"
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")  # an earlier model's must not stay beside these
OF_BASE = (  # what training does not change is copied: transformers would write it in the form of its newest version only
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "additional_chat_templates/*",
    "vocab.*",
    "merges.txt",
    "*.tiktoken",
    "spiece.model",
    "tekken.json",
)


@dataclass(frozen=True, kw_only=True)
class Candidate(Scored):
    """An unlearned model that can be written out.

    Attributes:
        delta: folder of its delta.
        manifest: manifest of the delta.
    """

    delta: Path
    manifest: Mapping[str, Any]


def find(folder: Path, variant: str, seed: int | None) -> Candidate:
    """Find the kept model of `variant` in the comparison in `folder`.

    Args:
        folder: folder of the comparison.
        variant: name of the row.
        seed: seed of the row; None: the first whose weights are kept.

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
    """Return the scores of `variant` in the comparison in `folder`, whether or not its weights were kept.

    Raises:
        UsageError: there is no such row or seed, or nothing of it is finished.
    """
    for scored in _scored(RunFolder(folder), variant, seed):
        if scored.cells:
            return scored
    raise UsageError(f"Nothing of '{variant}' is finished in {folder}; run the comparison again.")


def _scored(run: RunFolder, variant: str, seed: int | None) -> Iterator[Scored]:
    """Yield the seeds of a row, or the one that is wanted."""
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
        table, level = {of_table.variant: of_table for of_table in board.rows}, board.settings.level
    except (UsageError, ValidationError):
        table, level = {}, TableSettings().level
    facts: dict[str, Any] = {"source": str(plan["recipe"]["model"]), "row": table.get(variant), "base": table.get(BASELINE)}
    facts["level"] = level
    for number in [seed] if seed is not None else row["seeds"]:
        yield Scored(variant=variant, seed=number, cells=_cells(run, row, number), **facts)


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


def export(candidate: Candidate, out: Path, base: str | None = None, repository: Repository | None = None) -> None:
    """Write base and delta as one model: safetensors, config, tokenizer and model card. All of it, or nothing.

    Args:
        candidate: candidate from `find`.
        out: folder that does not exist yet, or is empty.
        base: source of the base model, if it has moved.
        repository: repository on the hub; it is opened before anything is written, and nothing is uploaded yet.

    Raises:
        UsageError: `out` is taken or cannot be written to, the base model is not the one that the delta was made from, or the
            hub refuses.
    """
    check_folder(out, "OUT")
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} exists already; name a folder that does not.")
    source = base or candidate.source
    folder = model_folder(source)
    loaded = _unlearned(candidate, source, folder)
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    needed, free = loaded.model.get_memory_footprint(), shutil.disk_usage(parent).free
    if needed > free:
        raise UsageError(f"The model takes {size(needed)}, and {size(free)} are free in {parent}; name another folder.")
    if repository is not None:
        repository.open()
    try:
        with whole_folder(out) as whole:
            write_model(loaded, folder, whole)
            (whole / CARD).write_text(card(candidate), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.") from error


def _unlearned(candidate: Candidate, source: str, folder: Path) -> LoadedModel:
    """Return the base model with the delta in it.

    Raises:
        UsageError: they do not belong together, or the delta is not what was scored.
    """
    from unlearnbench.models.restorable import LoadedModel, resolve_device

    base_weights = weights_identity(folder, JsonCache(default_cache() / "memory.json"))
    if base_weights != candidate.manifest["base"]:
        raise UsageError(
            f"The delta of '{candidate.variant}' belongs to another base model: it was made from weights "
            f"{candidate.manifest['base'][:HASH_CHARS]}, and {source} has {base_weights[:HASH_CHARS]}."
        )
    stored = RunFolder(candidate.delta.parents[2]).read_delta(candidate.delta)
    if stored is None or weights_hash(base_weights, candidate.manifest["dtype"], stored[0]) != candidate.manifest["weights"]:
        raise UsageError(f"The delta in {candidate.delta} is damaged; run the comparison again.")
    loaded = LoadedModel(source, candidate.manifest["dtype"], resolve_device("cpu"))
    loaded.apply(stored[0])
    return loaded


def write_model(loaded: LoadedModel, base: Path, out: Path) -> None:
    """Write what `from_pretrained` and vLLM load, of whatever version: new weights, and all else as the base has it.

    Args:
        loaded: model with its new weights.
        base: folder of the model that it was made from.
        out: folder that exists.
    """
    loaded.model.save_pretrained(out, max_shard_size=SHARD)
    loaded.tokenizer.save_pretrained(out)
    whole = base_folder(base)
    for source in dict.fromkeys((whole, tokenizer_folder(base))):  # an adapter's own tokenizer before its base's
        for path in (path for pattern in OF_BASE for path in source.glob(pattern) if path.is_file()):
            (out / path.relative_to(source)).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, out / path.relative_to(source))
    config = json.loads((whole / CONFIG).read_text(encoding="utf-8"))
    if type(loaded.model).__name__ in config.get(
        "architectures", ()
    ):  # else it is a part of the base, with a config of its own
        config.pop("_name_or_path", None)  # where somebody's disk had it
        config["dtype" if "dtype" in config else "torch_dtype"] = str(loaded.model.dtype).removeprefix("torch.")
        (out / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
