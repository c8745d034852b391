"""A folder of data files: its configs, their splits, and the files of each."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from unlearnbench.data.files import UNPACK
from unlearnbench.data.sources import DATA_ENDINGS, ending_of
from unlearnbench.errors import UsageError

Splits = dict[str, list[Path]]
SPLITS = ("train", "validation", "test", "dev")
# what `datasets` and the hub write beside the data
ABOUT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
LOOKED_AT = 10_000  # paths at most, to say where the data files are
_HEAD = re.compile(r"\s*---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)


class _DeclaredFiles(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    split: str = "train"
    path: str | list[str]


class _DeclaredConfig(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    config_name: str = "default"
    data_dir: str = "."
    data_files: str | list[str | _DeclaredFiles] | dict[str, str | list[str]] | None = None


class _Head(BaseModel):
    configs: list[_DeclaredConfig] | None = None


def read_layout(folder: Path) -> dict[str, Splits]:
    """Return a local data set's files, by config and split: as `datasets` saved them, as its README says, or by their names.

    Raises:
        UsageError: it cannot be looked into, its README cannot be read, or it has no data files.
    """
    try:
        configs = _saved(folder) or _declared(folder) or _named(folder)
        if configs:
            return configs
        deeper = next((path.parent for path in islice(folder.rglob("*"), LOOKED_AT) if _is_data(path)), None)
    except OSError as error:
        raise UsageError(f"The folder {folder} cannot be read: {error.strerror}.") from error
    there = f"; there are some in {deeper}" if deeper else ""
    raise UsageError(f"The folder {folder} holds no data files ({', '.join(DATA_ENDINGS)}){there}.")


def check_kinds(files: Iterable[Path], folder: Path) -> None:
    """Refuse files of several kinds as one split: a licence beside a corpus is no part of it."""
    kinds = {ending_of(file): file.name for file in files}
    if len(kinds) > 1:
        raise UsageError(
            f"The folder {folder} holds data files of several kinds ({', '.join(kinds.values())}); name one file, or leave one "
            "kind in it."
        )


def _saved(folder: Path) -> dict[str, Splits]:
    """Return the files that `save_to_disk` wrote: a data set, or a dictionary of them by split."""
    try:
        if (folder / "dataset_dict.json").is_file():
            names = json.loads((folder / "dataset_dict.json").read_bytes())["splits"]
            return {"default": {str(name): _saved_files(folder / str(name))[1] for name in names}}
        if (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
            split, files = _saved_files(folder)
            return {"default": {split: files}}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"The folder {folder} is not as `save_to_disk` of datasets writes one; save the data set anew."
        ) from error
    return {}


def _saved_files(folder: Path) -> tuple[str, list[Path]]:
    state = json.loads((folder / "state.json").read_bytes())
    files = [folder / str(entry["filename"]) for entry in state["_data_files"]]
    return str(state.get("_split") or "train"), _inside(folder, files)


def _declared(folder: Path) -> dict[str, Splits]:
    readme = folder / "README.md"
    head = _read_head(readme) if readme.is_file() else None
    if head is None:
        return {}
    try:
        configs = _Head.model_validate(head).configs or []
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(
            f"{readme} declares configs in a way that is not understood: {where}: {first['msg']}; {_around(readme)}."
        ) from error
    return {config.config_name: _declared_splits(folder, config) for config in configs}


def _read_head(readme: Path) -> Any:
    """Return the YAML at the beginning of a README, or None."""
    try:
        found = _HEAD.match(readme.read_text(encoding="utf-8-sig"))
        return yaml.safe_load(found[1]) if found else None
    except UnicodeDecodeError as error:
        raise UsageError(f"{readme} is not UTF-8 text; convert it to UTF-8, or {_around(readme)}.") from error
    except Exception as error:  # a tag on a value that it does not suit may raise anything
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 2}," if mark else ""
        reason = getattr(error, "problem", None) or error
        raise UsageError(f"{readme}{where} is not valid YAML: {reason}; {_around(readme)}.") from error


def _around(readme: Path) -> str:
    return f"correct it, or name a data file in {readme.parent}"


def _declared_splits(folder: Path, config: _DeclaredConfig) -> Splits:
    given, root = config.data_files, folder / config.data_dir
    if given is None:
        named = _named_splits(root) if root.is_dir() else {}
        return {split: _inside(folder, files) for split, files in named.items()}
    if isinstance(given, dict):
        entries = [_DeclaredFiles(split=split, path=path) for split, path in given.items()]
    else:
        listed = given if isinstance(given, list) else [given]
        entries = [entry if isinstance(entry, _DeclaredFiles) else _DeclaredFiles(path=entry) for entry in listed]
    splits: Splits = {}
    for entry in entries:
        for pattern in [entry.path] if isinstance(entry.path, str) else entry.path:
            splits.setdefault(entry.split, []).extend(_inside(folder, _matching(root, pattern)))
    return splits


def _matching(root: Path, pattern: str) -> list[Path]:
    try:
        return sorted(file for file in root.glob(pattern) if file.is_file())
    except (ValueError, NotImplementedError):  # nothing, or an absolute path
        return []


def _inside(folder: Path, files: list[Path]) -> list[Path]:
    """Return the files; refuse those outside the data set's folder, to which it may not point."""
    return [file for file in files if os.path.abspath(file).startswith(os.path.abspath(folder) + os.sep)]


def _named(folder: Path) -> dict[str, Splits]:
    configs = {"default": _named_splits(folder)}
    configs |= {child.name: _named_splits(child) for child in sorted(folder.iterdir()) if child.is_dir() and not _hidden(child)}
    return {name: splits for name, splits in configs.items() if splits}


def _named_splits(folder: Path) -> Splits:
    """Return files by split: those whose names begin with one; else by the ends of the names, where all end with one."""
    files = sorted(file for file in folder.iterdir() if _is_data(file))
    splits = {split: [file for file in files if re.match(rf"{split}[-._]", file.name)] for split in SPLITS}
    if not any(splits.values()):
        ends = {split: re.compile(rf".*[-._]{split}(-\d+-of-\d+)?\.\w+(\.\w+)?") for split in SPLITS}
        splits = {split: [file for file in files if end.fullmatch(file.name)] for split, end in ends.items()}
        if sum(map(len, splits.values())) < len(files):
            return {"train": files}
    return {split: found for split, found in splits.items() if found}


def _is_data(file: Path) -> bool:
    """Return whether a file is data, also if compressed or a link to a missing file: these are to be refused, not
    overlooked.
    """
    whole = file.with_suffix("") if ending_of(file) in UNPACK else file
    known = ending_of(whole) in DATA_ENDINGS and file.name not in ABOUT_DATA and not _hidden(file)
    return known and (file.is_file() or file.is_symlink()) and not file.is_dir()


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")
