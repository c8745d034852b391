"""Source strings: `ID_OR_PATH[@revision][:config][#split]`, or `sandbox:NAME[:config][#split]`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from unlearnbench.errors import UsageError, unknown_name

SANDBOX = "sandbox:"
SANDBOX_MODELS = ("model", "retrained")  # the one that is to forget, and the one that never knew
DATA_ENDINGS = (".jsonl", ".json", ".parquet", ".csv", ".tsv", ".txt", ".arrow")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """A parsed source string.

    Attributes:
        text: the source as the user wrote it.
        location: a path, or a hub id.
        revision: the commit, tag or branch behind `@`.
        config: the config behind `:`.
        split: the split behind `#`.
    """

    text: str
    location: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @property
    def path(self) -> Path | None:
        """Return the local file or folder, or None for a hub id; `corpus.jsonl` is a file that is not there, no hub id."""
        path = Path(os.path.expanduser(self.location))
        hub = _HUB_ID.fullmatch(self.location) and not self.location.startswith(".") and ending_of(path) not in DATA_ENDINGS
        return None if hub and not os.path.exists(path) else path


def ending_of(file: Path) -> str:
    """Return a file's ending in small letters, with its dot."""
    return file.suffix.lower()


def sandbox_folder() -> Path:
    """Return the folder of the sandbox's data and models."""
    return Path(__file__).parents[1] / "sandbox"


def parse_source(text: str) -> Source:
    """Split a source string into its parts; `:`, `@` and `#` in the name of a file or folder that is there belong to it.

    Args:
        text: `ID_OR_PATH[@revision][:config][#split]`, or `sandbox:NAME[:config][#split]`.

    Raises:
        UsageError: it is empty, or names no part of the sandbox.
    """
    if text.startswith(SANDBOX):
        return _sandbox_source(text)
    readings = list(_readings(text))
    local = (reading for reading in readings if os.path.exists(os.path.expanduser(reading.location)))
    source = next(local, None) or _with_revision(readings[-1])
    if not source.location:
        raise UsageError("A source is a path, a hub id or sandbox:NAME; got an empty one.")
    return source


def _sandbox_source(text: str) -> Source:
    rest, _, split = text.removeprefix(SANDBOX).partition("#")
    name, _, config = rest.partition(":")
    data = sandbox_folder() / "data"
    known = [*SANDBOX_MODELS, *sorted(entry.name for entry in data.iterdir() if entry.is_dir())]
    if name not in known:
        raise unknown_name("sandbox source", name, known)
    location = sandbox_folder() / name if name in SANDBOX_MODELS else data / name
    return Source(text, str(location), None, config or None, split or None)


def _readings(text: str) -> Iterator[Source]:
    """Yield the ways to read a source, from a path and nothing else to a location with all that may follow it."""
    wholes = [(text, "")]
    rest, mark, split = text.rpartition("#")
    if mark and "/" not in split:
        wholes.append((rest, split))
    for whole, own_split in wholes:
        yield Source(text, whole, split=own_split or None)
        location, colon, config = whole.rpartition(":")
        if colon and not {"/", "#"} & set(config):
            yield Source(text, location, config=config or None, split=own_split or None)


def _with_revision(source: Source) -> Source:
    location, mark, revision = source.location.rpartition("@")
    named = mark and ending_of(Path(revision)) not in DATA_ENDINGS  # or else a file that is not there
    return replace(source, location=location, revision=revision or None) if named else source


def public_name(text: str) -> str:
    """Return a source as it may be published: of a local file or folder the last part of its path only."""
    source = parse_source(text)
    if text.startswith(SANDBOX) or source.path is None:
        return text
    return source.path.resolve().name + text.removeprefix(source.location)


def require(path: Path, source: Source) -> None:
    """Refuse a path that is not there, or that may not be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UsageError(f"The source '{source.text}' does not exist: there is no file or folder {path}.") from error
    except OSError as error:
        raise UsageError(f"The source '{source.text}' cannot be read: {error.strerror}.") from error
