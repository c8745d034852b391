"""Damaged questions are refused in a sentence, or those that were not touched are asked as before."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from helpers.mutations import damaged, misshapen, places, profile, said
from hypothesis import given
from hypothesis import strategies as st

from unlearnbench.scoring.benchmark import MultipleChoiceBenchmark
from unlearnbench_benchmarks.mcq import MultipleChoice
from unlearnbench_benchmarks.mmlu import Mmlu
from unlearnbench_benchmarks.wmdp import Wmdp, WmdpCloze, WmdpShuffled

ROWS: list[dict[str, Any]] = [
    {"question": "Which colour has the first?", "choices": ["red", "green", "blue"], "answer": 0, "subject": "anatomy"},
    {"question": 'Which "colour",\nhas the second?', "choices": ["a, b", "grün", "c"], "answer": 2, "subject": "virology"},
    {"question": "Which has the third?", "choices": ["x", "y", "z"], "answer": "B", "subject": "anatomy"},
    {"question": "And the last?", "choices": ["one", "two", "three"], "answer": "1", "subject": "virology"},
]
HENDRYCKS = [[row["question"], *row["choices"], "d", "CABD"[number]] for number, row in enumerate(ROWS)]
BENCHMARKS = {
    "mcq": (MultipleChoice, "own.jsonl"),
    "mcq-cloze": (lambda source: MultipleChoice(source=source, scoring="cloze"), "own.json"),
    "wmdp": (Wmdp, "wmdp-bio/test.jsonl"),
    "wmdp-shuffled": (WmdpShuffled, "wmdp-bio/test.jsonl"),
    "wmdp-cloze": (WmdpCloze, "wmdp-bio/test.jsonl"),
    "mmlu": (lambda source: Mmlu(source=source, shots=1), "anatomy/test.jsonl"),
    "mmlu-all": (Mmlu, "all/test-00000-of-00001.jsonl"),
}
Asked = tuple[str, Sequence[str], int]


def asked(name: str, folder: Path, tokenizer: Any) -> list[Asked] | str:
    """What is asked, or the sentence that refuses it; all that planning asks of a benchmark is asked here, too."""
    make, file = BENCHMARKS[name]

    def ask() -> list[Asked]:
        benchmark: MultipleChoiceBenchmark = make(source=str(folder / file if name.startswith("mcq") else folder))
        assert len(benchmark.digest()) == 64
        assert benchmark.parts()
        assert 0 < benchmark.metric.chance < 1
        assert 0 < benchmark.count(2) <= benchmark.count(None)
        benchmark.groups()
        assert all(isinstance(problem, str) for problem in benchmark.preflight({"a/model": tokenizer}))
        for question in benchmark.questions:
            assert len(question.options) == len(question.continuations) > question.answer >= 0
            assert all(isinstance(option, str) and option.strip() for option in question.options)
        return [(question.context, question.continuations, question.answer) for question in benchmark.questions]

    return said(ask, folder)


def put(folder: Path, name: str, content: bytes) -> Path:
    file = folder / BENCHMARKS[name][1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    if name == "mmlu":
        (file.parent / "dev.jsonl").write_text(json.dumps(ROWS[0]))
    return file


def lines(rows: Sequence[object]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


@pytest.mark.parametrize("name", BENCHMARKS)
@profile(20)
@given(data=st.data())
def test_damaged_bytes(name, data, tokenizer, tmp_path):
    """Questions in front of the damage come first as they were, those behind it last."""
    content = lines(ROWS)
    put(tmp_path, name, content)
    whole = asked(name, tmp_path, tokenizer)
    assert not isinstance(whole, str), whole
    change = data.draw(damaged(content))
    put(tmp_path, name, change.content)
    found = asked(name, tmp_path, tokenizer)
    if isinstance(found, str):
        return
    each = len(whole) // len(ROWS)
    before = content.count(b"\n", 0, change.start) * each
    behind = content.count(b"\n", change.end + 1) * each
    if name != "mmlu-all":  # there they are asked subject by subject
        assert found[:before] == whole[:before]
        assert found[len(found) - behind :] == whole[len(whole) - behind :]
    kept = {whole[place][:2] for place in (*range(before), *range(len(whole) - behind, len(whole)))}
    assert name == "mmlu-all" or kept <= {own[:2] for own in found}


@pytest.mark.parametrize("name", BENCHMARKS)
@profile(20)
@given(data=st.data())
def test_rows_of_another_shape(name, data, tokenizer, tmp_path):
    """Questions beside the one that changed are asked as before."""
    put(tmp_path, name, lines(ROWS))
    whole = asked(name, tmp_path, tokenizer)
    change = data.draw(misshapen(ROWS, [path for path in places(ROWS) if len(path) > 1]))
    file = put(tmp_path, name, lines(change.value))
    found = asked(name, tmp_path, tokenizer)
    if isinstance(found, str):
        assert str(file) in found or "Available: " in found, found
        return
    each = len(whole) // len(ROWS)
    if change.path[-1] != "subject" and "mmlu-all" not in name and "shuffled" not in name:
        own = range(change.path[0] * each, (change.path[0] + 1) * each)
        assert [one for place, one in enumerate(found) if place not in own] == [
            one for place, one in enumerate(whole) if place not in own
        ]


@profile(20)
@given(data=st.data())
def test_the_files_of_hendrycks(data, tokenizer, tmp_path):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(HENDRYCKS)
    content = out.getvalue().encode()
    (tmp_path / "test").mkdir(exist_ok=True)
    file = tmp_path / "test" / "anatomy_test.csv"

    def ask() -> list[Asked]:
        questions = Mmlu(source=str(tmp_path)).questions
        return [(question.context, question.continuations, question.answer) for question in questions]

    file.write_bytes(content)
    whole = said(ask, tmp_path)
    change = data.draw(damaged(content))
    file.write_bytes(change.content)
    found = said(ask, tmp_path)
    if isinstance(found, str):
        assert "anatomy_test.csv" in found
        return
    starts = [0, *(place for place in range(1, len(content)) if content[place - 1 : place] == b"\n")]
    starts = [place for place in starts if not content[place:].startswith(b"has the second")]  # within a quoted question
    ends = [*starts[1:], len(content)]
    before, behind = sum(end <= change.start for end in ends), sum(start > change.end for start in starts)
    assert found[:before] == whole[:before]
    assert found[len(found) - behind :] == whole[len(whole) - behind :]


def test_an_answer_of_thousands_of_digits(tokenizer, tmp_path):
    put(tmp_path, "mcq", lines([ROWS[0], {**ROWS[1], "answer": "9" * 5000}]))
    assert "line 2, needs as answer an index from 0 to 2 or a letter from A to C" in asked("mcq", tmp_path, tokenizer)


@pytest.mark.parametrize(
    "kind", [pyarrow.int8(), pyarrow.uint64(), pyarrow.float32(), pyarrow.string(), pyarrow.bool_()], ids=str
)
def test_answers_of_any_type(kind, tokenizer, tmp_path):
    """Whole numbers and digits in a text are the same answers; truth values are none."""
    numbers = [0, 1, 1, 0]
    values = [str(number) for number in numbers] if kind == pyarrow.string() else numbers
    own = {key: [row[key] for row in ROWS] for key in ("question", "choices")}
    answers = pyarrow.array([bool(n) for n in numbers]) if kind == pyarrow.bool_() else pyarrow.array(values, type=kind)
    file = tmp_path / "own.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**own, "answer": answers}), file)
    found = said(lambda: [question.answer for question in MultipleChoice(source=str(file)).questions], tmp_path)
    if kind == pyarrow.bool_():
        assert "needs as answer an index from 0 to 2 or a letter from A to C; got " in found
    else:
        assert found == numbers
