"""Durable writes, content hashes that are remembered, and the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from unlearnbench.errors import StorageError, UsageError

HASH_CHARS = 16  # of a sha256 in hexadecimal: 64 bits, shown in file names


def content_hash(value: object) -> str:
    """Return the sha256 of a JSON-able value, independent of key order; for `Benchmark.digest`.

    Args:
        value: lists, dictionaries, texts and numbers; of anything else its text.
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write so that a reader, or a crash at any moment, sees the old file or the whole new one.

    Raises:
        StorageError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{_owner()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:  # unlike tempfile's, with the mode that the umask says
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError.of(path, error) from error


def _owner() -> str:
    """Return the name of the process that writes a temporary file: `left_behind` checks whether it still runs."""
    return f"{os.getpid()}@{re.sub(r'[^A-Za-z0-9.]', '', socket.gethostname())[:64]}"


def left_behind(temporary: Path) -> bool:
    """Return whether a temporary file of `write_atomic` belongs to a process that is gone; only this machine's are known."""
    owner = temporary.name[1:].rpartition("-")[0]
    pid, _, host = owner.partition("@")
    return pid.isdecimal() and host == _owner().partition("@")[2] and not psutil.pid_exists(int(pid))


@contextmanager
def whole_folder(out: Path) -> Generator[Path]:
    """Yield an empty folder that takes the place of `out` once the block ends; a crash before that leaves nothing at `out`.

    What processes that are gone left behind beside it is removed first. Files get the mode that the umask says.

    Args:
        out: folder that does not exist, or is empty.

    Raises:
        OSError: it cannot be written.
    """
    place = out.absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    for temporary in place.glob(".*-*.tmp"):
        if temporary.is_dir() and left_behind(temporary):
            shutil.rmtree(temporary, ignore_errors=True)
    whole = place / f".{_owner()}-{secrets.token_hex(4)}.tmp"
    whole.mkdir()  # with the mode that the umask says, as its files will have
    try:
        yield whole
        mode = whole.stat().st_mode
        for path in whole.rglob("*"):
            path.chmod(mode & (0o777 if path.is_dir() else 0o666))
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if out.exists():
            out.rmdir()
        os.replace(whole, out)
        sync_folder(place)
    finally:
        shutil.rmtree(whole, ignore_errors=True)


def check_folder(folder: Path, flag: str = "--out") -> None:
    """Refuse, before anything is computed, a folder that could not take results.

    Raises:
        UsageError: it, or what it would lie in, is a file or may not be written to.
    """
    for ancestor in (folder, *folder.absolute().parents):
        if ancestor.exists():
            if not ancestor.is_dir():
                raise UsageError(f"{flag} {folder} cannot be a folder: {ancestor} is a file.")
            if not os.access(ancestor, os.W_OK | os.X_OK):
                raise UsageError(f"{flag} {folder} cannot be written to: no permission in {ancestor}.")
            return


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def default_cache() -> Path:
    """Return `$UNLEARNBENCH_CACHE`, else `unlearnbench` in the user's cache folder."""
    if chosen := os.environ.get("UNLEARNBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unlearnbench"


class JsonCache:
    """A small JSON dictionary on disk for values that are cheap to keep and slow to compute again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, Any] = {}
        self._postponed: bool | None = None  # None: each value is written at once; True: some wait for it
        with contextlib.suppress(OSError, ValueError):
            content = json.loads(path.read_text(encoding="utf-8"))
            self._known = content if isinstance(content, dict) else {}

    def get(self, key: str) -> Any:
        """Return the value kept under the key, or None."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON-able value; a cache that cannot be written costs time later, nothing now."""
        self._known[key] = value
        if self._postponed is not None:
            self._postponed = True
            return
        self._write()

    @contextmanager
    def written_once(self) -> Generator[None]:
        """Write what is put in the block at its end: each writing is of the whole file."""
        self._postponed = False
        try:
            yield
        finally:
            put, self._postponed = self._postponed, None
            if put:
                self._write()

    def _write(self) -> None:
        with contextlib.suppress(StorageError):
            write_atomic(self._path, json.dumps(self._known).encode())


def hash_files(paths: Iterable[Path], memory: JsonCache) -> str:
    """Return one sha256 over the names and contents of several files.

    A file that has kept its size and its modification time, in nanoseconds, is not read again.
    """
    parts: list[tuple[str, str]] = []
    for path in sorted(paths):
        state = path.stat()
        stamp = [state.st_size, state.st_mtime_ns]
        known = memory.get(str(path.resolve()))
        if known is None or known[:2] != stamp:
            with path.open("rb") as file:
                known = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
            memory.put(str(path.resolve()), known)
        parts.append((path.name, str(known[2])))
    return content_hash(parts)
