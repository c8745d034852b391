"""`lm-eval:TASK` on a task made here, against lm-eval itself."""

from __future__ import annotations

import importlib.util
import json
import math
import statistics
from pathlib import Path

import pytest
import yaml
from conftest import tiny_llama
from helpers.ending import ending

from unlearnbench.errors import UsageError
from unlearnbench.scoring.benchmark import Subject

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install '.[dev]'"),
    pytest.mark.filterwarnings("ignore"),  # of lm-eval
]
WORDS = ("moth", "heron", "vole", "otter")


def write_task(folder: Path, **changes: object) -> Path:
    rows = [
        {"question": f"Which animal has number {n}?", "choices": [WORDS[(n + k) % 4] for k in range(4)], "answer": n % 4}
        for n in range(8)
    ]
    (folder / "animals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "animals",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "animals.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [
            {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
            {"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True},
        ],
        **changes,
    }
    (folder / "animals.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
        yield write_task(tmp_path_factory.mktemp("tasks"))


def benchmark(folder: Path, task: str = "animals", **options):
    from unlearnbench_benchmarks.harness import LmEval

    return LmEval(argument=task, include=str(folder), **options)


def test_scores_are_lm_evals_own(folder, tokenizer):
    """Item by item; its standard error is that of the items."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model, done = tiny_llama(), []
    ours = benchmark(folder)
    items = list(ours.evaluate(Subject(model=model, tokenizer=tokenizer, seed=0, limit=None, progress=done.append)))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)
    theirs = simple_evaluate(model=lm, tasks=["animals"], task_manager=manager, bootstrap_iters=100)
    result, samples = theirs["results"]["animals"], theirs["samples"]["animals"]
    assert [item.score for item in items] == [sample["acc"] for sample in samples]
    for item, sample in zip(items, samples, strict=True):
        assert item.logprobs == pytest.approx([float(answer[0]) for answer in sample["filtered_resps"]], abs=1e-4)
        assert (item.id, item.answer) == (f"animals/{sample['doc_id']}", sample["target"])
    scores = [item.score for item in items]
    assert statistics.fmean(scores) == pytest.approx(result["acc,none"])
    assert statistics.stdev(scores) / math.sqrt(len(scores)) == pytest.approx(result["acc_stderr,none"])
    assert sum(done) == len(items) == ours.count(None) == 8


def test_direction_and_chance_are_the_tasks(tmp_path, folder):
    assert (benchmark(folder).metric.name, benchmark(folder).metric.better) == ("acc", "higher")
    assert benchmark(folder).metric.chance == 0.25
    turned = [{"metric": "acc", "aggregation": "mean", "higher_is_better": False}]
    assert benchmark(write_task(tmp_path, metric_list=turned)).metric.better == "lower"
    assert benchmark(folder, metric="acc_norm", chance=0.3).metric.chance == 0.3


def test_chance_is_what_blind_choices_score(tmp_path, folder):
    """A share of true answers, as truthfulqa_mc2 scores it; two right answers of four."""
    mass = benchmark(folder)

    def share_of_the_first_two(doc, results):
        weights = [math.exp(result[0]) for result in results]
        return {"acc": sum(weights[:2]) / sum(weights)}

    mass.tasks["animals"].config.process_results = share_of_the_first_two
    assert mass.chance == pytest.approx(0.5, abs=1e-5)
    rows = [{"question": "Which?", "choices": list(WORDS), "answer": [0, 2]} for _ in range(4)]
    write_task(tmp_path)
    (tmp_path / "animals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert benchmark(tmp_path).chance == 0.5


def test_items_can_be_read(folder):
    texts = list(benchmark(folder).texts())
    assert (texts[1].id, texts[1].options) == ("animals/1", ("heron", "vole", "otter", "moth"))
    assert texts[1].text.startswith("Question: Which animal has number 1?")


def test_what_cannot_be_asked_is_known_before(folder, tokenizer):
    """A filter that the task has not; a chat template that the tokenizer has not."""
    import copy

    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    assert list(benchmark(folder, chat=True).preflight({"mine": tokenizer})) == []
    (said,) = benchmark(folder, chat=True).preflight({"mine": plain})
    assert said.startswith("chat=true needs a chat template, and the tokenizer of mine has none")
    (said,) = benchmark(folder, answer_filter="strict").preflight({})
    assert said == "Unknown filter of animals 'strict'. Available: none."


def test_written_answers_are_estimated(tmp_path):
    changes = {"output_type": "generate_until", "doc_to_target": "{{choices[answer]}}", "doc_to_choice": None}
    metrics = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    written = benchmark(write_task(tmp_path, **changes, metric_list=metrics, generation_kwargs={"max_gen_toks": 7}))
    assert (written.estimate(3).items, written.estimate(3).generated, written.chance) == (3, 21, 0.0)


def test_limit_parts_and_digest(folder):
    one, other = benchmark(folder), benchmark(folder, shots=0)
    assert (one.count(3), one.parts()) == (3, ["animals"])
    assert one.digest() == benchmark(folder).digest()
    assert one.digest() != benchmark(folder, metric="acc_norm").digest()
    assert other.digest()


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({}, {"task": ""}, "needs a task after a colon"),
        ({}, {"task": "animls"}, "'animls'. Did you mean 'animals'"),
        ({}, {"metric": "accuracy"}, "Unknown metric of animals 'accuracy'. Available: acc, acc_norm"),
        ({"metric_list": [{"metric": "perplexity"}]}, {}, "is no mean over items"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, changes, options, said):
    with pytest.raises(UsageError) as caught:
        benchmark(write_task(tmp_path, **changes), **options).metric  # noqa: B018 - reads the task
    assert said in str(caught.value)


def test_task_that_runs_code_is_refused(tmp_path):
    write_task(tmp_path)
    with (tmp_path / "animals.yaml").open("a") as file:
        file.write("process_docs: !function code.run\n")
    with pytest.raises(UsageError, match="names Python code"):
        benchmark(tmp_path).parts()


def test_runs_inside_a_comparison(cli, folder, tiny_folder, tmp_path):
    outcome = cli(
        "evaluate", tiny_folder, "--benchmarks", "lm-eval:animals", "--set", f"lm-eval:animals.include={folder}",
        "--limit", 4, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (cell,) = (tmp_path / "run" / "cells" / "none" / "lm-eval--animals").glob("seed-0-*.json")
    content = json.loads(cell.read_text())
    assert (content["n"], content["metric"]["name"], content["metric"]["chance"]) == (4, "acc", 0.25)
    assert list(content["parts"]) == ["animals"]


def test_passes_the_checks(folder):
    """Those of every benchmark, with the right answers from the task's own questions."""
    from unlearnbench.plugins.registry import find_plugin
    from unlearnbench.testing import checks_of

    def answers(benchmark, tokenizer):
        for task in benchmark.tasks.values():
            for doc in task.eval_docs:
                yield task.doc_to_text(doc), f" {doc['choices'][doc['answer']]}"

    spec = find_plugin("benchmark", "lm-eval").spec
    outcomes = [c.outcome() for c in checks_of(spec, {"argument": "animals", "include": str(folder)}, None, answers)]
    assert [(outcome.check, outcome.message) for outcome in outcomes if outcome.status != "passed"] == []


def test_a_tokenizer_that_ends_every_text_scores_the_same(folder, tokenizer):
    """lm-eval takes the border for the length of the context's tokens, an end token behind them included."""
    own = benchmark(folder)
    usual, changed = (
        list(own.evaluate(Subject(model=tiny_llama(), tokenizer=each, seed=0, limit=None, progress=lambda _: None)))
        for each in (tokenizer, ending(tokenizer))
    )
    assert changed == usual
