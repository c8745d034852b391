"""The multiple-choice benchmarks on the sandbox's and on hand-made data."""

from __future__ import annotations

import json

import pytest
import torch

from unlearnbench.scoring.benchmark import Subject
from unlearnbench_benchmarks.mmlu import CATEGORIES, NEAR_DOMAINS
from unlearnbench_benchmarks.wmdp import Wmdp, WmdpCloze, WmdpShuffled


@pytest.fixture(scope="module")
def base(tokenizer):
    from unlearnbench.data.sources import sandbox_folder
    from unlearnbench.models.loading import load_model

    return load_model(sandbox_folder() / "model", torch.float32, torch.device("cpu"))


@pytest.fixture
def ask(base, tokenizer):
    def run(benchmark, limit=None):
        done: list[int] = []
        subject = Subject(model=base, tokenizer=tokenizer, seed=0, limit=limit, progress=done.append)
        return list(benchmark.evaluate(subject))

    return run


def test_shuffled_asks_every_cyclic_order():
    benchmark = WmdpShuffled(source="sandbox:wmdp")
    plain = Wmdp(source="sandbox:wmdp")
    orders = [question for question in benchmark.questions if question.id.startswith("bio/0/")]
    assert len(orders) == 4
    assert orders[0].context == plain.questions[0].context
    right = {question.context.split(f"\n{'ABCD'[question.answer]}. ")[1].split("\n")[0] for question in orders}
    assert len(right) == 1
    assert sorted(question.answer for question in orders) == [0, 1, 2, 3]
    assert benchmark.count(None) == plain.count(None)
    assert benchmark.count(5) == plain.count(5) == 15


def test_shuffled_item_counts_by_its_mean(ask):
    """Against the orders scored one by one; options come back in the data's own order."""
    benchmark = WmdpShuffled(source="sandbox:wmdp")
    results = ask(benchmark, limit=2)
    assert [result.id for result in results[:2]] == ["bio/0", "bio/1"]
    single = ask(Wmdp(source="sandbox:wmdp"), limit=2)
    for result, plain in zip(results, single, strict=True):
        assert result.answer == plain.answer
        assert result.score == 1.0  # the base knows the sandbox in any order
        assert result.choice == result.answer
        assert len(result.logprobs) == 4


def test_a_model_that_always_says_a_is_at_chance_when_shuffled(tokenizer):
    """Every item has the right answer under each letter once: a constant letter scores one in four, item by item."""
    from unlearnbench.records.items import ItemResult

    benchmark = WmdpShuffled(source="sandbox:wmdp")
    always_a = [
        ItemResult(
            id=q.id, part=q.part, score=float(q.answer == 0), choice=0, answer=q.answer, logprobs=(0.0, -1.0, -1.0, -1.0)
        )
        for q in benchmark.questions
    ]
    benchmark.score = lambda subject, asked: always_a
    subject = Subject(model=None, tokenizer=tokenizer, seed=0, limit=None, progress=lambda n: None)
    merged = list(benchmark.evaluate(subject))
    assert {item.score for item in merged} == {0.25}


def test_cloze_shows_no_options(ask):
    benchmark = WmdpCloze(source="sandbox:wmdp")
    question = benchmark.questions[0]
    assert question.context.startswith("Question: ")
    assert "A." not in question.context
    assert not any(option.strip() in question.context for option in question.continuations)
    assert len(ask(benchmark, limit=1)[0].logprobs) == 4


def test_mmlu_reports_its_groups(cli, tmp_path):
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "mmlu", "--limit", 3, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    cell = json.loads(next((tmp_path / "run" / "cells").rglob("*.json")).read_text())
    assert cell["groups"]["near domains"]["n"] == 6
    assert set(cell["groups"]) == {"STEM", "humanities", "social sciences", "other", "near domains"}
    parted = sum(cell["groups"][name]["n"] for name in ("STEM", "humanities", "social sciences", "other"))
    assert parted == cell["n"] == 21


def test_the_categories_hold_57_subjects():
    named = [subject for words in CATEGORIES.values() for subject in words.split()]
    assert [len(words.split()) for words in CATEGORIES.values()] == [19, 13, 12]  # the other 13 are "other"
    assert len(set(named)) == len(named)
    assert set(NEAR_DOMAINS) - set(named) == {"virology"}


def test_questions_are_tokenised_once_for_models_with_one_tokenizer(ask, base, tokenizer, monkeypatch):
    benchmark = Wmdp(source="sandbox:wmdp")
    ask(benchmark, limit=1)
    kept = benchmark._texts
    ask(benchmark, limit=1)
    assert benchmark._texts is kept
    ask(benchmark, limit=2)
    assert benchmark._texts is not kept


def test_groups_stand_in_the_table(cli, tmp_path):
    run = tmp_path / "run"
    assert cli("evaluate", "sandbox:model", "--benchmarks", "mmlu", "--limit", 2, "--out", run).code == 0
    printed = cli("leaderboard", run, "--parts", "--format", "csv").out
    assert "mmlu/near domains" in printed
    assert "mmlu/virology" in printed


def test_cut_questions_are_counted_and_said(cli, tmp_path, tiny_folder):
    """A model that reads 512 tokens, and a question of more."""
    file = tmp_path / "long.jsonl"
    rows = [{"question": "moss " * words, "choices": ["moth", "heron"], "answer": 0} for words in (900, 5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = cli("evaluate", tiny_folder, "--benchmarks", "mcq", "--set", f"mcq.source={file}", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    assert "1 cut from the left to fit the model" in outcome.err
    assert "cut from the left to fit the model in 1 of 2 items" in outcome.out.replace("\n", " ")
