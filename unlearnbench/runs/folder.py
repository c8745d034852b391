"""The folder of a comparison: cells, per-item results and deltas, each written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unlearnbench.errors import StorageError, UsageError
from unlearnbench.records.cells import CellKey, CellResult, Job
from unlearnbench.records.items import ItemResult, ItemText
from unlearnbench.runs.item_files import items_from_parquet, items_to_parquet, texts_from_parquet, texts_to_parquet
from unlearnbench.system.files import HASH_CHARS, check_folder, content_hash, sync_folder, write_atomic
from unlearnbench.system.stop_signals import heed

if TYPE_CHECKING:
    from torch import Tensor

KeepDeltas = Literal["all", "best", "none"]
DELTA = "delta.safetensors"
DELTA_MANIFEST = "manifest.json"
MEMORY = "memory"  # folder of a search: what its trials share, while it goes on


@lru_cache(maxsize=4096)  # every cell's path asks for two, and few differ
def folder_name(name: str) -> str:
    """Return a variant's or benchmark's name as one folder: `lm-eval:gsm8k` is lm-eval--gsm8k; no name leads out of the
    folder.
    """
    return re.sub(r"[^A-Za-z0-9._-]", "-", name.replace(":", "--")).lstrip(".")


class RunFolder:
    """The files of one comparison's folder, read and written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check_writable(self) -> RunFolder:
        """Refuse, before anything is computed, a folder that could not keep the results.

        Raises:
            UsageError: it is a file, or writing is not permitted.
        """
        check_folder(self.root, "--out")
        return self

    def free_bytes(self) -> int:
        """Return the free bytes on the disk that the folder lies on, or will lie on."""
        place = next(folder for folder in (self.root, *self.root.absolute().parents) if folder.exists())
        return shutil.disk_usage(place).free

    def write_text(self, name: str, text: str) -> None:
        """Write a file directly below the folder."""
        write_atomic(self.root / name, text.encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file directly below the folder.

        Raises:
            UsageError: it is missing or damaged.
        """
        path = self.root / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.root} is not the folder of a comparison: {name} is missing or damaged.") from error

    def cell_path(self, key: CellKey, identity: str) -> Path:
        """Return the path of a cell's record."""
        row, benchmark = folder_name(key.variant), folder_name(key.benchmark)
        folder = f"cells/{row}/{benchmark}" if key.attack is None else f"attacked/{row}/{folder_name(key.attack)}/{benchmark}"
        return self.root / f"{folder}/seed-{key.seed}-{identity[:HASH_CHARS]}.json"

    def items_path(self, key: CellKey, identity: str) -> Path:
        """Return the path of a cell's per-item results."""
        return self.cell_path(key, identity).with_suffix(".items.parquet")

    def write_cell(self, result: CellResult, items: Sequence[ItemResult]) -> None:
        """Make a cell durable: first its items, then the record that says it is there.

        Raises:
            StopRequested: this process was asked to stop, which may be what is wrong with the cell.
        """
        heed()
        if items:
            content = items_to_parquet(items)
            write_atomic(self.items_path(result.key, result.identity), content)
            result = result.model_copy(update={"items_hash": hashlib.sha256(content).hexdigest()})
        record = json.loads(result.model_copy(update={"checksum": None}).model_dump_json())
        record["checksum"] = record_checksum(record)
        write_atomic(self.cell_path(result.key, result.identity), json.dumps(record, indent=1, ensure_ascii=False).encode())

    def read_cell(self, key: CellKey, identity: str) -> CellResult | None:
        """Return the finished cell, or None where there is none, or a damaged one."""
        path = self.cell_path(key, identity)
        try:
            record = json.loads(path.read_bytes())
            result = CellResult.model_validate(record)
            unchanged = result.checksum in (None, record_checksum(record))  # older versions wrote none
            has_items = result.status == "done" or result.items_hash is not None
            whole = not has_items or self.items_path(key, identity).is_file()
            if unchanged and whole and result.identity == identity and result.key == key:
                return result
        except (OSError, ValueError):
            return None
        return None

    def problem_of(self, key: CellKey, identity: str) -> str | None:
        """Return the damage of a cell's files; None where there is no cell, or a whole one."""
        path = self.cell_path(key, identity)
        if not path.exists():
            return None
        found = self.read_cell(key, identity)
        if found is None:
            return "is damaged, was changed, or is the record of another cell"
        if found.items_hash is not None:
            content = self.items_path(key, identity).read_bytes()
            if hashlib.sha256(content).hexdigest() != found.items_hash:
                return "has damaged per-item results beside it"
        return None

    def set_aside(self, path: Path) -> Path:
        """Move a file or folder of the comparison, and no other, to `set-aside`; return its new place."""
        wanted = self.root / "set-aside" / path.relative_to(self.root)
        number, there = 1, wanted
        while there.exists():
            number += 1
            there = wanted.with_name(f"{wanted.name}.{number}")
        try:
            there.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, there)
        except OSError as error:
            raise StorageError.of(there, error) from error
        return there

    def read_items(self, key: CellKey, identity: str) -> list[ItemResult]:
        """Return a cell's per-item results."""
        return items_from_parquet(self.items_path(key, identity).read_bytes())

    def texts_path(self, benchmark: str, data: str) -> Path:
        """Return the path of a benchmark's kept questions."""
        return self.root / "questions" / f"{folder_name(benchmark)}-{data[:HASH_CHARS]}.parquet"

    def write_texts(self, benchmark: str, data: str, texts: Iterable[ItemText]) -> None:
        """Keep a benchmark's questions, for reports; nothing where they are kept already or there is nothing to show."""
        path = self.texts_path(benchmark, data)
        if data and not path.exists() and (content := texts_to_parquet(texts)):
            write_atomic(path, content)

    def read_texts(self, benchmark: str, data: str) -> dict[str, ItemText]:
        """Return a benchmark's questions, by item; empty where they are not kept.

        Raises:
            UsageError: the file is damaged.
        """
        path = self.texts_path(benchmark, data)
        try:
            return texts_from_parquet(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be read: {error}; remove it and run the comparison again.") from error

    def texts_damaged(self, path: Path) -> bool:
        """Return whether a file of `write_texts` can no longer be read."""
        try:
            texts_from_parquet(path.read_bytes())
        except (OSError, ValueError):
            return True
        return False

    def delta_path(self, variant: str, seed: int, identity: str) -> Path:
        """Return the folder of the tensors that unlearning changed."""
        return self.root / f"deltas/{folder_name(variant)}/seed-{seed}-{identity[:HASH_CHARS]}"

    def delta_path_of(self, job: Job) -> Path:
        """Return `delta_path` of a job."""
        return self.delta_path(job.variant, job.seed, job.identity)

    def log_path(self, job: Job) -> Path:
        """Return the path of metrics.csv, with the values that a method logged during training."""
        return self.root / "logs" / folder_name(job.variant) / f"seed-{job.seed}-{job.identity[:HASH_CHARS]}"

    def trials_path(self, job: Job, attack: str, seed: int, identity: str) -> Path:
        """Return the path of the journal of an attack's trials on a job's model."""
        place = self.root / "logs" / folder_name(job.variant)
        return place / f"attack-{folder_name(attack)}-seed-{seed}-{identity[:HASH_CHARS]}.jsonl"

    def job_log_path(self, job: Job) -> Path:
        """Return the path of a job's log: events with their times, and the output of its process; runs append to it."""
        return self.root / "logs" / f"{folder_name(job.variant)}-seed-{job.seed}.log"

    def write_delta(self, folder: Path, tensors: Mapping[str, Tensor], manifest: Mapping[str, Any]) -> None:
        """Write a delta; its manifest last, so that a delta with a manifest is whole.

        Raises:
            StopRequested: this process was asked to stop, so that the training may not have come to its end.
        """
        heed()
        from safetensors.torch import save

        write_atomic(folder / DELTA, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        write_atomic(folder / DELTA_MANIFEST, json.dumps(manifest, indent=1).encode())

    def read_delta(self, folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return a delta's tensors and manifest, or None where there is no whole one."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        manifest = self.read_manifest(folder)
        try:
            return (load_file(folder / DELTA), manifest) if manifest is not None else None
        except (OSError, SafetensorError):
            return None

    def read_manifest(self, folder: Path) -> dict[str, Any] | None:
        """Return a delta's manifest alone, or None where there is no whole delta."""
        try:
            manifest = json.loads((folder / DELTA_MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return (
            manifest if isinstance(manifest, dict) and {"weights", "base", "dtype", "job", "cost"} <= manifest.keys() else None
        )

    def delta_damaged(self, folder: Path) -> bool:
        """Return whether a delta that was whole can no longer be read to its end; its numbers are checked when it is used."""
        from safetensors import SafetensorError, safe_open

        if not (folder / DELTA_MANIFEST).exists():
            return False
        try:
            with safe_open(folder / DELTA, "numpy"):
                return self.read_manifest(folder) is None
        except (OSError, SafetensorError):
            return True

    def remove_delta(self, folder: Path) -> None:
        """Remove a delta that is not to be kept."""
        if folder.is_dir():
            shutil.rmtree(folder)
            sync_folder(folder.parent)


def record_checksum(record: Mapping[str, Any]) -> str:
    """Return the sha256 of a cell's record, read from JSON, without its own entry, so that a changed figure shows."""
    return content_hash({name: value for name, value in record.items() if name != "checksum"})
