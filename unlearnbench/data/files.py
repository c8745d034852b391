"""One data file: its rows, and the line or row where each of them stands."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unlearnbench.data.sources import DATA_ENDINGS, ending_of
from unlearnbench.errors import UsageError

Row = dict[str, Any]
"""The type of a row of data: values by column."""
UNPACK = {".gz": "gunzip", ".zst": "unzstd", ".bz2": "bunzip2", ".xz": "unxz", ".zip": "unzip"}
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
LONGEST_FIELD = 2**31 - 1  # characters; csv's own limit of 131,072 is shorter than a book
_VISIBLE = re.compile(r"\S")


class PlacedRow(NamedTuple):
    """A row and its place in the file: `line 3`, or `row 3` for files without lines."""

    place: str
    row: Row


def read_file(file: Path, header: Sequence[str] | None = None) -> Iterator[PlacedRow]:
    """Read one data file, in the format of its ending.

    Args:
        file: file whose ending is one of `DATA_ENDINGS`.
        header: columns of a csv file that does not begin with their names.

    Raises:
        UsageError: it cannot be read, or is not what its ending says; names file and line.
    """
    ending = ending_of(file)
    if ending in UNPACK:
        raise UsageError(f"{file} is compressed; unpack it first: `{UNPACK[ending]} {shlex.quote(str(file))}`.")
    if ending not in DATA_ENDINGS:
        raise UsageError(f"{file} has the ending '{ending}'; data files end in {', '.join(DATA_ENDINGS)}.")
    _check_content(file)
    if ending in (".parquet", ".arrow"):
        return _read_columns(file, ending)
    text = _read_text(file)
    if ending == ".txt":
        return _read_lines(text)
    if ending in (".csv", ".tsv"):
        return _read_csv(text, file, "\t" if ending == ".tsv" else ",", header)
    return _read_json(text, file)


def _check_content(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            head = opened.read(len(LFS_POINTER))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {getattr(error, 'strerror', error)}.") from error
    if head == LFS_POINTER:
        raise UsageError(f"{file} is a pointer of Git LFS instead of the data; fetch them with `git lfs pull`.")


def _read_text(file: Path) -> str:
    content = file.read_bytes()
    if (place := content.find(b"\0")) >= 0:
        line = content.count(b"\n", 0, place) + 1
        raise UsageError(f"{file}, line {line}, has a NUL byte: it is UTF-16, or no text; convert the file to UTF-8 first.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}, line {line}, is not UTF-8 text; convert the file to UTF-8 first.") from error


def _read_lines(text: str) -> Iterator[PlacedRow]:
    """Yield each line as a text; form feeds and Unicode's own separators are part of one."""
    lines = io.StringIO(text, newline=None)
    yield from (PlacedRow(f"line {n}", {"text": line.rstrip("\n")}) for n, line in enumerate(lines, 1) if line.strip())


def _read_csv(text: str, file: Path, delimiter: str, header: Sequence[str] | None) -> Iterator[PlacedRow]:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)  # newline="": as they are in the file
    names = list(header or ())
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            cut = "unexpected end" in str(error)
            reason = "is never closed: the file is cut off, or it" if cut else "is followed by something else than a comma: it"
            raise UsageError(
                f"{file}, line {line}, begins a row in which a double quote {reason} stands within a text and must be doubled."
            ) from error
        if values is None:
            return
        if not values:
            continue
        if not names:
            names = values
            _check_names(names, file)
        elif len(values) != len(names):
            columns = f"{len(names)} column{'s' if len(names) > 1 else ''} ({', '.join(names)})"
            raise UsageError(
                f"{file}, line {line}, has {len(values)} values for {columns}; a text with commas or line breaks in it must "
                "stand in double quotes."
            )
        else:
            yield PlacedRow(f"line {line}", dict(zip(names, values, strict=True)))


def _check_names(names: Sequence[str], file: Path) -> None:
    for name in names:
        if name and names.count(name) > 1:
            raise UsageError(f"{file} has {names.count(name)} columns called '{name}'; rename or remove all but one.")


def _read_json(text: str, file: Path) -> Iterator[PlacedRow]:
    """Yield objects, one on each line or over several, or one list of them, whichever of its endings a file has."""
    lines = text.split("\n")
    if _begins_with_object(lines):
        for number, line in enumerate(lines, 1):
            if line.strip():
                for _, value in _json_values(line, file, number):
                    yield _placed(value, file, f"line {number}")
        return
    values = list(_json_values(text, file, 1))
    if len(values) == 1 and _is_list_of_rows(values[0][1]):
        yield from (_placed(value, file, f"row {number}") for number, value in enumerate(values[0][1], 1))
    else:
        yield from (_placed(value, file, f"line {number}") for number, value in values)


def _begins_with_object(lines: Sequence[str]) -> bool:
    """Return whether the first line that is not empty is an object of its own."""
    try:
        return isinstance(json.loads(next(filter(str.strip, lines), "")), dict)
    except (ValueError, RecursionError):
        return False


def _is_list_of_rows(value: object) -> bool:
    return isinstance(value, list) and (not value or any(isinstance(entry, dict) for entry in value))


def _json_values(text: str, file: Path, line: int) -> Iterator[tuple[int, Any]]:
    """Yield the values that follow each other in a text whose first line is `line`, each with the line where it begins."""
    decoder, end = json.JSONDecoder(object_pairs_hook=unique_keys), 0
    while found := _VISIBLE.search(text, end):
        line += text.count("\n", end, found.start())
        try:
            value, after = decoder.raw_decode(text, found.start())
        except (ValueError, RecursionError) as error:
            lines, reason = 0, "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            if isinstance(error, json.JSONDecodeError):
                lines, reason = text.count("\n", found.start(), error.pos), f"{error.msg}, column {error.colno}"
            raise UsageError(f"{file}, line {line + lines}, is not valid JSON: {reason}.") from error
        yield line, value
        line += text.count("\n", found.start(), after)
        end = after


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; for `object_pairs_hook`. JSON allows a key twice, and the first would count for nothing.

    Raises:
        ValueError: a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' is there twice in one object")
    return found


def _placed(value: Any, file: Path, place: str) -> PlacedRow:
    if not isinstance(value, dict):
        raise UsageError(f"{file}, {place}, is not a JSON object with named columns.")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise UsageError(
            f"{file}, {place}, has half a character ({half}, a lone surrogate), which is no text; remove it, or write \\ufffd."
        ) from error
    return PlacedRow(place, value)


def _read_columns(file: Path, ending: str) -> Iterator[PlacedRow]:
    """Yield the rows of a parquet file, or of an Arrow file as `datasets` writes them."""
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file) if ending == ".parquet" else _arrow_table(file)
        table.validate(full=True)  # a damaged one would end the process
        names, rows = table.column_names, table.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UsageError(f"{file} is not a readable {ending[1:]} file.") from error
    _check_names(names, file)
    yield from (PlacedRow(f"row {number}", row) for number, row in enumerate(rows, 1))


def _arrow_table(file: Path) -> Any:
    import pyarrow

    with pyarrow.OSFile(str(file)) as source:
        try:
            return pyarrow.ipc.open_stream(source).read_all()
        except pyarrow.ArrowInvalid:  # Arrow's other format, with random access
            source.seek(0)
            return pyarrow.ipc.open_file(source).read_all()
