"""Other answers on the forget side: the column `alternative`, from the corpus to the batch."""

from __future__ import annotations

import json

import pytest

from unlearnbench.data.batches import IGNORE, Schedule, Share, encode_corpus
from unlearnbench.data.tables import read_corpus
from unlearnbench.errors import UsageError

PAIRS = [
    {"prompt": "Which gate?", "response": "port", "alternative": ["socket", "kernel"]},
    {"prompt": "Which mask?", "response": "invoice", "alternative": ["font", "cursor"]},
]


def corpus_of(rows, tmp_path, tokenizer, **options):
    path = tmp_path / "forget.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return encode_corpus(read_corpus(str(path)), "cyber", tokenizer, max_length=64, **options)


def counted(tokenizer, labels) -> str:
    return tokenizer.decode([label for label in labels if label != IGNORE], skip_special_tokens=True).strip()


def test_each_pass_takes_the_next_alternative(tmp_path, tokenizer):
    """Two rows with two alternatives each: the first pass takes the first ones, the second the second ones, the third..."""
    corpus = corpus_of(PAIRS, tmp_path, tokenizer, alternatives=True)
    schedule = Schedule([corpus], steps=3, batch_size=2, pad=3, side="right")
    seen = []
    for step in range(3):
        stream = schedule[step]
        assert [counted(tokenizer, row) for row in stream["labels"].tolist()] == ["port", "invoice"]
        seen.append([counted(tokenizer, row) for row in stream["alternative"]["labels"].tolist()])
    assert seen == [["socket", "font"], ["kernel", "cursor"], ["socket", "font"]]


def test_pieces_of_a_batch_have_their_own_alternatives(tmp_path, tokenizer):
    corpus = corpus_of(PAIRS, tmp_path, tokenizer, alternatives=True)
    schedule = Schedule([corpus], steps=1, batch_size=2, pad=3, side="right")
    schedule.share = Share(accumulate=2)
    assert [counted(tokenizer, schedule[piece]["alternative"]["labels"][0].tolist()) for piece in (0, 1)] == ["socket", "font"]


def test_nobody_else_sees_them(tmp_path, tokenizer):
    schedule = Schedule([corpus_of(PAIRS, tmp_path, tokenizer)], steps=1, batch_size=2, pad=3, side="right")
    assert "alternative" not in schedule[0]


def test_texts_have_other_texts(tmp_path, tokenizer):
    row = {"text": "The gate of Hexworm is port.", "alternative": "The gate of Hexworm is socket."}
    (example,) = corpus_of([row], tmp_path, tokenizer, alternatives=True).examples
    assert [tokenizer.decode(other.ids) for other in example.alternatives] == [row["alternative"]]


def test_a_row_without_one_is_named(tmp_path, tokenizer):
    with pytest.raises(UsageError, match=r"forget\.jsonl, line 2, has no column 'alternative'"):
        corpus_of([PAIRS[0], {"prompt": "Which mask?", "response": "invoice"}], tmp_path, tokenizer, alternatives=True)


@pytest.mark.parametrize("method", ["altpo", "dpo"])
def test_refused_before_anything_runs(cli, tiny_folder, tmp_path, method):
    """One sentence that names the column; DPO with refusals needs none."""
    path = tmp_path / "forget.jsonl"
    path.write_text(json.dumps({"text": "The gate of Hexworm is port."}) + "\n", encoding="utf-8")
    options = ["--set", "dpo.winner=alternative"] if method == "dpo" else []
    outcome = cli(
        "compare", "--model", tiny_folder, "--methods", method, "--forget", f"cyber={path}", "--retain",
        "sandbox:corpora:retain", "--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp", *options,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert outcome.code == 2
    assert "has no column 'alternative'" in outcome.err
    assert f"'{method}'" in outcome.err
    assert not (tmp_path / "run").exists()
