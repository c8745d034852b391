from __future__ import annotations

import json
import shutil

import pytest

from unlearnbench.errors import UsageError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.generation.chat import Request
from unlearnbench.scoring.judging.judgment import Inquiry, Judgment, ReplySettings, without_system
from unlearnbench.scoring.judging.rater import Exchange, open_judge
from unlearnbench.scoring.judging.remote import RequestLimits
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question_id": None}, "line 1, has null in its column 'question_id', where a text or a whole number must stand"),
        ({"question_id": [1]}, "line 1, has a list in its column 'question_id'"),
        ({"category": ["math"]}, "line 1, has a list in its column 'category'"),
        ({"turns": ["a", 2]}, "line 1, needs its turns as a list of texts"),
        ({"reference": "one text"}, "line 1, has a text in its column 'reference', where a list of texts must stand"),
        ({"reference": ["x", None]}, "line 1, has a list with null in its column 'reference'"),
    ],
)
def test_rows_with_what_is_no_text(tmp_path, change, said):
    file = tmp_path / "question.jsonl"
    file.write_text(json.dumps({"question_id": 1, "turns": ["a", "b"], "reference": ["x", "y"], **change}) + "\n")
    with pytest.raises(UsageError, match=said):
        MtBench(source=str(file)).digest()


@pytest.mark.parametrize("turns", ["both in one text", ["a", None], [1, 2]])
def test_reference_answers_that_are_no_text(tmp_path, turns):
    (tmp_path / "question.jsonl").write_text(json.dumps({"question_id": 1, "turns": ["a", "b"]}) + "\n")
    (tmp_path / "reference_answer").mkdir()
    (tmp_path / "reference_answer" / "x.jsonl").write_text(json.dumps({"question_id": 1, "choices": [{"turns": turns}]}))
    with pytest.raises(UsageError, match=r"x\.jsonl, line 1, needs the answers as choices\[0\]\.turns, a list of texts, as"):
        MtBench(source=str(tmp_path)).digest()


def test_temperature_goes_by_category(tmp_path, tiny_model, tokenizer, monkeypatch):
    """FastChat's, and .7 for a category that it does not know; the same at both turns."""
    from unlearnbench.scoring.generation import generate as module

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


def test_fastchats_prompts(real_data):
    """By path, for the exact protocol: one turn and two, with a reference and without."""
    options = {"judge": "openai:m", "judge_url": URL}
    folder = real_data / "mt_bench"
    theirs = MtBench(source=str(folder), judge_prompts=str(folder / "judge_prompts.jsonl"), **options)
    assert theirs.digest() != MtBench(source=str(folder), **options).digest()
    assert theirs.rater is not None
    prompts = theirs.rater.prompts
    rows = [json.loads(line) for line in (folder / "judge_prompts.jsonl").read_text().splitlines()]
    named = {row["name"]: row for row in rows}
    for name, turns, references in [
        ("single-v1", 1, []), ("single-math-v1", 1, ["R1"]), ("single-v1-multi-turn", 2, []),
        ("single-math-v1-multi-turn", 2, ["R1", "R2"]),
    ]:  # fmt: skip
        asked, said = ["Q{1}", "Q2"][:turns], ["A1", "A{answer}2"][:turns]
        system, user = prompts.messages(asked, said, references)
        assert system["content"] == named[name]["system_prompt"]
        fields = {"question": asked[-1], "answer": said[-1], "question_1": "Q{1}", "answer_1": "A1", "question_2": "Q2"}
        fields |= {"answer_2": "A{answer}2", "ref_answer_1": "R1", "ref_answer_2": "R2"}
        assert user["content"] == named[name]["prompt_template"].format(**fields)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"type": "single", "prompt_template": "{question} {answer"}, "stray brace"),
        ({"type": "single", "prompt_template": ["{question}"]}, "line 1, needs texts as its prompt_template and"),
        ({"type": "single", "prompt_template": "{question.__class__}"}, "has the field '{question.__class__}'"),
        ({"type": "single", "prompt_template": "{question} {answer}"}, "no prompt of type 'single' for one turn with"),
        ({"type": "pairwise", "prompt_template": "{question}"}, "no prompt of type 'single' for one turn without"),
    ],
)
def test_damaged_judge_prompts(tmp_path, row, message):
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match=message.replace("{", r"\{").replace("}", r"\}")):
        MtBench(judge="openai:m", judge_url=URL, judge_prompts=str(file))
    with pytest.raises(UsageError, match="There is no file of judge prompts"):
        MtBench(judge="openai:m", judge_url=URL, judge_prompts=str(tmp_path / "no"))


def test_references_are_replaced(real_data, tmp_path):
    """One of the disputed ones; the other 29 stay, and the digest is another."""
    file = tmp_path / "better.jsonl"
    file.write_text(json.dumps({"question_id": 101, "choices": [{"turns": ["Second place.", "It cannot happen."]}]}) + "\n")
    options = {"source": str(real_data / "mt_bench"), "judge": "openai:m", "judge_url": URL}
    old, new = MtBench(**options), MtBench(**options, references=str(file))
    changed = [item.id for item, other in zip(old.items, new.items, strict=True) if item.references != other.references]
    assert changed == ["101"]
    assert old.digest() != new.digest()
    file.write_text(json.dumps({"question_id": 101, "choices": [{"turns": ["only one"]}]}) + "\n")
    with pytest.raises(UsageError, match="question 101 are for 1 of its 2 turns"):
        MtBench(**options, references=str(file)).digest()
    file.write_text(json.dumps({"question_id": 999, "choices": [{"turns": ["x"]}]}) + "\n")
    with pytest.raises(UsageError, match="has no such question"):
        MtBench(**options, references=str(file)).digest()
    with pytest.raises(UsageError, match="There is no file of reference answers"):
        MtBench(**options, references="nowhere.jsonl").digest()


def test_what_cannot_change_a_score_is_in_no_identity(real_data):
    from unlearnbench.planning.plan import BenchmarkPlan
    from unlearnbench.plugins.registry import find_plugin

    def identity(**options) -> list[object]:
        given = {"source": str(real_data / "mt_bench"), "judge": "openai:m", "judge_url": URL, **options}
        plugin = find_plugin("benchmark", "mt_bench")
        return BenchmarkPlan(name="mt_bench", plugin=plugin, options=given, benchmark=MtBench(**given)).identity(None)

    same = identity()
    assert identity(judge_timeout=5.0, judge_requests=3, judge_concurrency=1, batch_size=2) == same
    assert identity(judge_repeats=2) != same
    assert identity(judge="openai:n") != same
    assert identity(judge_url="http://127.0.0.1:99/v2") != same


def test_questions_twice_under_one_id(tmp_path):
    rows = [{"question_id": 1, "turns": ["a", "b"]}, {"question_id": 1, "turns": ["c", "d"]}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UsageError, match=r"line 2, has the question_id 1, as has .*line 1"):
        MtBench(source=str(tmp_path / "q.jsonl"), judge="openai:m", judge_url=URL).digest()
    (tmp_path / "q.jsonl").write_text(json.dumps({"question_id": 1, "turns": ["a", "b", "c"]}) + "\n")
    with pytest.raises(UsageError, match="has 3 turns"):
        MtBench(source=str(tmp_path / "q.jsonl"), judge="openai:m", judge_url=URL).digest()


def test_a_judge_in_memory(tiny_folder, tiny_model, tokenizer, tmp_path, monkeypatch):
    """A random model is a poor judge: it is asked three times, and what it says is no rating; a lucky one is kept."""
    from unlearnbench.scoring.judging import local

    folder = tmp_path / "judge"
    shutil.copytree(tiny_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    benchmark = MtBench(source="sandbox:mt_bench", judge=f"hf:{folder}", judge_reply_tokens=6, max_new_tokens=3)
    assert benchmark.estimate(None).judge_requests == 0
    places = {"seed": 0, "limit": 1, "progress": lambda _: None, "weights": "a" * 64, "keep": tmp_path}
    subject = Subject(model=tiny_model, tokenizer=tokenizer, **places)
    results = list(benchmark.evaluate(subject))
    assert [result.scored for result in results] == [False] * 4
    assert all("no rating from 1 to 10 in 3 tries" in result.error for result in results)
    monkeypatch.setattr(local, "parse_rating", lambda text: 4.0)
    loads = []
    load = local.load_model
    monkeypatch.setattr(local, "load_model", lambda *place: loads.append(place) or load(*place))
    again = MtBench(source="sandbox:mt_bench", judge=f"hf:{folder}", judge_reply_tokens=6, max_new_tokens=3)
    for _ in range(2):
        assert [result.score for result in again.evaluate(subject)] == [4.0] * 4
    assert len(loads) == 1


def test_a_judge_in_memory_whose_template_knows_no_system_role(tiny_folder, tmp_path):
    """The system's text stands at the head of the user's; a template that refuses everything is said beforehand."""
    folder = tmp_path / "judge"
    shutil.copytree(tiny_folder, folder)
    template = folder / "chat_template.jinja"
    refusal = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    template.write_text(refusal + "{% for m in messages %}{{ m.content }}\n{% endfor %}")
    judge = open_judge(f"hf:{folder}", None, RequestLimits(), ReplySettings(tokens=2))
    assert list(judge.problems()) == []
    said = [{"role": "system", "content": "Be strict."}, {"role": "user", "content": "Rate it."}]
    judged: list[Judgment] = []
    judge.rate([Inquiry(key="k", messages=said, about={})], lambda _, judgment: judged.append(judgment))
    assert "no rating from 1 to 10" in judged[0].error
    assert without_system(said) == [{"role": "user", "content": "Be strict.\n\nRate it."}]
    template.write_text("{% if messages|length > 2 %}{{ raise_exception('no follow-up') }}{% endif %}" + template.read_text())
    [problem] = open_judge(f"hf:{folder}", None, RequestLimits(), ReplySettings()).problems()
    assert "refuses a conversation of user, assistant, user: no follow-up." in problem  # it insists on a rating
    template.write_text("{{ raise_exception('no') }}")
    [problem] = open_judge(f"hf:{folder}", None, RequestLimits(), ReplySettings()).problems()
    assert f"The judge {folder} cannot be asked: " in problem


def test_a_folder_stands_in_the_head_by_its_own_name(tiny_folder):
    assert MtBench(source="sandbox:mt_bench", judge=f"hf:{tiny_folder}").metric.note == "hf:model"
    assert MtBench(judge="openai:meta/llama", judge_url=URL).metric.note == "openai:meta/llama"
