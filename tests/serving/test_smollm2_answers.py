"""SmolLM2 answers real questions: the same in batches, one at a time, and after it was cut off; a judge in memory is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from serving.real_judge import check_judged, easy_prompts

from unlearnbench.models.loading import load_model, load_tokenizer
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.generation.chat import Answer
from unlearnbench.scoring.selection import first_of_each_part
from unlearnbench_benchmarks.fastchat import TEMPERATURES
from unlearnbench_benchmarks.mt_bench import MtBench

pytestmark = pytest.mark.slow
TOKENS = 96  # of an answer at most
PER_CATEGORY = 1  # questions of two turns


class Stopped(Exception):
    """As if somebody had pressed Ctrl-C."""


@pytest.fixture(scope="module")
def subject(smollm2) -> Subject:
    """SmolLM2 in float32; its weights have a name, so that answers are kept."""
    model = load_model(smollm2, torch.float32, torch.device("cpu"))
    tokenizer = load_tokenizer(smollm2)
    return Subject(model=model, tokenizer=tokenizer, seed=0, limit=PER_CATEGORY, progress=lambda _: None, weights="a" * 64)


@pytest.fixture(scope="module")
def bench(real_data):
    def make(rows: int | None = None) -> MtBench:
        options = {"judge": "openai:nobody", "judge_url": "http://127.0.0.1:1/v1", "max_new_tokens": TOKENS}
        return MtBench(source=str(real_data / "mt_bench"), batch_size=rows, **options)

    return make


@pytest.fixture(scope="module")
def together(subject, bench) -> list[list[Answer]]:
    return bench().converse(subject)


def test_every_category_is_answered(bench, together):
    """Eight categories, greedy, nearly greedy and sampled; some answers end by themselves and some at the limit."""
    assert len(together) == len(TEMPERATURES) == len(bench().parts())
    answers = [answer for talk in together for answer in talk]
    assert all(answer.text and not answer.error for answer in answers)
    assert {answer.ended for answer in answers} == {True, False}
    assert max(answer.tokens for answer in answers) == TOKENS


@pytest.mark.parametrize("rows", [1, 3])
def test_batches_change_nothing(subject, bench, together, rows):
    assert bench(rows).converse(subject) == together


def test_answers_go_on_where_they_were_cut_off(subject, bench, together, tmp_path):
    """Cut off after three answers: they are kept, nothing is written twice, and all texts are those of one go."""
    done: list[int] = []

    def progress(count: int) -> None:
        done.append(count)
        if len(done) == 3:
            raise Stopped

    with pytest.raises(Stopped):
        bench(3).converse(replace(subject, keep=tmp_path, progress=progress))
    [kept] = (tmp_path / "answers").glob("*.jsonl")
    first = kept.read_text().splitlines()
    assert len(first) == 3
    again = bench().converse(replace(subject, keep=tmp_path))
    lines = kept.read_text().splitlines()
    assert lines[:3] == first
    assert len({json.loads(line)["key"] for line in lines}) == len(lines) == 2 * len(together)
    assert [[answer.text for answer in talk] for talk in again] == [[answer.text for answer in talk] for talk in together]


def test_another_seed_samples_other_answers(subject, bench, together):
    """Where the temperature is 0 it says the same."""
    parts = [item.part for item in first_of_each_part(bench().items, PER_CATEGORY)]
    other = bench().converse(replace(subject, seed=1))
    same = {part: one == two for part, one, two in zip(parts, together, other, strict=True)}
    assert all(same[part] for part, temperature in TEMPERATURES.items() if temperature == 0)
    assert not same["writing"]
    assert not same["roleplay"]


def test_a_judge_in_memory_is_asked(smollm2, real_data, cli, tmp_path):
    """From the command line: ratings arrive, and what has none says why."""
    lines = (real_data / "mt_bench" / "question.jsonl").read_text(encoding="utf-8").splitlines()
    questions = tmp_path / "questions.jsonl"
    questions.write_text("\n".join(lines[:2]) + "\n", encoding="utf-8")
    arguments: list[str | Path] = [
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", f"hf:{smollm2}", "--min-coverage", "0", "--cache",
        tmp_path / "cache", "--out", tmp_path / "run", "--set", f"mt_bench.source={questions}", "--set",
        "mt_bench.max_new_tokens=24", "--set", "mt_bench.judge_reply_tokens=16", "--judge-prompts",
        easy_prompts(tmp_path / "prompts.jsonl"),
    ]  # fmt: skip
    check_judged(cli(*arguments), tmp_path, asked=4)
