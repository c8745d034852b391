"""Rows that are trained on: the forms that are understood, and what is no text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlearnbench.data.batches import encode_corpus
from unlearnbench.data.tables import Table, alternatives_of, read_corpus
from unlearnbench.errors import UsageError

USER, ASSISTANT = ({"role": role, "content": content} for role, content in (("user", "Who?"), ("assistant", "She.")))


def corpus(folder: Path, *rows: object) -> Table:
    file = folder / "corpus.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_corpus(str(file))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Who?", "response": "She."},
        {"question": "Who?", "answer": "She."},
        {"text": None, "question": "Who?", "answer": "She."},
        {"messages": [USER, ASSISTANT]},
        {"prompt": [USER], "response": [ASSISTANT]},
        {"prompt": [USER], "response": "She."},
    ],
)
def test_a_question_with_its_answer(tmp_path, row, tokenizer):
    """However it is written, the same tokens are trained on."""
    plain = encode_corpus(corpus(tmp_path, {"prompt": "Who?", "response": "She."}), "t", tokenizer, max_length=32)
    table = corpus(tmp_path, row)
    assert (table.rows[0]["prompt"], table.rows[0]["response"]) == ("Who?", "She.")
    assert encode_corpus(table, "t", tokenizer, max_length=32) == plain


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": None}, "line 2, has null in its column 'text', where a text must stand"),
        ({"text": 5}, "line 2, has the number 5 in its column 'text'"),
        ({"text": float("nan")}, "line 2, has the number nan in its column 'text'"),
        ({"text": True}, "line 2, has true in its column 'text'"),
        ({"text": ["a"]}, "line 2, has a list in its column 'text'"),
        ({"text": {"en": "a"}}, "line 2, has an object in its column 'text'"),
        ({"prompt": None, "response": "a"}, "line 2, has null in its column 'prompt'"),
        ({"prompt": "a", "response": 3}, "line 2, has the number 3 in its column 'response'"),
        ({"prompt": [USER, ASSISTANT], "response": "a"}, "line 2, has a list in its column 'prompt'"),
        ({"prompt": [ASSISTANT], "response": "a"}, "line 2, has a list in its column 'prompt'"),
        ({"question": "a", "answer": 0}, "line 2, has the number 0 in its column 'answer'"),
        ({"question": "a", "choices": ["b", "c"], "answer": "A"}, "line 2, has neither the column 'text' nor 'prompt' and"),
        ({"messages": [{"role": "system", "content": "a"}, USER, ASSISTANT]}, "line 2, has other 'messages' than can be"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "line 2, has other 'messages'"),
        ({"messages": "a"}, "line 2, has other 'messages'"),
        ({"prompt": "a"}, "line 2, has neither .*; it has: prompt. Columns 'question' and 'answer', or chat 'messages'"),
    ],
)
def test_what_is_no_text(tmp_path, row, said):
    with pytest.raises(UsageError, match=said):
        corpus(tmp_path, {"text": "a"}, row)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "line 1, has no column 'alternative'"),
        ([], "line 1, has no column 'alternative'"),
        ([None], "line 1, has a list with null in its column 'alternative', where a list of texts must stand"),
        (["a", 7], "line 1, has a list with the number 7"),
        (7, "line 1, has the number 7 in its column 'alternative'"),
    ],
)
def test_other_answers_that_are_no_text(tmp_path, given, said):
    with pytest.raises(UsageError, match=said):
        alternatives_of(corpus(tmp_path, {"text": "a", "alternative": given}), 0)
