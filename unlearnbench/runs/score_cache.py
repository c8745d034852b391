"""The user's cache of scores, by model and benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unlearnbench.errors import StorageError
from unlearnbench.records.items import ItemResult
from unlearnbench.runs.item_files import items_from_parquet, items_to_parquet
from unlearnbench.system.files import write_atomic
from unlearnbench.system.stop_signals import heed


class ScoreCache:
    """Scores by model and benchmark, shared by all runs: the base model is scored once."""

    def __init__(self, root: Path) -> None:
        self._root = root / "scores"
        self._tensors = root / "tensors"

    def folder(self, key: str) -> Path:
        """Return the folder of results that follow from model, corpora and budget alone, for methods."""
        return self._tensors / key

    def read(self, key: str) -> tuple[dict[str, Any], list[ItemResult]] | None:
        """Return the kept figures and items, or None."""
        try:
            figures = json.loads((self._root / f"{key}.json").read_text(encoding="utf-8"))
            return figures, items_from_parquet((self._root / f"{key}.parquet").read_bytes())
        except (OSError, ValueError):
            return None

    def write(self, key: str, figures: Mapping[str, Any], items: Sequence[ItemResult]) -> None:
        """Keep a score; a cache that cannot be written costs time later, nothing now.

        Raises:
            StopRequested: this process was asked to stop, so that items may be missing.
        """
        heed()
        try:
            write_atomic(self._root / f"{key}.parquet", items_to_parquet(items))
            write_atomic(self._root / f"{key}.json", json.dumps(figures).encode())
        except StorageError:
            return
