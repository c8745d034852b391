"""Per-item results and questions as parquet files, whose pages carry checksums."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from unlearnbench.records.items import ItemResult, ItemText

VALUE = "value:"  # before the name of each of `ItemResult.values`, which is a column of its own


def items_to_parquet(items: Sequence[ItemResult]) -> bytes:
    """Return per-item results as one parquet file."""
    import pyarrow
    import pyarrow.parquet

    types = {
        "id": pyarrow.string(),
        "part": pyarrow.string(),
        "score": pyarrow.float64(),
        "choice": pyarrow.int32(),
        "answer": pyarrow.int32(),
        "logprobs": pyarrow.list_(pyarrow.float64()),
        "tokens": pyarrow.int32(),
        "truncated": pyarrow.bool_(),
        "text": pyarrow.string(),
        "question": pyarrow.string(),
        "ratings": pyarrow.list_(pyarrow.float64()),
        "judgment": pyarrow.string(),
        "error": pyarrow.string(),
    }
    assert {*types, "values"} == {field.name for field in fields(ItemResult)}
    rows = [asdict(item) for item in items]
    named = dict.fromkeys(name for item in items for name in item.values)
    types |= {f"{VALUE}{name}": pyarrow.float64() for name in named}
    for row in rows:
        row |= {f"{VALUE}{name}": value for name, value in row.pop("values").items()}
    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(types))
    pyarrow.parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def items_from_parquet(content: bytes) -> list[ItemResult]:
    """Invert `items_to_parquet`; raise ValueError for anything else."""
    try:
        rows = _rows(content)
        for row in rows:
            row |= {name: tuple(row[name]) for name in ("logprobs", "ratings") if name in row}
            held = {name: row.pop(name) for name in list(row) if name.startswith(VALUE)}
            row["values"] = {name.removeprefix(VALUE): value for name, value in held.items() if value is not None}
        return [ItemResult(**row) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError("not a file of per-item results") from error


def texts_to_parquet(texts: Iterable[ItemText]) -> bytes:
    """Return the questions of items as one parquet file; empty where there are none."""
    import pyarrow
    import pyarrow.parquet

    rows = [asdict(text) for text in texts]
    schema = pyarrow.schema(
        {
            "id": pyarrow.string(),
            "text": pyarrow.string(),
            "options": pyarrow.list_(pyarrow.string()),
            "reference": pyarrow.string(),
        }
    )
    buffer = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows, schema=schema)
    pyarrow.parquet.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue() if rows else b""


def texts_from_parquet(content: bytes) -> dict[str, ItemText]:
    """Invert `texts_to_parquet`, by item; raise ValueError for anything else."""
    try:
        rows = _rows(content)
        for row in rows:
            row["options"] = tuple(row["options"])
        texts = [ItemText(**row) for row in rows]
        return {text.id: text for text in texts}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError("not a file of questions") from error


def _rows(content: bytes) -> list[dict[str, Any]]:
    """Return the rows of a parquet file, whose pages are held to their checksums; raise ValueError for anything else."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content), page_checksum_verification=True)
        return file.read().to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError("not a whole parquet file") from error
