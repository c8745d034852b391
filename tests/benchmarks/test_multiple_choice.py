"""What wmdp, mmlu and mcq ask, to the character, and what they say about rows that cannot be asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unlearnbench.errors import UsageError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench_benchmarks.mcq import MultipleChoice
from unlearnbench_benchmarks.mmlu import Mmlu
from unlearnbench_benchmarks.wmdp import Wmdp

ROW = {"question": "  Which one? ", "choices": ["moth", "heron", "vole", "eel"], "answer": 2}
ASKED = "Which one?\nA. moth\nB. heron\nC. vole\nD. eel\nAnswer:"
OPENING = "The following are multiple choice questions (with answers) about {}."


def rows(path: Path, *content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.mark.parametrize(("newlines", "gap"), [(2, "\n\n"), (1, "\n")])
def test_prompt_of_wmdp(tmp_path, newlines, gap):
    """As lm-eval renders it today, and as 0.4.2 did for the paper's numbers."""
    for part in ("bio", "cyber", "chem"):
        rows(tmp_path / f"wmdp-{part}" / "test.jsonl", ROW)
    asked = Wmdp(source=str(tmp_path), newlines=newlines).questions
    titles = {"bio": "biology", "chem": "chemistry", "cyber": "cybersecurity"}
    assert {question.part: question.context for question in asked} == {
        part: OPENING.format(title) + gap + ASKED for part, title in titles.items()
    }
    assert all(question.continuations == (" A", " B", " C", " D") for question in asked)
    assert all(question.answer == 2 for question in asked)


def test_parts_of_wmdp(tmp_path):
    rows(tmp_path / "wmdp-bio" / "test.jsonl", ROW)
    assert Wmdp(source=str(tmp_path)).parts() == ["bio"]
    with pytest.raises(UsageError, match=r"Unknown part of .* 'chem'.* Available: bio"):
        Wmdp(source=str(tmp_path), parts=["bio", "chem"]).digest()


def test_prompt_of_mmlu_with_examples_from_dev_in_order(tmp_path):
    dev = [{"question": f"dev {number}", "choices": ["a", "b"], "answer": number % 2} for number in range(5)]
    rows(tmp_path / "high_school_biology" / "dev.jsonl", *dev)
    rows(tmp_path / "high_school_biology" / "test.jsonl", ROW)
    head = OPENING.format("high school biology") + "\n\n"
    assert Mmlu(source=str(tmp_path)).questions[0].context == head + ASKED
    examples = "dev 0\nA. a\nB. b\nAnswer: A\n\ndev 1\nA. a\nB. b\nAnswer: B\n\n"
    assert Mmlu(source=str(tmp_path), shots=2).questions[0].context == head + examples + ASKED


def test_shots_that_there_are_not():
    with pytest.raises(UsageError, match=r"mmlu\.shots=6 is more than the 5 examples in the dev split of sandbox:mmlu:"):
        Mmlu(source="sandbox:mmlu", shots=6).digest()


def test_subjects_of_mmlu(tmp_path):
    """The hub's data set also has `all` and `auxiliary_train`, which are no subjects."""
    for subject in ("virology", "astronomy", "all", "auxiliary_train"):
        rows(tmp_path / subject / "test.jsonl", ROW)
    assert Mmlu(source=str(tmp_path)).parts() == ["astronomy", "virology"]
    assert Mmlu(source=str(tmp_path), subjects=["virology"]).parts() == ["virology"]
    with pytest.raises(UsageError, match="Did you mean 'virology'"):
        Mmlu(source=str(tmp_path), subjects=["virologi"]).digest()


def test_score_of_mmlu_weighs_questions_not_subjects(cli, tmp_path):
    """Micro average: nine of ten right and one of two right are 10/12."""
    import torch

    from unlearnbench.data.sources import sandbox_folder
    from unlearnbench.data.tables import read_table
    from unlearnbench.models.loading import load_model, load_tokenizer

    known = read_table("sandbox:mmlu:astronomy", default_split="test").rows
    wrong = [{**row, "answer": (row["answer"] + 1) % 4} for row in known]
    rows(tmp_path / "data" / "astronomy" / "test.jsonl", *known[:9], wrong[9])
    rows(tmp_path / "data" / "prehistory" / "test.jsonl", known[10], wrong[11])
    outcome = cli(
        "evaluate", "sandbox:model", "--benchmarks", "mmlu", "--set", f"mmlu.source={tmp_path / 'data'}",
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    score = json.loads(outcome.out)["rows"][0]["scores"]["mmlu"]
    assert score["value"] == pytest.approx(10 / 12, abs=1e-6)
    assert {part: own["value"] for part, own in score["parts"].items()} == {"astronomy": 0.9, "prehistory": 0.5}
    folder = sandbox_folder() / "model"
    model, tokenizer = load_model(folder, torch.float32, torch.device("cpu")), load_tokenizer(folder)
    benchmark = Mmlu(source=str(tmp_path / "data"))
    results = benchmark.evaluate(Subject(model=model, tokenizer=tokenizer, seed=0, limit=1, progress=lambda _: None))
    assert [result.id for result in results] == ["astronomy/0", "prehistory/0"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_questions_of_ones_own(tmp_path, ending):
    import pyarrow
    import pyarrow.parquet

    own = [
        {"question": "one", "choices": ["moth", "heron"], "answer": 1, "part": "first"},
        {"question": "two", "choices": ["vole", "eel"], "answer": 0, "part": "second"},
    ]
    file = tmp_path / f"own.{ending}"
    if ending == "jsonl":
        rows(file, *own)
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(own), file)
    letter, cloze = (MultipleChoice(source=str(file), scoring=scoring) for scoring in ("letter", "cloze"))
    assert letter.questions[0].context == "one\nA. moth\nB. heron\nAnswer:"
    assert letter.questions[0].continuations == (" A", " B")
    assert cloze.questions[0].context == "Question: one\nAnswer:"
    assert cloze.questions[0].continuations == (" moth", " heron")
    assert (letter.per_token, cloze.per_token) == (False, True)
    assert letter.parts() == ["first", "second"]
    assert [question.answer for question in letter.questions] == [1, 0]
    assert letter.metric.chance == 0.5
    assert letter.digest() != cloze.digest()


@pytest.mark.parametrize(("given", "answer"), [("C", 2), ("c", 2), ("2", 2), (2.0, 2), (0, 0)])
def test_answers_may_be_letters_or_indices(tmp_path, given, answer):
    file = rows(tmp_path / "own.jsonl", {**ROW, "answer": given})
    assert MultipleChoice(source=str(file)).questions[0].answer == answer


@pytest.mark.parametrize("given", ["E", 4, -1, "moth", True, 1.5, [1]])
@pytest.mark.parametrize("benchmark", ["wmdp", "mmlu", "mcq"])
def test_answers_that_there_are_not(tmp_path, benchmark, given):
    file = rows(tmp_path / "wmdp-bio" / "test.jsonl", ROW, {**ROW, "answer": given})
    made = {"wmdp": Wmdp, "mmlu": Mmlu, "mcq": MultipleChoice}[benchmark](source=str(file if benchmark == "mcq" else tmp_path))
    with pytest.raises(UsageError, match=r"test\.jsonl, line 2, needs as answer an index from 0 to 3 or a letter from A to D"):
        made.digest()


@pytest.mark.parametrize("benchmark", [Wmdp, Mmlu])
def test_choices_that_are_none(tmp_path, benchmark):
    rows(tmp_path / "wmdp-bio" / "test.jsonl", {**ROW, "choices": "moth"})
    with pytest.raises(UsageError, match=r"test\.jsonl, line 1, needs a list of 2 to 26 choices; got 'moth'"):
        benchmark(source=str(tmp_path)).digest()
