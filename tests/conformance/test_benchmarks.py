"""Every benchmark that comes with unlearnbench passes every check on the sandbox's questions."""

from __future__ import annotations

import json

import pytest
from helpers.toy_data import write_muse, write_tofu

from unlearnbench.plugins.registry import find_plugin, list_plugins
from unlearnbench.scoring.generation.chat import render_chat
from unlearnbench.testing import Check, checks_of, parameters_of

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers and torch among themselves


def conversations(benchmark, tokenizer):
    """Each turn of MT-Bench with its reference answer; the answers before it are the references, too."""
    for item in benchmark.items:
        talk = []
        for turn, reference in zip(item.turns, item.references, strict=False):
            talk.append({"role": "user", "content": turn})
            yield render_chat(talk, tokenizer), reference
            talk.append({"role": "assistant", "content": reference})


SETTINGS = {
    "mmlu": {"source": "sandbox:mmlu"},
    "mt_bench": {"source": "sandbox:mt_bench", "judge": "rules", "max_new_tokens": 32},
    "neutral": {},
    "wmdp": {"source": "sandbox:wmdp"},
    "wmdp-cloze": {"source": "sandbox:wmdp"},
    "wmdp-shuffled": {"source": "sandbox:wmdp"},
}
ANSWERS = {"mt_bench": conversations}
CHECKS: list[Check] = []
for info in list_plugins("benchmark"):
    if info.distribution == "unlearnbench" and info.name in SETTINGS:
        spec = find_plugin("benchmark", info.name).spec
        CHECKS += checks_of(spec, SETTINGS[info.name], answers=ANSWERS.get(info.name))


@pytest.mark.parametrize("check", parameters_of(CHECKS))
def test_benchmark(check):
    check()


def test_questions_of_ones_own(tmp_path):
    """mcq, on a file made here: two parts, every letter right equally often."""
    rows = [
        {
            "question": f"What is {n} plus 3?",
            "choices": [str(n + 3 + k - n % 4) for k in range(4)],
            "answer": n % 4,
            "part": part,
        }
        for part in ("small", "large")
        for n in range(40)
    ]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = find_plugin("benchmark", "mcq").spec
    outcomes = [check.outcome() for check in checks_of(spec, {"source": str(tmp_path / "sums.jsonl")})]
    assert [(outcome.check, outcome.message) for outcome in outcomes if outcome.status != "passed"] == []


def tofu_answers(benchmark, tokenizer):
    """Each question with its answer; those of the holdout are read, not asked."""
    for item in benchmark.items:
        yield benchmark.template.texts(item.question, item.answer, tokenizer)[0], item.answer


def muse_answers(benchmark, tokenizer):
    """Each passage with what follows, each question with its answer."""
    for item in benchmark.items:
        examples = benchmark.examples.get(item.part)
        yield benchmark.template.texts(item.asked, "", tokenizer, examples)[0] if examples else item.asked, item.wanted


@pytest.mark.parametrize(
    ("name", "write", "options", "answers"),
    [
        ("tofu", write_tofu, {"split": "mine", "max_new_tokens": 12}, tofu_answers),
        ("muse", write_muse, {"max_length": 200}, muse_answers),
    ],
)
def test_benchmarks_with_data_of_their_own(tmp_path, name, write, options, answers):
    """TOFU and MUSE, on a handful of items made here."""
    source = write(tmp_path)
    settings = {"source": source, **options, **({"holdout": f"{source}:others"} if name == "tofu" else {})}
    spec = find_plugin("benchmark", name).spec
    outcomes = [check.outcome() for check in checks_of(spec, settings, answers=answers)]
    assert [(outcome.check, outcome.message) for outcome in outcomes if outcome.status != "passed"] == []


def test_every_benchmark_is_checked():
    """lm-eval, which is an extra, is checked with its own tests."""
    ours = {info.name for info in list_plugins("benchmark") if info.distribution == "unlearnbench"}
    assert ours == {*SETTINGS, "mcq", "tofu", "muse", "lm-eval"}
