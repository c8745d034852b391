"""From a source string to rows of data.

A source is `ID_OR_PATH[@revision][:config][#split]`, or `sandbox:NAME[:config][#split]`. Local files are read here, with
the file and line of what is wrong; hub ids go through `datasets` and `huggingface_hub`, which cache by revision.
"""

from __future__ import annotations

import csv
import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from unlearnbench.data.hub import from_hub
from unlearnbench.data.sources import DATA_ENDINGS, Source, parse_source, require
from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.system.files import content_hash

Row = dict[str, Any]
SPLITS = ("train", "validation", "test", "dev")


@dataclass(frozen=True)
class Table:
    """Rows with their origin.

    Attributes:
        rows: one dictionary per row.
        origin: the source as the user wrote it.
        where: a row's index -> file and line, or the like, for messages.
        revision: commit of a hub data set; None for local files.
    """

    rows: list[Row]
    origin: str
    where: Callable[[int], str]
    revision: str | None = None

    @cached_property
    def digest(self) -> str:
        """sha256 of the rows' content: the same rows hash alike wherever they come from."""
        return content_hash(self.rows)


def list_configs(text: str) -> list[str]:
    """The configs of a data set, in its own order; empty for a plain file."""
    source = parse_source(text)
    path = source.path
    if path is None:
        return from_hub(source, lambda: _hub_configs(source))
    require(path, source)
    return [] if path.is_file() else list(_layout(path))


def read_table(text: str, *, default_split: str | None = None, columns: Iterable[str] = ()) -> Table:
    """Read a data set.

    Args:
        text: the source; without `#split`, `default_split` or the only split is taken.
        default_split: which split a benchmark wants.
        columns: every row must have them.

    Raises:
        UsageError: missing, empty, not UTF-8, not JSON, without a column, an unknown config or split; names file and line.
    """
    source = parse_source(text)
    source = replace(source, split=source.split or default_split)
    path = source.path
    table = _read_hub(source) if path is None else _read_local(source, path)
    if not table.rows:
        raise UsageError(f"The source '{text}' has no rows; a corpus or benchmark needs at least one.")
    for column in columns:
        for index, row in enumerate(table.rows):
            if row.get(column) is None:
                have = ", ".join(map(str, row)) or "none"
                raise UsageError(f"{table.where(index)} has no column '{column}'; it has: {have}.")
    return table


def read_corpus(text: str) -> Table:
    """Read a corpus: every row has the column `text`, or `prompt` and `response`.

    Raises:
        UsageError: as `read_table`; or a row has neither column.
    """
    table = read_table(text)
    for index, row in enumerate(table.rows):
        if row.get("text") is None and (row.get("prompt") is None or row.get("response") is None):
            have = ", ".join(map(str, row)) or "none"
            raise UsageError(f"{table.where(index)} has neither the column 'text' nor 'prompt' and 'response'; it has: {have}.")
    return table


def alternatives_of(table: Table, index: int) -> list[str]:
    """A corpus row's other answers: its column `alternative`, a text or a list of them.

    Raises:
        UsageError: it has none.
    """
    given = table.rows[index].get("alternative")
    found = [str(text) for text in (given if isinstance(given, list) else [given]) if text]
    if not found:
        raise UsageError(
            f"{table.where(index)} has no column 'alternative': another answer, or a list of them, in place of each text or "
            "response that is to be forgotten."
        )
    return found


def _read_local(source: Source, path: Path) -> Table:
    require(path, source)
    if path.is_file():
        return _read_files([path], source.text)
    configs = _layout(path)
    if not configs:
        raise UsageError(f"The folder {path} holds no data files ({', '.join(DATA_ENDINGS)}).")
    if source.config is None and len(configs) > 1 and "default" not in configs:
        raise UsageError(f"'{source.text}' has several configs; name one as '{source.text}:CONFIG': {', '.join(configs)}.")
    config = source.config or ("default" if "default" in configs else next(iter(configs)))
    if config not in configs:
        raise unknown_name(f"config of {path}", config, configs)
    splits = configs[config]
    split = source.split or ("train" if "train" in splits else next(iter(splits)))
    if split not in splits:
        raise unknown_name(f"split of {path}:{config}", split, splits)
    return _read_files(splits[split], source.text)


def _layout(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """A local data set folder: config -> split -> files, from its README's head or from its file names."""
    readme = folder / "README.md"
    head = readme.read_text(encoding="utf-8").split("---\n") if readme.is_file() else []
    if len(head) > 2:
        declared = (yaml.safe_load(head[1]) or {}).get("configs") or []
        if declared:
            return {entry["config_name"]: _declared_splits(folder, entry.get("data_files")) for entry in declared}
    configs = {"default": _named_splits(folder)}
    configs |= {child.name: _named_splits(child) for child in sorted(folder.iterdir()) if child.is_dir()}
    return {name: splits for name, splits in configs.items() if splits}


def _declared_splits(folder: Path, data_files: Any) -> dict[str, list[Path]]:
    entries: list[Any] = data_files if isinstance(data_files, list) else [data_files]
    splits: dict[str, list[Path]] = {}
    for entry in entries:
        split, patterns = (entry["split"], entry["path"]) if isinstance(entry, dict) else ("train", entry)
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            found = sorted(file for file in folder.glob(str(pattern)) if file.is_file())
            splits.setdefault(str(split), []).extend(_inside(folder, found))
    return splits


def _inside(folder: Path, files: list[Path]) -> list[Path]:
    """A data set may not point out of its own folder."""
    return [file for file in files if os.path.abspath(file).startswith(os.path.abspath(folder) + os.sep)]


def _named_splits(folder: Path) -> dict[str, list[Path]]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.suffix in DATA_ENDINGS)
    splits: dict[str, list[Path]] = {}
    for split in SPLITS:
        if found := [file for file in files if fnmatch.fnmatch(file.name, f"{split}[-._]*")]:
            splits[split] = found
    return splits or ({"train": files} if files else {})


def _read_files(files: list[Path], origin: str) -> Table:
    rows: list[Row] = []
    places: list[tuple[str, int]] = []
    for file in files:
        for line, row in _read_file(file):
            rows.append(row)
            places.append((str(file), line))
    unit = "line" if files and files[0].suffix != ".parquet" else "row"
    return Table(rows, origin, lambda index: f"{places[index][0]}, {unit} {places[index][1]},")


def _read_file(file: Path) -> Iterator[tuple[int, Row]]:
    """(1-based line or row number, row) of one data file."""
    if file.suffix == ".parquet":
        yield from _read_parquet(file)
        return
    if file.suffix not in DATA_ENDINGS:
        raise UsageError(f"{file} has the ending '{file.suffix}'; data files end in {', '.join(DATA_ENDINGS)}.")
    text = _read_text(file)
    if file.suffix == ".txt":
        yield from ((i, {"text": line}) for i, line in enumerate(text.splitlines(), 1) if line.strip())
    elif file.suffix == ".csv":
        yield from ((i, dict(row)) for i, row in enumerate(csv.DictReader(text.splitlines()), 2))
    elif file.suffix == ".json":
        content = _json(text, file, 1)
        if not isinstance(content, list):
            raise UsageError(f"{file} must hold a list of objects; for one object per line the ending is .jsonl.")
        yield from ((i, _object(row, file, i)) for i, row in enumerate(content, 1))
    else:
        lines = text.split("\n")
        yield from ((i, _object(_json(line, file, i), file, i)) for i, line in enumerate(lines, 1) if line.strip())


def _read_text(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}, line {line}, is not UTF-8 text; convert the file to UTF-8 first.") from error


def _json(text: str, file: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{file}, line {line}, is not valid JSON: {error}.") from error


def _object(value: Any, file: Path, line: int) -> Row:
    if not isinstance(value, dict):
        raise UsageError(f"{file}, line {line}, is not a JSON object with named columns.")
    return value


def _read_parquet(file: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise UsageError(f"{file} is not a readable parquet file.") from error
    yield from enumerate(table.to_pylist(), 1)


def _hub_configs(source: Source) -> list[str]:
    import datasets

    return list(datasets.get_dataset_config_names(source.location, revision=source.revision))


def _read_hub(source: Source) -> Table:
    def load() -> Table:
        import datasets

        split = source.split or "train"
        loaded = datasets.load_dataset(source.location, source.config, split=split, revision=source.revision)
        revision = source.revision or _resolved_revision(loaded)
        rows: list[Row] = [dict(row) for row in loaded]
        return Table(rows, source.text, lambda index: f"{source.text}, row {index + 1},", revision)

    return from_hub(source, load)


def _resolved_revision(loaded: Any) -> str | None:
    """The commit that `datasets` recorded in its checksums' addresses."""
    addresses = " ".join(loaded.info.download_checksums or {})
    found = re.search(r"@([0-9a-f]{40})", addresses)
    return found.group(1) if found else None
