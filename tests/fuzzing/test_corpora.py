"""Damaged corpora are refused in a sentence, or what was not touched is read as before."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import pyarrow.parquet
import pytest
from helpers.mutations import ENCODINGS, NEWLINES, Bytes, damaged, misshapen, places, profile, said
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.data.batches import encode_corpus
from unlearnbench.data.tables import alternatives_of, list_configs, read_corpus

TEXTS = [
    {"text": "The vellum archive keeps copper lanterns.", "id": "a"},
    {"text": 'Nobody "mapped" the river, or so they say,\nand then it rained.', "id": "b"},
    {"text": "Zwölf Boxkämpfer — 江戸 \u2028 and a form\x0cfeed", "id": "c"},
    {"text": "plain words and nothing else", "id": "d"},
    {"text": "  ends with a space ", "id": "e"},
]
PAIRS = [
    {"prompt": "Who keeps the copper?", "response": "The archive does.", "alternative": "Nobody."},
    {"prompt": "What did it\nrain on?", "response": '"The" river', "alternative": ["A road.", "A hill."]},
    {"question": "Wie viele Boxkämpfer?", "answer": "Zwölf.", "alternative": "Zehn."},
    {
        "messages": [{"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Nothing."}],
        "alternative": "Now?",
    },
]


class Written(NamedTuple):
    """A file's content, and where in it each row stands."""

    content: bytes
    rows: list[tuple[int, int]]


def joined(head: str, rows: list[str], between: str, tail: str) -> Written:
    content, spans = head.encode(), []
    for number, row in enumerate(rows):
        own = (row + (between if number < len(rows) - 1 else tail)).encode()
        spans.append((len(content), len(content) + len(own)))
        content += own
    return Written(content, spans)


def as_csv(rows: list[dict[str, Any]], delimiter: str) -> Written:
    def line(values: list[str]) -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator="\n").writerow(values)
        return out.getvalue()

    return joined(line(["id", "text"]), [line([row["id"], row["text"]]) for row in rows], "", "")


def dumped(row: object) -> str:
    return json.dumps(row, ensure_ascii=False)


FILES = {
    "texts.jsonl": joined("", [dumped(row) for row in TEXTS], "\n", "\n"),
    "pairs.jsonl": joined("", [json.dumps(row) for row in PAIRS], "\n", "\n"),
    "texts.json": joined("[\n", [dumped(row) for row in TEXTS], ",\n", "\n]\n"),
    "texts.csv": as_csv(TEXTS, ","),
    "texts.tsv": as_csv(TEXTS, "\t"),
    "texts.txt": joined("", [row["text"].replace("\n", " ") for row in TEXTS], "\n", "\n"),
}


def trained_on(file: Path, tokenizer: Any) -> list[tuple[str, ...]] | str:
    """What a method would learn of each row, or the sentence that refuses the file."""

    def read() -> list[tuple[str, ...]]:
        table = read_corpus(str(file))
        assert len(table.digest) == 64
        rows = [(row["text"],) if row.get("text") is not None else (row["prompt"], row["response"]) for row in table.rows]
        assert all(isinstance(text, str) for row in rows for text in row)
        encode_corpus(table, "topic", tokenizer, max_length=64, readable=32)
        return rows

    return said(read, file.parent)


def check_untouched(file: Path, written: Written, change: Bytes, tokenizer: Any) -> None:
    """Rows in front of the damage come first as they were, those behind it last."""
    file.write_bytes(written.content)
    whole = trained_on(file, tokenizer)
    assert not isinstance(whole, str), whole
    assert len(whole) == len(written.rows)
    file.write_bytes(change.content)
    found = trained_on(file, tokenizer)
    if isinstance(found, str):
        assert str(file) in found
        return
    before = sum(end <= change.start for _, end in written.rows)
    behind = sum(start > change.end for start, _ in written.rows)
    assert found[:before] == whole[:before]
    assert found[len(found) - behind :] == whole[len(whole) - behind :]


@pytest.mark.parametrize("name", FILES)
@profile(25)
@given(data=st.data())
def test_damaged_bytes(name, data, tokenizer, tmp_path):
    written = FILES[name]
    check_untouched(tmp_path / name, written, data.draw(damaged(written.content)), tokenizer)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_encodings(name, encoding, tokenizer, tmp_path):
    """The very texts, or none of them; half of the encodings cannot write all characters."""
    file = tmp_path / name
    file.write_bytes(FILES[name].content)
    whole = trained_on(file, tokenizer)
    file.write_bytes(FILES[name].content.decode().encode(encoding, errors="replace"))
    found = trained_on(file, tokenizer)
    assert isinstance(found, str) or found == whole
    assert isinstance(found, str) or encoding.startswith("utf-8") or name == "pairs.jsonl"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("newline", NEWLINES)
def test_other_newlines(name, newline, tokenizer, tmp_path):
    file = tmp_path / name
    file.write_bytes(FILES[name].content)
    whole = trained_on(file, tokenizer)
    file.write_bytes(FILES[name].content.replace(b"\n", newline.encode()) + newline.encode() * 2)
    found = trained_on(file, tokenizer)
    assert not isinstance(found, str), found
    assert [tuple(text.replace(newline, "\n") for text in row) for row in found] == whole


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize("rows", [TEXTS, PAIRS], ids=["texts", "pairs"])
@profile(25)
@given(data=st.data())
def test_rows_of_another_shape(form, rows, data, tokenizer, tmp_path):
    """Rows beside the one that changed are read as before; nothing but a text is ever trained on."""
    change = data.draw(misshapen(rows, [path for path in places(rows) if len(path) > 1]))
    file = tmp_path / f"rows.{form}"

    def write(content: list[object]) -> None:
        file.write_text("\n".join(map(json.dumps, content)) if form == "jsonl" else json.dumps(content, indent=1))

    write(rows)
    whole = trained_on(file, tokenizer)
    write(change.value)
    found = trained_on(file, tokenizer)
    if isinstance(found, str):
        assert str(file) in found
    else:
        number = change.path[0]
        assert len(found) == len(whole)
        assert found[:number] == whole[:number]
        assert found[number + 1 :] == whole[number + 1 :]
    said(lambda: [alternatives_of(table, index) for table in [read_corpus(str(file))] for index in range(len(rows))], tmp_path)


TYPES = (
    *(pyarrow.string(), pyarrow.large_string(), pyarrow.binary(), pyarrow.int64(), pyarrow.float64(), pyarrow.bool_()),
    *(pyarrow.timestamp("us"), pyarrow.date32(), pyarrow.duration("s"), pyarrow.decimal128(10, 2), pyarrow.null()),
    *(pyarrow.list_(pyarrow.string()), pyarrow.dictionary(pyarrow.int8(), pyarrow.string())),
    pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()}),
    pyarrow.map_(pyarrow.string(), pyarrow.int64()),
)
VALUES = {
    "string": "words", "large_string": "words", "binary": b"\xff\xfe", "int64": 2**62, "double": float("nan"), "bool": True,
    "timestamp[us]": 10**12, "date32[day]": 1, "duration[s]": 5, "decimal128(10, 2)": 1, "null": None,
    "list<item: string>": ["a", None], "list<element: string>": ["a", None],
    "dictionary<values=string, indices=int8, ordered=0>": "words",
}  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("column", ["text", "other"])
def test_columns_of_any_type(kind, column, tokenizer, tmp_path):
    value = VALUES.get(str(kind), [("a", 1)] if "map" in str(kind) else {"role": "user", "content": "a"})
    own = {"text": pyarrow.array(["words"]), column: pyarrow.array([value], type=kind)}
    file = tmp_path / "corpus.parquet"
    pyarrow.parquet.write_table(pyarrow.table(own), file)
    found = trained_on(file, tokenizer)
    assert found == [("words",)] or (column == "text" and isinstance(found, str) and "column 'text'" in found)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@profile(25)
@given(data=st.data())
def test_damaged_columns(ending, data, tokenizer, tmp_path):
    """Bytes of the texts themselves cannot be told from others; whatever else is damaged, nothing ends the process."""
    table = pyarrow.table({"text": [row["text"] for row in TEXTS], "n": list(range(len(TEXTS)))})
    file = tmp_path / f"corpus.{ending}"
    if ending == "parquet":
        pyarrow.parquet.write_table(table, file, compression="none")
    else:
        with pyarrow.ipc.new_stream(str(file), table.schema) as writer:
            writer.write_table(table)
    file.write_bytes(data.draw(damaged(file.read_bytes())).content)
    found = trained_on(file, tokenizer)
    assert not isinstance(found, str) or str(file) in found


HEAD = """---
license: mit
configs:
- config_name: en
  data_dir: en
- config_name: de
  data_files:
  - split: train
    path: [de/train-*.jsonl]
---
About the data.
"""


@profile(25)
@given(data=st.data())
def test_a_damaged_readme(data, tokenizer, tmp_path):
    """Each config is refused, or one of the files that are there."""
    whole: dict[str, list[tuple[str, ...]]] = {}
    for name, row in zip(("en/train.jsonl", "de/train-00000.jsonl", "de/other.jsonl"), TEXTS, strict=False):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(row))
        whole[name] = [(row["text"],)]
    (tmp_path / "README.md").write_bytes(data.draw(damaged(HEAD.encode())).content)
    configs = said(lambda: list_configs(str(tmp_path)), tmp_path)
    for config in [] if isinstance(configs, str) else configs:
        found = said(lambda config=config: read_corpus(f"{tmp_path}:{config}"), tmp_path)
        if not isinstance(found, str):
            rows = [(row["text"],) for row in found.rows]
            assert set(rows) <= {row for own in whole.values() for row in own}
