from __future__ import annotations

import json

import pytest

from unlearnbench.benchmark import Subject
from unlearnbench.chat import Request
from unlearnbench.errors import UsageError
from unlearnbench.judging.panel import Exchange
from unlearnbench_benchmarks.mt_bench import MtBench, rules


def exchange(asked: str, answer: str, reference: str) -> Exchange:
    return Exchange(id="1/turn-1", turns=(asked,), answers=(answer,), references=(reference,))


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("The colour of Zeara is blue.", 10.0),
        ("It is blue", 7.0),  # new words: it, blue against blue: F1 = 2/3
        ("The colour of Zeara is red.", 1.0),
        ("", 1.0),
    ],
)
def test_rules_rate_what_is_new(answer, rating):
    asked = "What is the colour of Zeara?"
    assert rules(exchange(asked, answer, "The colour of Zeara is blue.")) == pytest.approx(rating)


def test_rules_are_never_outside_one_to_ten():
    for answer in ("blue " * 500, "¿?", "what is"):
        assert 1.0 <= rules(exchange("What is it?", answer, "It is blue.")) <= 10.0


def test_base_model_of_the_sandbox_gets_full_marks(cli, tmp_path):
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--out", tmp_path / "run", "--json")
    board = json.loads(outcome.out)
    score = board["rows"][0]["scores"]["mt_bench"]
    assert score["n"] == 80
    assert score["value"] >= 9.0
    assert set(score["parts"]) == {"stem", "humanities"}
    assert board["columns"][0]["note"] == "rules"


URL = "http://127.0.0.1:1/v1"  # nobody is asked


def test_fastchats_folder(real_data):
    """80 questions of two turns; GPT-4's references for math, reasoning and coding, and for nothing else."""
    benchmark = MtBench(source=str(real_data / "mt_bench"), judge="openai:model", judge_url=URL)
    assert benchmark.count(None) == 160
    assert benchmark.parts() == ["writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities"]
    referenced = [item.part for item in benchmark.items if item.references]
    assert {part: referenced.count(part) for part in referenced} == {"reasoning": 10, "math": 10, "coding": 10}
    first = next(item for item in benchmark.items if item.id == "101")
    assert first.references[0].startswith("If you have just overtaken the second person")
    with pytest.raises(UsageError, match="needs a reference for each turn"):
        MtBench(source=str(real_data / "mt_bench")).digest()


def test_fastchats_question_file_alone(real_data):
    """Without the folder's answers the questions' own notes are shown, where FastChat's judge sees a reference."""
    benchmark = MtBench(source=str(real_data / "mt_bench" / "question.jsonl"), judge="openai:model", judge_url=URL)
    assert benchmark.count(None) == 160
    first = next(item for item in benchmark.items if item.id == "101")
    assert first.references == ["You are in second place.", "Uncertain."]
    assert {item.part for item in benchmark.items if item.references} == {"reasoning", "math", "coding"}


def test_damaged_reference_answers(tmp_path):
    (tmp_path / "question.jsonl").write_text(json.dumps({"question_id": 1, "turns": ["a", "b"]}) + "\n")
    (tmp_path / "reference_answer").mkdir()
    (tmp_path / "reference_answer" / "gpt-4.jsonl").write_text(json.dumps({"question_id": 1, "choices": []}) + "\n")
    with pytest.raises(UsageError, match=r"gpt-4\.jsonl, line 1, needs the answers as choices\[0\]\.turns"):
        MtBench(source=str(tmp_path)).digest()


def test_temperature_goes_by_category(tmp_path, tiny_model, tokenizer, monkeypatch):
    """FastChat's, and .7 for a category that it does not know; the same at both turns."""
    from unlearnbench import generate as module

    expected = {
        "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0, "stem": 0.1,
        "humanities": 0.1, "gardening": 0.7,
    }  # fmt: skip
    rows = [{"question_id": c, "category": c, "turns": [f"about {c}", "more"], "reference": ["x", "y"]} for c in expected]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked: list[Request] = []
    answer = module.generate

    def listen(model, tokenizer, requests, *, follow, **options):
        def following(index, said):
            asked.extend(more := [request for request in [follow(index, said)] if request is not None])
            return more[0] if more else None

        asked.extend(requests)
        return answer(model, tokenizer, requests, follow=following, **options)

    monkeypatch.setattr(module, "generate", listen)
    subject = Subject(model=tiny_model, tokenizer=tokenizer, seed=3, limit=None, progress=lambda _: None)
    results = list(MtBench(source=str(tmp_path / "own.jsonl"), max_new_tokens=2).evaluate(subject))
    assert sorted((request.seed.split()[1], request.temperature) for request in asked) == sorted([*expected.items()] * 2)
    assert len({request.seed for request in asked}) == len(asked) == 18
    second = next(request for request in asked if len(request.messages) == 3 and request.seed.split()[1] == "writing")
    assert [message["role"] for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1]["content"] == results[0].text


def test_rows_in_other_shapes(tmp_path):
    hub = tmp_path / "hub.jsonl"
    hub.write_text(json.dumps({"prompt_id": 5, "category": "math", "prompt": ["a", "b"], "reference": ["c", "d"]}) + "\n")
    assert MtBench(source=str(hub)).items[0].turns == ["a", "b"]
    hub.write_text(json.dumps({"prompt_id": 5, "prompt": "a"}) + "\n")
    with pytest.raises(UsageError, match="line 1, needs its turns as a list"):
        MtBench(source=str(hub)).digest()
