"""The record that `unlearnbench retrain` leaves beside a model, read and written."""

from __future__ import annotations

from pathlib import Path

from unlearnbench.records.retraining import RETRAINING_FILE, Retraining
from unlearnbench.system.files import JsonCache, hash_files, write_atomic


def retrained_weights(folder: Path, memory: JsonCache) -> str:
    """Return the hash of the weights' files in a folder."""
    return hash_files(folder.glob("*.safetensors"), memory)


def read_retraining(folder: Path, memory: JsonCache) -> Retraining | None:
    """Return the record of a model folder; None where there is none, a damaged one, or that of other weights.

    Args:
        folder: folder of the model.
        memory: cache of the files' hashes.
    """
    try:
        record = Retraining.model_validate_json((folder / RETRAINING_FILE).read_bytes())
        return record if record.weights == retrained_weights(folder, memory) else None
    except (OSError, ValueError):
        return None


def write_retraining(folder: Path, record: Retraining) -> None:
    """Write the record into a model's folder.

    Raises:
        StorageError: the folder takes no more.
    """
    write_atomic(folder / RETRAINING_FILE, f"{record.model_dump_json(indent=1)}\n".encode())
