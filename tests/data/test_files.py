"""Files as people have them: the very texts that are in them, or one sentence with file and line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from unlearnbench.data.tables import read_corpus, read_table
from unlearnbench.errors import UsageError


def file_of(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_quoted_field_of_a_csv_keeps_its_line_breaks(tmp_path, end):
    text = f'First line{end}{end}Second, with a "quote"\f and a \u2028 in it.'
    file = file_of(tmp_path, "a.csv", f'text,n{end}"{text.replace(chr(34), chr(34) * 2)}",1{end}{end}plain,2{end}')
    table = read_corpus(str(file))
    assert table.rows == [{"text": text, "n": "1"}, {"text": "plain", "n": "2"}]
    assert [table.where(index) for index in (0, 1)] == [f"{file}, line 2,", f"{file}, line 6,"]


def test_a_field_of_a_csv_may_be_as_long_as_a_book(tmp_path):
    assert read_corpus(str(file_of(tmp_path, "a.csv", "text\n" + "x" * 200_000))).rows == [{"text": "x" * 200_000}]


def test_values_between_tabs(tmp_path):
    assert read_table(str(file_of(tmp_path, "a.tsv", "text\tn\na, b\t1\n"))).rows == [{"text": "a, b", "n": "1"}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text\none, two\n", r"line 2, has 2 values for 1 column \(text\); a text with commas or line breaks in it must stand"),
        ("text,n\na,1\nbroken\nover lines,2\n", r"line 3, has 1 values for 2 columns \(text, n\)"),
        ('text\na\n"cut off\nhere', "line 3, begins a row in which a double quote is never closed: the file is cut off, or"),
        (
            'text\n"a "word" in it"\n',
            "line 2, .* double quote is followed by something else than a comma: it stands within a text",
        ),
        ("text,text\na,b\n", "has 2 columns called 'text'"),
        ("text\na\0b\n", "line 2, has a NUL byte: it is UTF-16, or no text"),
        ("text\na".encode("utf-16"), "line 1, (has a NUL byte|is not UTF-8)"),
    ],
)
def test_a_csv_that_is_none(tmp_path, content, said):
    with pytest.raises(UsageError, match=said):
        read_table(str(file_of(tmp_path, "a.csv", content)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_a_text_file_end_with_line_ends_only(tmp_path, end):
    """A form feed, a vertical tab, Unicode's separators: what `str.splitlines` would cut at."""
    texts = ["page\fpage\u2028still\x85more\v.", "\ufeffsecond "]
    table = read_corpus(str(file_of(tmp_path, "a.txt", f"{texts[0]}{end}{end} {end}{texts[1]}{end}")))
    assert table.rows == [{"text": text} for text in texts]
    assert table.where(1).endswith("line 4,")


ROWS = [{"text": "one\u2028"}, {"text": "two"}]


@pytest.mark.parametrize("ending", ["json", "jsonl", "JSONL"])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("".join(json.dumps(row) + "\n" for row in ROWS), "line 2"),
        ("".join(json.dumps(row) + "\r\n" for row in ROWS), "line 2"),
        ("\ufeff\n" + "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS), "line 4"),
        (json.dumps(ROWS), "row 2"),
        (json.dumps(ROWS, indent=2), "row 2"),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), "line 4"),
        ("\r".join(json.dumps(row) for row in ROWS), "line 1"),
    ],
)
def test_json_in_all_its_layouts_whatever_its_ending(tmp_path, ending, content, place):
    table = read_table(str(file_of(tmp_path, f"a.{ending}", content)))
    assert table.rows == ROWS
    assert table.where(1) == f"{tmp_path / f'a.{ending}'}, {place},"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\n{"text": "b",}\n', "line 2, is not valid JSON: .*, column 1[34]"),
        ('[\n{"text": "a"},\n]', "line [23], is not valid JSON"),
        ('{\n"text": "a"\n}\n{\n"text": nothing\n}', "line 5, is not valid JSON: Expecting value, column 9"),
        ('[{"text": "a"}, "b"]', "row 2, is not a JSON object with named columns"),
        ('{"text": "a"}\n["b"]\n', "line 2, is not a JSON object"),
        ('"a"\n', "line 1, is not a JSON object"),
        ('{"text": "a"}\n' + "[" * 100_000, "line 2, is not valid JSON: it is nested too deeply"),
        ("[" * 100_000, "line 1, is not valid JSON: it is nested too deeply"),
        ('{"n": ' + "1" * 5000 + "}", "line 1, is not valid JSON: Exceeds the limit"),
        ('{"text": "a"}\n{"text": "half \\ud83d of it"}\n', r"line 2, has half a character \(\\ud83d, a lone surrogate\)"),
        ('[{"\\udc00": 1}]', r"row 1, has half a character \(\\udc00"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a pointer of Git LFS .* `git lfs pull`"),
    ],
)
def test_json_that_is_none(tmp_path, content, said):
    for ending in ("json", "jsonl"):
        with pytest.raises(UsageError, match=said):
            read_table(str(file_of(tmp_path, f"a.{ending}", content)))


def test_whole_surrogate_pairs_are_characters(tmp_path):
    assert read_table(str(file_of(tmp_path, "a.jsonl", '{"text": "\\ud83d\\ude00"}'))).rows == [{"text": "😀"}]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_damaged_table_is_a_sentence(tmp_path, ending):
    """Arrow believes what a file says of its own lengths: unchecked, some of these would end the process."""
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / f"a.{ending}"
    table = pyarrow.table({"text": ["one", "two"], "n": [[1], [2, 3]]})
    if ending == "parquet":
        pyarrow.parquet.write_table(table, file)
    else:
        with pyarrow.ipc.new_file(file, table.schema) as writer:  # the format that `datasets` does not write
            writer.write_table(table)
    assert read_table(str(file)).rows == [{"text": "one", "n": [1]}, {"text": "two", "n": [2, 3]}]
    whole = file.read_bytes()
    read = 0
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + b"\xff\xff\xff\x7f" + whole[place + 4 :])
        with contextlib.suppress(UsageError):
            assert len(read_table(str(file)).rows) == 2
            read += 1
    assert read < len(whole) / 7 / 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.jsonl.gz", r"is compressed; unpack it first: `gunzip .*a\.jsonl\.gz`"),
        ("a b.zst", r"is compressed; unpack it first: `unzstd '.*a b\.zst'`"),
        ("a.docx", r"has the ending '\.docx'; data files end in \.jsonl, "),
    ],
)
def test_files_that_are_not_read(tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        read_table(str(file_of(tmp_path, name, b"")))
