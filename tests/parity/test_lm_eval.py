"""Every log-probability equal to lm-eval's, item by item, option by option: `make parity`.

Three models: SmolLM2-135M on MMLU and WMDP, the sandbox's on all its questions, and a random one whose tokenizer works as
Llama 2's. lm-eval runs as a process of its own, in float32, and its scores are kept in UNLEARNBENCH_PARITY (runs/parity),
since they follow from versions, model and data alone.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from speed.figures import HERE, Unavailable, real_model, run

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.models.loading import load_model, load_tokenizer
from unlearnbench.records.items import Question
from unlearnbench.scoring.choice.log_likelihood import encode_questions, longest_text, score_questions
from unlearnbench_benchmarks.mcq import MultipleChoice
from unlearnbench_benchmarks.mmlu import Mmlu
from unlearnbench_benchmarks.wmdp import TITLES, Wmdp, WmdpCloze

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install '.[dev]'"),
]
MMLU = ("college_biology", "virology", "computer_security")  # 410 questions
CLOSE = 1e-3  # nats, on every option; and where lm-eval's best two differ by less, either may be chosen


def theirs(model: Path, data: Path, subjects: dict[str, str], *, shots: int = 0, cloze: bool = False) -> dict[str, list[float]]:
    """lm-eval's log-probabilities, by SUBJECT/INDEX; subjects: folder -> title in the prompt."""
    kept = Path(os.environ.get("UNLEARNBENCH_PARITY", "runs/parity"))
    versions = [importlib.metadata.version(name) for name in ("lm-eval", "torch", "transformers")]
    files = [file for folder in (model, *(data / subject for subject in subjects)) for file in sorted(folder.iterdir())]
    content = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()]
    key = hashlib.sha256(json.dumps([versions, content, subjects, shots, cloze]).encode()).hexdigest()
    out = kept / f"{key[:16]}.json"
    if not out.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        options = ["--subjects", ",".join(subjects), "--titles", ",".join(subjects.values()), "--shots", str(shots)]
        script = str(HERE / "lm_eval_side.py")
        run(sys.executable, script, str(model), str(data), str(out), *options, *(["--cloze"] if cloze else []))
    return json.loads(out.read_text())


def ours(folder: Path, questions: list[Question]) -> dict[str, list[float]]:
    """Our log-probabilities in float32, sums over an option's tokens, by question id."""
    model, tokenizer = load_model(folder, torch.float32, torch.device("cpu")), load_tokenizer(folder)
    texts = encode_questions(questions, tokenizer, limit=longest_text(model))
    results = score_questions(model, tokenizer, questions, texts=texts)
    return {result.id: list(result.logprobs) for result in results}


def compare(own: dict[str, list[float]], other: dict[str, list[float]], *, decided: bool = False) -> None:
    """The same items, the same figures, the same choices; prints the largest difference."""
    assert own.keys() == other.keys()
    assert own
    worst = max(abs(a - b) for name in own for a, b in zip(own[name], other[name], strict=True))
    clear = [name for name, values in other.items() if sorted(values)[-1] - sorted(values)[-2] > CLOSE]
    print(f"{len(own)} items, largest difference {worst:.1e} nats, {len(clear)} decided")
    assert worst <= CLOSE
    assert all(own[name].index(max(own[name])) == other[name].index(max(other[name])) for name in clear)
    assert len(clear) > (0.99 if decided else 0.5) * len(own)


@pytest.fixture(scope="module")
def smollm2() -> Path:
    try:
        return real_model()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def random_llama(tmp_path_factory) -> Path:
    """A tiny random Llama with word marks, byte fallback and BOS."""
    import transformers
    from helpers.word_marks import sentencepiece_tokenizer

    folder = tmp_path_factory.mktemp("sentencepiece") / "model"
    tokenizer = sentencepiece_tokenizer()
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=4096, **shape)
    config.initializer_range = 0.2  # far from uniform, so that choices are decided
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def words(subjects: tuple[str, ...]) -> dict[str, str]:
    return {subject: subject.replace("_", " ") for subject in subjects}


@pytest.mark.parametrize("shots", [0, 5])
def test_mmlu_on_smollm2(smollm2, real_data, shots):
    questions = list(Mmlu(source=str(real_data / "mmlu"), subjects=list(MMLU), shots=shots).questions)
    assert len(questions) == 410
    compare(ours(smollm2, questions), theirs(smollm2, real_data / "mmlu", words(MMLU), shots=shots))


def test_mmlu_cloze_on_smollm2(smollm2, real_data, tmp_path):
    """The options' texts as continuations; mcq's cloze questions, summed as lm-eval sums them."""
    questions: list[Question] = []
    for subject in MMLU:
        asked = MultipleChoice(source=f"{real_data / 'mmlu'}:{subject}#test", scoring="cloze").questions
        questions += [Question(f"{subject}/{i}", subject, q.context, q.continuations, q.answer) for i, q in enumerate(asked)]
    compare(ours(smollm2, questions), theirs(smollm2, real_data / "mmlu", words(MMLU), cloze=True))


def test_wmdp_on_smollm2(smollm2, real_data):
    questions = list(Wmdp(source=str(real_data / "wmdp")).questions)
    parts = {f"wmdp-{part}": TITLES[part] for part in ("bio", "cyber")}
    other = theirs(smollm2, real_data / "wmdp", parts)
    compare(ours(smollm2, questions), {name.removeprefix("wmdp-"): values for name, values in other.items()})


def test_sandbox():
    """All questions of a model that knows them: here choices are decided."""
    model, data = sandbox_folder() / "model", sandbox_folder() / "data"
    questions = list(Wmdp(source="sandbox:wmdp").questions)
    parts = {f"wmdp-{part}": title for part, title in TITLES.items()}
    other = {name.removeprefix("wmdp-"): values for name, values in theirs(model, data / "wmdp", parts).items()}
    compare(ours(model, questions), other, decided=True)
    subjects = list(dict.fromkeys(question.part for question in Mmlu(source="sandbox:mmlu").questions))
    for shots in (0, 5):
        questions = list(Mmlu(source="sandbox:mmlu", shots=shots).questions)
        other = theirs(model, data / "mmlu", words(tuple(subjects)), shots=shots)
        compare(ours(model, questions), other, decided=shots == 0)


@pytest.mark.parametrize("shots", [0, 5])
def test_sentencepiece(random_llama, real_data, shots):
    questions = list(Mmlu(source=str(real_data / "mmlu"), subjects=list(MMLU), shots=shots).questions)
    compare(ours(random_llama, questions), theirs(random_llama, real_data / "mmlu", words(MMLU), shots=shots))


def test_sentencepiece_cloze(random_llama):
    model, data = random_llama, sandbox_folder() / "data"
    questions = list(WmdpCloze(source="sandbox:wmdp").questions)
    other = theirs(model, data / "wmdp", {f"wmdp-{part}": title for part, title in TITLES.items()}, cloze=True)
    compare(ours(model, questions), {name.removeprefix("wmdp-"): values for name, values in other.items()})
