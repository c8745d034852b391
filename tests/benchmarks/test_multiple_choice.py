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


def hendrycks(folder: Path) -> Path:
    """The authors' own files: no header, letters, quotes where they must be."""
    for split, count in (("dev", 5), ("test", 7)):
        (folder / split).mkdir(parents=True)
        for subject in ("virology", "college_biology"):
            lines = "".join(f'"{subject} {split} {n},\nor ""{n}""?",w,"x, x",None,3,{"ABCD"[n % 4]}\r\n' for n in range(count))
            (folder / split / f"{subject}_{split}.csv").write_bytes(lines.encode())
    (folder / "auxiliary_train").mkdir()
    (folder / "auxiliary_train" / "race.csv").write_text("not,asked\n")
    return folder


def test_layouts_of_mmlu_ask_the_same(tmp_path):
    """Hendrycks' files, one config for each subject, the config `all`, and the folder of that config alone."""
    everything: dict[str, list[dict]] = {"dev": [], "test": []}
    for subject in ("college_biology", "virology"):
        for split, count in (("dev", 5), ("test", 7)):
            options = ["w", "x, x", "None", "3"]
            own = [
                {"question": f'{subject} {split} {n},\nor "{n}"?', "choices": options, "answer": n % 4} for n in range(count)
            ]
            rows(tmp_path / "configs" / subject / f"{split}.jsonl", *own)
            everything[split] += [{**row, "subject": subject} for row in own]
    for split, own in everything.items():
        rows(tmp_path / "one" / "all" / f"{split}.jsonl", *own)
    sources = (tmp_path / "configs", hendrycks(tmp_path / "csv"), tmp_path / "one", tmp_path / "one" / "all")
    asked = [Mmlu(source=str(source), shots=2) for source in sources]
    assert asked[0].parts() == ["college_biology", "virology"]
    assert asked[0].questions[0].context.startswith(OPENING.format("college biology"))
    assert [list(one.questions) for one in asked[1:]] == 3 * [list(asked[0].questions)]
    assert [q.id for q in Mmlu(source=str(tmp_path / "one"), subjects=["virology"]).questions][-1] == "virology/6"
    with pytest.raises(UsageError, match=r"mmlu\.shots=6 is more than the 5 examples"):
        Mmlu(source=str(tmp_path / "csv"), shots=6).digest()


def test_what_mmlu_cannot_ask(tmp_path):
    file = rows(tmp_path / "one" / "test.jsonl", ROW)
    with pytest.raises(UsageError, match=r"is a single file; mmlu needs a data set with a config for each subject, or"):
        Mmlu(source=str(file)).digest()
    with pytest.raises(UsageError, match=r"line 1, has no column 'subject'"):
        Mmlu(source=str(file.parent)).digest()
    folder = hendrycks(tmp_path / "csv")
    broken = folder / "test" / "virology_test.csv"
    broken.write_text("unquoted, comma,w,x,y,z,A\n")
    with pytest.raises(
        UsageError, match=r"virology_test\.csv, line 1, has 7 values for 6 columns \(question, A, B, C, D, answer"
    ):
        Mmlu(source=str(folder)).digest()
    broken.write_text("question,w,x,,z,A\n")
    with pytest.raises(UsageError, match=r"virology_test\.csv, line 1, has an empty text as choice C"):
        Mmlu(source=str(folder)).digest()


def test_a_benchmark_without_questions(tmp_path):
    class Nothing(MultipleChoice):
        def load_questions(self):
            return []

    for half, said in ((None, "Nothing has no questions;"), ("reporting", "Nothing has no questions in the reporting half;")):
        benchmark = Nothing(source="none")
        if half:
            benchmark.keep_half(half)
        with pytest.raises(UsageError, match=said):
            _ = benchmark.metric


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


BENCHMARKS = {"wmdp": Wmdp, "mmlu": Mmlu, "mcq": MultipleChoice}


def digest(benchmark: str, folder: Path, *content: dict) -> str:
    file = rows(folder / "wmdp-bio" / "test.jsonl", *content)
    return BENCHMARKS[benchmark](source=str(file if benchmark == "mcq" else folder)).digest()


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"choices": ["red", None]}, "has null as choice B; each choice must be a text, in quotes"),
        ({"choices": [["red"], "blue"]}, "has a list as choice A"),
        ({"choices": ["red", {"text": "blue"}]}, "has an object as choice B"),
        ({"choices": ["1", 2]}, "has the number 2 as choice B"),
        ({"choices": ["true", False]}, "has false as choice B"),
        ({"choices": ["red", "  "]}, "has an empty text as choice B"),
        ({"question": 7}, "has the number 7 in its column 'question', where a text must stand"),
        ({"question": ["a"]}, "has a list in its column 'question'"),
        ({"question": None}, "has null in its column 'question'"),
    ],
)
def test_questions_and_choices_that_are_no_text(tmp_path, benchmark, change, said):
    with pytest.raises(UsageError, match=rf"test\.jsonl, line 2, {said}"):
        digest(benchmark, tmp_path, {**ROW, "answer": 0}, {**ROW, "answer": 0, **change})


def test_parts_are_texts_or_whole_numbers(tmp_path):
    def parts(*given: object) -> list[str]:
        return MultipleChoice(source=str(rows(tmp_path / "own.jsonl", *({**ROW, "part": part} for part in given)))).parts()

    assert parts("a", 0, 3, None) == ["a", "0", "3", "all"]
    for wrong, said in ((["a"], "a list"), (True, "true"), (0.5, "the number 0.5")):
        with pytest.raises(UsageError, match=f"line 1, has {said} in its column 'part', where a text or a whole number must"):
            parts(wrong)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize("answers", [[1, 2, 3, 1, 2, 3], ["1", "2", "3", "1", "2", "3"], [3.0, 2.0, 1.0, 1.0, 1.0, 1.0]])
def test_answers_that_count_from_one(tmp_path, benchmark, answers):
    with pytest.raises(
        UsageError, match=r"line 1, has the answer [0-3.]+, and no answer of .* is 0: they seem to count from 1"
    ):
        digest(benchmark, tmp_path, *({**ROW, "answer": answer} for answer in answers))
    with pytest.raises(UsageError, match=r"line 2, .* got 4; answers that count from 1 must be one less each, or letters\."):
        digest(benchmark, tmp_path, {**ROW, "answer": 1}, {**ROW, "answer": 4})


@pytest.mark.parametrize("answers", [[1, 2, 3, 1, 2], [1, 2, 3, 1, 2, 0], [1, 1, 1, 1, 1, "A"], ["B", "C", "D", "B", "C", "D"]])
def test_answers_that_do_not(tmp_path, answers):
    """Too few to wonder at (four of 21 dev splits of MMLU have no A among their five), or letters, or a first choice."""
    assert digest("mcq", tmp_path, *({**ROW, "answer": answer} for answer in answers))
