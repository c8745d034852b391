"""A judge that fails in every way real ones do: each fault handled, nothing asked twice, coverage honest, no key kept."""

from __future__ import annotations

import json
import logging
import multiprocessing
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.fault_server import JudgeServer, dripping, half_closed, html, judge_server, no_choices, say, status

from unlearnbench.errors import UsageError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.judging import remote
from unlearnbench.scoring.judging.judgment import ReplySettings, parse_rating
from unlearnbench.scoring.judging.prompts import load_prompts
from unlearnbench.scoring.judging.rater import Exchange, Rater, open_judge
from unlearnbench.scoring.judging.remote import RequestLimits
from unlearnbench.system.journal import Journal
from unlearnbench_benchmarks.mt_bench import MtBench

KEY = "sk-planted-4f9c0b7e21"


@pytest.fixture
def server(monkeypatch):
    """A real server on loopback, and no patience for its faults."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(remote, "BACKOFF", 0.01)
    with judge_server() as server:
        yield server


def exchanges(count: int) -> list[Exchange]:
    return [Exchange(id=f"{n}/turn-1", turns=(f"Question {n}?",), answers=(f"Answer {n}",)) for n in range(count)]


def panel(server: JudgeServer, repeats: int = 1, **limits) -> Rater:
    return Rater(
        open_judge("openai:model-x", server.url, RequestLimits(**limits), ReplySettings()), load_prompts(None), repeats
    )


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Rating: [[7]]", 7.0), ("[[6.5]]", 6.5), ("[[ 9 ]]", 9.0), ("[3] fine", 3.0), ("[[0]]", None), ("[[100]]", None),
        ("seven", None), ("", None),
    ],
)  # fmt: skip
def test_ratings_outside_the_scale_are_none(text, rating):
    assert parse_rating(text) == rating


FAULTS = {
    "429 with Retry-After": status(429, headers={"Retry-After": "0.05"}),
    "500": status(500),
    "503": status(503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "half-closed": half_closed,
    "slow drip": dripping,
    "HTML": html,
    "empty choices": no_choices,
    "rating 0": say("Bad. [[0]]"),
    "rating 100": say("[[100]]"),
    "refused": say("I cannot rate that."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_costs_nothing(server, fault):
    """One more request, the right rating, and every exchange rated once though all replies have the same id."""
    server.faults = [FAULTS[fault]]
    timeout = 1 if fault == "slow drip" else 30  # of a busy machine, an honest reply may take a while
    verdicts = panel(server, timeout=timeout, concurrency=2).rate(exchanges(4), Journal(None))
    assert [verdict.ratings for verdict in verdicts] == [(8.0,)] * 4
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("500", "no (3 times)"), ("rating 100", "no rating from 1 to 10 in 3 tries"), ("slow drip", "no whole reply within 1 s"),
     ("HTML", "the reply is not JSON"), ("empty choices", "the reply holds no choices"), ("half-closed", "(3 times)")],
)  # fmt: skip
def test_a_fault_that_stays_is_a_missing_judgment_with_its_reason(server, fault, reason):
    server.faults = [FAULTS[fault]] * 3
    judges = panel(server, timeout=1, retries=2)
    [verdict] = judges.rate(exchanges(1), Journal(None))
    assert (verdict.ratings, verdict.mean) == ((), None)
    assert reason in verdict.error
    assert [other.ratings for other in judges.rate(exchanges(2), Journal(None))] == [(8.0,), (8.0,)]


def test_a_reply_without_a_rating_is_answered_with_what_is_missing(server):
    server.faults = [say("A fine answer.")]
    panel(server).rate(exchanges(1), Journal(None))
    assert [message["role"] for message in server.asked[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert server.asked[1]["messages"][2]["content"] == "A fine answer."


def test_retry_after_holds_everybody_back(server):
    server.faults = [status(429, headers={"Retry-After": "0.6"})]
    started = time.monotonic()
    panel(server, concurrency=1).rate(exchanges(3), Journal(None))
    assert time.monotonic() - started >= 0.6
    server.faults = [status(429, headers={"Retry-After": "7200"})]
    verdicts = panel(server, concurrency=1).rate(exchanges(3), Journal(None))
    assert {verdict.error for verdict in verdicts} == {"the judge asks to wait 7200 s"}


@pytest.mark.parametrize(
    "fault",
    [status(401, "Incorrect API key"), status(404, "no such model"), status(429, "pay first", code="insufficient_quota")],
)
def test_who_is_refused_for_good_does_not_ask_on(server, fault):
    server.faults = [fault] * 100
    verdicts = panel(server, concurrency=2).rate(exchanges(30), Journal(None))
    assert len(server.asked) <= 2
    assert all("the judge refuses" in verdict.error for verdict in verdicts)


def test_no_more_are_asked_at_a_time_than_allowed(server):
    busy, seen = [0], []

    def slowly(handler):
        with server.lock:
            busy[0] += 1
            seen.append(busy[0])
        time.sleep(0.05)
        with server.lock:
            busy[0] -= 1
        say("[[6]]")(handler)

    server.faults = [slowly] * 12
    panel(server, concurrency=3).rate(exchanges(12), Journal(None))
    assert max(seen) == 3


def test_one_refused_question_is_one_missing_judgment(server):
    server.faults = [status(400, "this context is too long")]
    verdicts = panel(server, concurrency=1).rate(exchanges(3), Journal(None))
    assert "this context is too long" in verdicts[0].error
    assert len(server.asked) == 3


def test_a_model_that_takes_other_options_gets_them(server):
    server.faults = [
        status(400, "Unsupported parameter: 'max_tokens' is not supported; use 'max_completion_tokens'."),
        status(400, "Unsupported value: 'temperature' does not support 0."),
    ]
    assert panel(server, concurrency=1).rate(exchanges(2), Journal(None))[1].ratings == (8.0,)
    assert {"temperature", "max_tokens"} & server.asked[-1].keys() == set()
    assert server.asked[-1]["max_completion_tokens"] == 2048


def test_a_model_without_a_system_role_gets_its_text_at_the_head(server):
    server.faults = [status(400, "Conversation roles must alternate: System role not supported")]
    assert panel(server, concurrency=1).rate(exchanges(2), Journal(None))[0].ratings == (8.0,)
    system, user = server.asked[0]["messages"]
    merged = f"{system['content']}\n\n{user['content']}"
    assert {"role": "user", "content": merged} in [body["messages"][0] for body in server.asked[1:]]
    assert [len(body["messages"]) for body in server.asked] == [2, 1, 1]


def test_budgets_stop_politely(server):
    verdicts = panel(server, requests=5, concurrency=2).rate(exchanges(8), Journal(None))
    assert len(server.asked) == 5
    assert [verdict.error for verdict in verdicts if not verdict.ratings] == ["the budget of 5 requests is spent"] * 3
    verdicts = panel(server, tokens=250, concurrency=1).rate(exchanges(8), Journal(None))
    assert sum(bool(verdict.ratings) for verdict in verdicts) == 3  # at 100 tokens each the third one passes the bound
    assert verdicts[-1].error == "the budget of 250 tokens is spent"


def test_a_rerun_asks_only_what_is_missing(server, tmp_path):
    """Six are kept; a torn line and a doubled one do not disturb; another prompt, judge or repeat is another judgment."""
    first = panel(server, requests=6, concurrency=1)
    first.rate(exchanges(10), first.journal(tmp_path))
    [file] = (tmp_path / "judgments").glob("*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) == 6
    file.write_text("".join(lines) + lines[0] + '{"key": "torn', encoding="utf-8")
    server.asked.clear()
    second = panel(server)
    verdicts = second.rate(exchanges(10), second.journal(tmp_path))
    assert len(server.asked) == 4
    assert [verdict.ratings for verdict in verdicts] == [(8.0,)] * 10
    third = panel(server, repeats=3)
    server.reply = "[[5]]"
    verdicts = third.rate(exchanges(10), third.journal(tmp_path))
    assert len(server.asked) == 4 + 20
    assert verdicts[0].ratings == (8.0, 5.0, 5.0)
    assert verdicts[0].spread == pytest.approx(3.0)
    about = json.loads(file.read_text().splitlines()[0])
    assert {"item", "answer", "judge", "prompt", "repeat", "rating", "text"} <= about.keys()


def _write(path: Path, name: str) -> None:
    journal = Journal(path)
    for number in range(50):
        journal.add(f"{name} {number}", {"rating": 1.0, "text": "x" * 3000})


def test_processes_that_write_at_once_tear_nothing(tmp_path):
    path = tmp_path / "judge.jsonl"
    writers = [multiprocessing.get_context("fork").Process(target=_write, args=(path, str(n))) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    journal = Journal(path)
    journal.refresh()
    assert all(journal.get(f"{n} {number}") for n in range(3) for number in range(50))


def subject(model, tokenizer, keep: Path | None = None) -> Subject:
    places = {"weights": "f" * 64, "keep": keep} if keep else {}
    return Subject(model=model, tokenizer=tokenizer, seed=0, limit=2, progress=lambda _: None, **places)


def test_answers_that_were_kept_are_not_written_again(server, tmp_path, tiny_model, tokenizer, monkeypatch):
    """A judge that goes away half-way; a second run generates nothing and asks for the rest."""
    from unlearnbench.scoring.generation import generate as module

    options = {"source": "sandbox:mt_bench", "judge": "openai:model-x", "judge_url": server.url, "max_new_tokens": 4}
    benchmark = MtBench(**options, judge_requests=3, judge_concurrency=1)
    results = list(benchmark.evaluate(subject(tiny_model, tokenizer, tmp_path)))
    assert [result.scored for result in results] == [True] * 3 + [False] * 5
    assert results[-1].error == "the budget of 3 requests is spent"
    assert results[-1].text == "" or results[-1].tokens
    written = module.generate
    asked: list[object] = []
    monkeypatch.setattr(
        module, "generate", lambda m, t, requests, **o: (asked.extend(requests), written(m, t, requests, **o))[1]
    )
    again = list(MtBench(**options).evaluate(subject(tiny_model, tokenizer, tmp_path)))
    assert asked == []
    assert [result.text for result in again] == [result.text for result in results]
    assert [result.score for result in again] == [8.0] * 8
    assert len(server.asked) == 8


def test_an_answer_that_cannot_be_generated_is_never_judged(server, tmp_path, tiny_model, tokenizer):
    rows = [{"question_id": n, "category": "stem", "turns": [("word " * 600) if n == 1 else "Hi", "And?"]} for n in range(2)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmark = MtBench(source=str(tmp_path / "own.jsonl"), judge="openai:m", judge_url=server.url, max_new_tokens=4)
    results = list(benchmark.evaluate(subject(tiny_model, tokenizer)))
    assert len(server.asked) == 2
    assert "the model reads 512" in results[2].error
    assert results[3].error.startswith("the turn before has no answer")
    assert not results[2].scored


def test_what_the_judge_is_shown(server, tiny_model, tokenizer):
    benchmark = MtBench(source="sandbox:mt_bench", judge="openai:model-x", judge_url=server.url, max_new_tokens=4)
    results = list(benchmark.evaluate(subject(tiny_model, tokenizer)))
    assert len(server.asked) == 8
    assert {body["model"] for body in server.asked} == {"model-x"}
    assert {body["temperature"] for body in server.asked} == {0.0}
    shown = {body["messages"][-1]["content"] for body in server.asked}
    item = benchmark.items[0]
    second = next(text for text in shown if item.turns[1] in text)
    assert second.index(item.turns[0]) < second.index(results[0].text) < second.index(item.turns[1])
    assert item.references[1] in second
    assert benchmark.group_items(results).keys() == {"turn 1", "turn 2"}
    assert benchmark.figures(results)["answer_tokens"] <= 4


def test_partial_coverage_is_said_and_decides_the_exit_code(server, cli, tmp_path):
    """6 of 8 judged: the table says so, the exit code is 1 below the bound, and the same command asks for two."""
    arguments = (
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", "openai:model-x", "--judge-url", server.url,
        "--limit", "2", "--out", tmp_path / "run",
    )  # fmt: skip
    outcome = cli(*arguments, "--set", "mt_bench.judge_requests=6")
    assert outcome.code == 1
    assert "8.00, 6/8 judged" in outcome.out
    assert "below --min-coverage 0.95" in outcome.err
    assert "no score: 2 (the budget of 6 requests is spent)" in " ".join(outcome.out.split())
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    score = board["rows"][0]["scores"]["mt_bench"]
    assert (score["n"], score["asked"], score["coverage"]) == (6, 8, 0.75)
    assert cli(*arguments, "--set", "mt_bench.judge_requests=1", "--min-coverage", "0.5").code == 0
    assert len(server.asked) == 7
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert len(server.asked) == 8
    assert "8.00" in outcome.out
    assert "judged" not in outcome.out


def test_every_fault_in_one_run(server, cli, tmp_path):
    """All of them at eight answers, from the command line: full coverage, each judgment kept once, nothing asked twice."""
    server.faults = list(FAULTS.values())
    outcome = cli(
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", "openai:model-x", "--judge-url", server.url,
        "--limit", "2", "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--set", "mt_bench.judge_timeout=2",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "8.00" in outcome.out
    assert len(server.asked) == 8 + len(FAULTS)
    [file] = (tmp_path / "cache" / "judgments").glob("*.jsonl")
    keys = [json.loads(line)["key"] for line in file.read_text().splitlines()]
    assert len(set(keys)) == len(keys) == 8


def test_repeats_and_turns_in_the_table(server, cli, tmp_path):
    """Ratings that differ: the judge's own spread stands below the table, and turns have intervals."""
    seen: dict[str, int] = {}

    def reply(body):
        asked = body["messages"][-1]["content"]
        seen[asked] = seen.get(asked, 0) + 1
        return f"[[{1 + (len(asked) + 3 * seen[asked]) % 10}]]"

    server.reply = reply
    outcome = cli(
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", "openai:model-x", "--judge-url", server.url,
        "--judge-repeats", "3", "--limit", "6", "--out", tmp_path / "run", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert len(server.asked) == 3 * 24
    score = json.loads((tmp_path / "run" / "leaderboard.json").read_text())["rows"][0]["scores"]["mt_bench"]
    said = " ".join(outcome.out.split())
    assert f"ratings of one answer have a standard deviation of {score['figures']['judge_sd']:.2f} points" in said
    turns = score["groups"]
    assert turns.keys() == {"turn 1", "turn 2"}
    assert all(turn["low"] < turn["value"] < turn["high"] for turn in turns.values())
    assert (turns["turn 1"]["value"] + turns["turn 2"]["value"]) / 2 == pytest.approx(score["value"], abs=1e-4)


def test_repeats_that_did_not_come_are_asked_for(server, cli, tmp_path):
    """Two ratings of twelve are left when the budget is spent: the scores stand, the table says so, and two are asked for."""
    arguments = (
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", "openai:model-x", "--judge-url", server.url,
        "--limit", "1", "--judge-repeats", "3", "--out", tmp_path / "run", "--cache", tmp_path / "cache",
    )  # fmt: skip
    outcome = cli(*arguments, "--set", "mt_bench.judge_requests=10", "--set", "mt_bench.judge_concurrency=1")
    assert outcome.code == 0, outcome.err
    assert "none: behind 1 of 4 scores on mt_bench stand fewer ratings than were asked for" in " ".join(outcome.out.split())
    shown = " ".join(cli("answers", tmp_path / "run", "none").out.replace("│", " ").split())
    assert "2 of 3 ratings are missing: the budget of 10 requests is spent" in shown
    assert "no score" not in shown
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert len(server.asked) == 12
    assert "fewer ratings" not in outcome.out


def test_a_judge_that_rates_nothing_is_asked_again(server, cli, tmp_path, monkeypatch):
    """The cell failed, and says what to do; the same command asks for all of it and loads no model."""
    from unlearnbench.models import restorable as loaded

    server.faults = [status(401, "expired key")] * 8
    arguments = (
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--judge", "openai:model-x", "--judge-url", server.url,
        "--limit", "2", "--out", tmp_path / "run", "--cache", tmp_path / "cache", "--set", "mt_bench.judge_concurrency=1",
    )  # fmt: skip
    outcome = cli(*arguments)
    assert outcome.code == 1
    assert "none of 8 items has a score: the judge refuses: " in " ".join(outcome.err.split())
    assert "the same command asks for them again" in " ".join(outcome.err.split())
    assert len(server.asked) == 1
    assert "no score" in cli("answers", tmp_path / "run", "none").out
    server.faults.clear()
    monkeypatch.setattr(loaded, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert len(server.asked) == 9
    assert "8.00" in outcome.out


def test_the_key_is_in_no_file_and_no_log(server, cli, tmp_path, monkeypatch, caplog):
    """Not even where the server repeats it, in an error or as the judge's words."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("UNLEARNBENCH_CACHE", str(tmp_path / "cache"))
    caplog.set_level(logging.DEBUG)
    server.faults = [status(500, f"Incorrect key {KEY}"), status(400, f"key {KEY}"), say(f"[[7]] {KEY}")]
    outcome = cli(
        "evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--set", "mt_bench.judge=openai:model-x", "--judge-url",
        server.url, "--limit", "2", "--out", tmp_path / "run", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert all(key == f"Bearer {KEY}" for key in server.keys)
    assert "***" in outcome.out
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(file.suffix == ".jsonl" for file in files)
    assert KEY not in outcome.out + outcome.err + caplog.text
    assert all(KEY.encode() not in file.read_bytes() for file in files)


def test_judges_that_there_are_not(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(
        UsageError, match=r"Unknown judge .gpt.\. Available: rules, openai:MODEL, hf:MODEL\. A model .* openai:gpt"
    ):
        MtBench(judge="gpt")
    with pytest.raises(UsageError, match="needs the environment's OPENAI_API_KEY"):
        MtBench(judge="openai:gpt-4")
    with pytest.raises(UsageError, match="must begin with http"):
        MtBench(judge="openai:m", judge_url="localhost:80")
    with pytest.raises(UsageError, match="must hold no user name"):
        MtBench(judge="openai:m", judge_url="http://me:secret@127.0.0.1/v1")
    with pytest.raises(UsageError, match="password or query"):
        MtBench(judge="openai:m", judge_url="http://127.0.0.1/v1?key=secret")
    with pytest.raises(UsageError, match="does not exist"):
        MtBench(judge=f"hf:{tmp_path}/none")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"judge_url": "http://127.0.0.1:1/v1"}, "judge_url is for the judge openai:MODEL, and the judge is rules"),
        ({"judge_repeats": 3}, "judge_repeats is for the judge openai:MODEL or hf:MODEL, and the judge is rules"),
        ({"judge": "hf:anything", "judge_requests": 3}, "judge_requests is for the judge openai:MODEL"),
        ({"judge": "hf:anything", "judge_repeats": 3}, "judge_repeats=3 would tell nothing"),
    ],
)
def test_options_that_the_judge_has_no_use_for(options, said):
    with pytest.raises(UsageError, match=said):
        MtBench(source="sandbox:mt_bench", **options)


def test_flags_of_a_benchmark_that_is_not_scored(cli, tmp_path):
    outcome = cli("evaluate", "sandbox:model", "--benchmarks", "mmlu", "--judge-repeats", "3", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "--judge-repeats sets the option judge_repeats of the benchmarks that have it, and of" in outcome.err


def test_an_address_that_is_not_the_judges(server):
    """Said before anything is generated; a server that cannot list its models, and hangs up over it, is one all the same."""

    def problems(url: str) -> list[str]:
        return list(open_judge("openai:model-x", url, RequestLimits(), ReplySettings()).problems())

    [said] = problems(server.url.removesuffix("/v1"))
    assert "no /chat/completions" in said
    assert f"Did you mean --judge-url {server.url}?" in said
    server.models = []
    assert problems(server.url) == []
    assert server.asked == []


def test_problems_before_anything_is_computed(server, monkeypatch):
    assert (
        list(open_judge("openai:other", server.url, RequestLimits(), ReplySettings()).problems()) == []
    )  # local servers load what is asked for
    gone = open_judge("openai:m", "http://127.0.0.1:1/v1", RequestLimits(), ReplySettings())
    assert "does not answer" in next(iter(gone.problems()))
    monkeypatch.setattr(remote, "LOOPBACK", ())
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert "Did you mean 'model-x'?" in next(
        iter(open_judge("openai:model-y", server.url, RequestLimits(), ReplySettings()).problems())
    )
    assert server.asked == []


def test_in_a_notebook(server):
    """An event loop runs already."""
    import asyncio

    async def cell() -> list[tuple[float, ...]]:
        return [verdict.ratings for verdict in panel(server).rate(exchanges(2), Journal(None))]

    assert asyncio.run(cell()) == [(8.0,), (8.0,)]


def test_the_judges_port_on_loopback_is_no_part_of_it():
    one, other = (open_judge("openai:m", f"http://127.0.0.1:{port}/v1", RequestLimits(), ReplySettings()) for port in (1, 2))
    assert one.identity == other.identity


WRITER = """
import sys
from pathlib import Path
from unlearnbench.scoring.judging.rater import Exchange, Rater, open_judge
from unlearnbench.scoring.judging.prompts import load_prompts
from unlearnbench.scoring.judging.judgment import ReplySettings
from unlearnbench.scoring.judging.remote import RequestLimits
judges = Rater(open_judge("openai:model-x", sys.argv[1], RequestLimits(concurrency=2), ReplySettings()), load_prompts(None), 1)
exchanges = [Exchange(id=f"{n}/turn-1", turns=(f"Question {n}?",), answers=(f"Answer {n}",)) for n in range(20)]
judges.rate(exchanges, judges.journal(Path(sys.argv[2])))
"""


def test_a_process_killed_while_judging_loses_only_what_was_on_its_way(server, tmp_path):
    """A real SIGKILL after six replies: at most the two requests under way are asked again."""

    def slowly(handler):
        time.sleep(0.1)
        say("[[6]]")(handler)

    server.faults = [slowly] * 40
    writer = subprocess.Popen([sys.executable, "-c", WRITER, server.url, str(tmp_path)])
    while len(server.asked) < 8 and writer.poll() is None:
        time.sleep(0.01)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    asked = len(server.asked)
    assert asked < 20
    server.faults.clear()
    judges = panel(server)
    verdicts = judges.rate(exchanges(20), judges.journal(tmp_path))
    assert all(verdict.ratings in ((6.0,), (8.0,)) for verdict in verdicts)
    assert sum(verdict.ratings == (6.0,) for verdict in verdicts) >= asked - 2
    assert len(server.asked) <= 22


def test_a_dry_run_estimates_and_asks_nothing(server, cli, tmp_path):
    out = tmp_path / "run"
    options = ("--judge", "openai:model-x", "--judge-url", server.url, "--judge-repeats", "3", "--out", out)
    outcome = cli("compare", "--reference", "chance", "--methods", "none", "--benchmarks", "mt_bench", "--dry-run", *options)
    assert outcome.code == 0, outcome.err
    assert "240 requests to a judge, about" in " ".join(outcome.out.split())
    assert server.asked == []
    assert server.listed == 1
    alone = cli("evaluate", "sandbox:model", "--benchmarks", "mt_bench", "--dry-run", *options)
    assert alone.code == 0, alone.err
    assert "240 requests to a judge, about" in " ".join(alone.out.split())
    assert "tokens to send and 48,000 in its replies" in " ".join(alone.out.split())
    gone = cli(
        "compare",
        "--reference",
        "chance",
        "--methods",
        "none",
        "--benchmarks",
        "mt_bench",
        *options,
        "--judge-url",
        "http://127.0.0.1:1/v1",
    )
    assert gone.code == 2
    assert "does not answer" in gone.err
    assert not out.exists()


def test_what_only_lacks_judgments_takes_no_model(server, cli, tmp_path, monkeypatch):
    """A rerun of a row whose weights were not kept: it is not trained again, the model is not even loaded."""
    from unlearnbench.models import restorable as loaded

    arguments = (
        "compare", "--reference", "chance", "--methods", "rmu", "--benchmarks", "mt_bench", "--limit", "1",
        "--keep-deltas", "none", "--set", "rmu.steps=1", "--set", "rmu.lr=1e-9",
        "--set", "rmu.batch_size=2", "--set", "mt_bench.judge=openai:model-x", "--judge-url", server.url, "--out",
        tmp_path / "run", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert cli(*arguments, "--set", "mt_bench.judge_requests=3").code == 1
    monkeypatch.setattr(loaded, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    rows = json.loads((tmp_path / "run" / "leaderboard.json").read_text())["rows"]
    assert [row["scores"]["mt_bench"]["scored"] for row in rows] == [4, 4]
    assert all(row["scores"]["mt_bench"]["coverage"] == 1 for row in rows)
