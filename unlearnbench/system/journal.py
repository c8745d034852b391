"""A file of JSON lines for records that were costly to obtain: each line is durable as it arrives, and no key counts twice."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from unlearnbench.errors import StorageError

Record = dict[str, Any]
"""The type of a record of a `Journal`: JSON-able values by name."""


class Journal:
    """Records by key. Several processes may write to one file; a line that a crash tore off is left out.

    Args:
        path: path of the file, which need not exist; None keeps everything in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._read = 0  # bytes
        self._records: dict[str, Record] = {}

    def refresh(self) -> None:
        """Read what other processes have added."""
        if self._path is None or not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for record in _records(whole):
            self._records.setdefault(record["key"], record)

    def get(self, key: str) -> Record | None:
        """Return the first record that was kept under a key, or None.

        Args:
            key: the record's name.
        """
        return self._records.get(key)

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Keep a record, durably; a record whose key is known is not kept again.

        Args:
            key: the record's name.
            record: JSON-able values by name.

        Raises:
            StorageError: the file cannot be written.
        """
        if key in self._records:
            return
        entry = {"key": key, **record}
        self._records[key] = entry
        if self._path is not None:
            _append(self._path, json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n")


def _append(path: Path, line: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")), path.open("ab+") as file:
            if file.tell() and _last_byte(path) != b"\n":
                line = b"\n" + line  # what a crash left there must not spoil this one
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError.of(path, error) from error


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _records(content: bytes) -> Iterator[Record]:
    for line in content.splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("key"), str):
                yield record
