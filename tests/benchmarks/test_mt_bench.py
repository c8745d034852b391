from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from unlearnbench.benchmark import Subject
from unlearnbench.errors import UsageError
from unlearnbench.generate import Request, generate, render_chat
from unlearnbench_benchmarks.mt_bench import MtBench, openai_judge, parse_rating, rules


def talk(*turns: str) -> list[dict[str, str]]:
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": turn} for i, turn in enumerate(turns)]


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
    assert rules(talk(asked, answer), "The colour of Zeara is blue.") == pytest.approx(rating)


def test_rules_are_never_outside_one_to_ten():
    for answer in ("blue " * 500, "¿?", "what is"):
        assert 1.0 <= rules(talk("What is it?", answer), "It is blue.") <= 10.0


@pytest.mark.parametrize(
    ("text", "rating"),
    [("Rating: [[7]]", 7.0), ("[[6.5]]", 6.5), ("[3] fine", 3.0), ("[[0]]", None), ("[[100]]", None), ("seven", None)],
)
def test_ratings_outside_the_scale_are_none(text, rating):
    assert parse_rating(text) == rating


def test_base_model_of_the_sandbox_gets_full_marks(cli, tmp_path):
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--out", tmp_path / "run", "--json")
    board = json.loads(outcome.out)
    score = board["rows"][0]["scores"]["mt_bench"]
    assert score["n"] == 80
    assert score["value"] >= 9.0
    assert set(score["parts"]) == {"stem", "humanities"}
    assert board["columns"][0]["note"] == "rules"


def test_answers_are_the_same_alone_and_in_a_batch(tiny_model, tokenizer, monkeypatch):
    """Sampled at temperature .7: each answer depends on its own seed and not on its neighbours."""
    from unlearnbench import generate as module

    requests = [
        Request(tuple(talk("Tell me " + "more " * number + "please")), temperature, f"seed {number}")
        for number, temperature in enumerate([0.7, 0.0, 0.1, 0.7, 1.0])
    ]
    together = generate(tiny_model, tokenizer, requests, max_new_tokens=12)
    monkeypatch.setattr(module, "TOKENS_PER_BATCH", 1)
    assert generate(tiny_model, tokenizer, requests, max_new_tokens=12) == together
    others = [Request(request.messages, request.temperature, request.seed + "!") for request in requests]
    again = generate(tiny_model, tokenizer, others, max_new_tokens=12)
    assert again[1] == together[1]
    assert again[0] != together[0]


def test_seeded_draws_follow_the_distribution(tokenizer):
    """4,000 draws from (.5, .3, .2): each share within four standard errors."""
    from unlearnbench.generate import SeededDraw

    probability = torch.tensor([0.5, 0.3, 0.2])
    requests = [Request((), 1.0, str(number)) for number in range(4000)]
    drawn = SeededDraw(requests, width=0)(torch.zeros(4000, 0, dtype=torch.long), probability.log().expand(4000, 3)).argmax(-1)
    shares = torch.bincount(drawn, minlength=3) / 4000
    assert torch.all((shares - probability).abs() < 4 * (probability * (1 - probability) / 4000).sqrt())


def test_model_without_a_template_gets_plain_lines(tokenizer):
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    assert render_chat(talk("Hello", "Hi", "Bye"), plain) == "User: Hello\nAssistant: Hi\nUser: Bye\nAssistant:"


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

    def listen(model, tokenizer, requests, **options):
        asked.extend(requests)
        return answer(model, tokenizer, requests, **options)

    monkeypatch.setattr(module, "generate", listen)
    subject = Subject(model=tiny_model, tokenizer=tokenizer, seed=3, limit=None, progress=lambda _: None)
    results = list(MtBench(source=str(tmp_path / "own.jsonl"), max_new_tokens=2).evaluate(subject))
    assert [request.temperature for request in asked] == [*expected.values(), *expected.values()]
    assert len({request.seed for request in asked}) == len(asked) == 18
    second = next(request for request in asked if len(request.messages) == 3)
    assert [message["role"] for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1]["content"] == results[0].text


class Judge(BaseHTTPRequestHandler):
    """Says what it is told to, in turn, and remembers what it was asked."""

    replies: list[str]
    asked: list[dict]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).asked.append(body)
        reply = type(self).replies.pop(0) if len(type(self).replies) > 1 else type(self).replies[0]
        message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}
        content = {"id": "1", "object": "chat.completion", "created": 0, "model": "judge", "choices": [message]}
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def judge(monkeypatch) -> Iterator[type[Judge]]:
    """A real server on loopback that speaks the protocol."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    handler = type("Handler", (Judge,), {"replies": ["Good. Rating: [[8]]"], "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_port}/v1"
        yield handler
        server.shutdown()
        thread.join()


def test_judge_over_http(judge, tiny_model, tokenizer):
    benchmark = MtBench(source="sandbox:mt_bench", judge="openai:model-x", judge_url=judge.url, max_new_tokens=4)
    subject = Subject(model=tiny_model, tokenizer=tokenizer, seed=0, limit=1, progress=lambda _: None)
    results = list(benchmark.evaluate(subject))
    assert [result.score for result in results] == [8.0] * 4
    assert len(judge.asked) == 4
    assert judge.asked[0]["model"] == "model-x"
    assert judge.asked[0]["temperature"] == 0.0
    prompt = judge.asked[-1]["messages"][0]["content"]
    assert "[reference answer]" in prompt
    assert prompt.count("[user]") == 2
    assert all(result.text in json.dumps(judge.asked) for result in results if result.text.isalnum())


def test_judge_from_the_command_line(cli, judge, tmp_path):
    """Two categories, one question of two turns each; the column's head names the judge."""
    arguments = ("--set", "mt_bench.judge=openai:model-x", "--judge-url", judge.url, "--limit", "1", "--out", tmp_path / "run")
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "mt_bench", *arguments)
    assert outcome.code == 0, outcome.err
    assert "mt_bench (openai:model-x) ↑" in outcome.out
    assert "8.00" in outcome.out
    assert len(judge.asked) == 4


def test_unusable_ratings_are_asked_again_and_then_an_error(judge):
    judge.replies[:] = ["no idea", "[[0]]", "well: [[6]]"]
    rate = openai_judge("openai:m", judge.url)
    assert rate(talk("Hi", "Hello"), None) == 6.0
    judge.replies[:] = ["[[100]]"]
    with pytest.raises(ValueError, match="no rating from 1 to 10 in 3 tries"):
        rate(talk("Hi", "Hello"), None)


def test_judge_that_there_is_not(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(UsageError, match=r"Unknown judge .gpt.\. Available: rules, openai:MODEL"):
        MtBench(judge="gpt")
    with pytest.raises(UsageError, match="needs the environment's OPENAI_API_KEY"):
        MtBench(judge="openai:gpt-4")


def test_rows_in_other_shapes(tmp_path):
    hub = tmp_path / "hub.jsonl"
    hub.write_text(json.dumps({"prompt_id": 5, "category": "math", "prompt": ["a", "b"], "reference": ["c", "d"]}) + "\n")
    assert MtBench(source=str(hub)).items[0].turns == ["a", "b"]
    hub.write_text(json.dumps({"prompt_id": 5, "prompt": "a"}) + "\n")
    with pytest.raises(UsageError, match="line 1, needs its turns as a list"):
        MtBench(source=str(hub)).digest()
