"""Source strings: `ID_OR_PATH[@revision][:config][#split]`, or `sandbox:NAME[:config][#split]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from unlearnbench.errors import UsageError, unknown_name

SANDBOX = "sandbox:"
SANDBOX_MODELS = ("model", "retrained")  # the one that is to forget, and the one that never knew
DATA_ENDINGS = (".jsonl", ".json", ".parquet", ".csv", ".txt")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Source:
    """A parsed source string."""

    text: str  # as the user wrote it
    location: str  # a path, or a hub id
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    @property
    def path(self) -> Path | None:
        """The local file or folder, or None for a hub id; `corpus.jsonl` is a file that is not there, no hub id."""
        path = Path(self.location).expanduser()
        hub = _HUB_ID.fullmatch(self.location) and not self.location.startswith(".") and path.suffix not in DATA_ENDINGS
        return None if hub and not path.exists() else path


def sandbox_folder() -> Path:
    """Where the sandbox's data and models are."""
    return Path(__file__).parents[1] / "sandbox"


def parse_source(text: str) -> Source:
    """Split a source string into its parts.

    Raises:
        UsageError: it is empty, or names no part of the sandbox.
    """
    rest, _, split = text.partition("#")
    if not rest:
        raise UsageError("A source is a path, a hub id or sandbox:NAME; got an empty one.")
    if rest.startswith(SANDBOX):
        name, _, config = rest.removeprefix(SANDBOX).partition(":")
        data = sandbox_folder() / "data"
        known = [*SANDBOX_MODELS, *sorted(entry.name for entry in data.iterdir() if entry.is_dir())]
        if name not in known:
            raise unknown_name("sandbox source", name, known)
        location = sandbox_folder() / name if name in SANDBOX_MODELS else data / name
        return Source(text, str(location), None, config or None, split or None)
    config = revision = ""
    if not Path(rest).exists() and ":" in rest:
        rest, _, config = rest.rpartition(":")
    if not Path(rest).exists() and "@" in rest:
        rest, _, revision = rest.rpartition("@")
    return Source(text, rest, revision or None, config or None, split or None)


def public_name(text: str) -> str:
    """A source as it may be published: of a file or folder of one's own the last part of its path only."""
    source = parse_source(text)
    if text.startswith(SANDBOX) or source.path is None:
        return text
    return source.path.resolve().name + text.removeprefix(source.location)


def require(path: Path, source: Source) -> None:
    """Refuse a path that is not there."""
    if not path.exists():
        raise UsageError(f"The source '{source.text}' does not exist: there is no file or folder {path}.")
