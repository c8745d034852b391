"""MUSE on hand-made passages: every value against a naive loop per metric, profiles, and what is refused."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
import torch
from helpers.toy_data import MUSE_FILES, write_muse
from helpers.toy_tokenizers import toy
from transformers import LlamaConfig, LlamaForCausalLM

from unlearnbench.errors import UsageError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.measures import faults, measure_score
from unlearnbench_benchmarks.muse import Muse
from unlearnbench_benchmarks.openunlearning.figures import attack_auc


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    return write_muse(tmp_path_factory.mktemp("muse"))


@pytest.fixture(scope="module")
def tokenizer():
    return toy()


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=300, initializer_range=0.4, eos_token_id=0, **shape)
    return LlamaForCausalLM(config).eval().double()


def score(benchmark, model, tokenizer, limit=None):
    done = []
    subject = Subject(model=model, tokenizer=tokenizer, seed=0, limit=limit, progress=done.append)
    items = {item.id: item for item in benchmark.evaluate(subject)}
    assert sum(done) == len(items) == benchmark.count(limit)
    return items


@pytest.mark.parametrize("profile", ["openunlearning", "clean", "original"])
def test_one_pass_is_a_loop_per_metric(source, model, tokenizer, profile):
    """Float64. No end token stands behind a text; `openunlearning` drops its last token from memorization and Min-K%."""
    benchmark = Muse(source=source, profile=profile)
    items = score(benchmark, model, tokenizer)
    for item in benchmark.items:
        values = items[item.id].values
        if item.part.startswith("knowmem"):
            assert values.keys() == {"rougeL_f1", "rougeL_recall", "rouge1_recall"}
            continue
        gap = " " if item.asked else ""
        ids = torch.tensor([tokenizer(item.asked + gap + item.wanted)["input_ids"]])
        start = len(tokenizer(item.asked)["input_ids"])
        with torch.no_grad():
            logs = model(input_ids=ids).logits[0, start - 1 : -1].log_softmax(-1)
        tokens = ids[0, start:]
        hits = (logs.argmax(-1) == tokens).numpy()
        logs = logs.gather(1, tokens[:, None])[:, 0].numpy()
        loss = -logs.mean()
        assert values["prob"] == pytest.approx(math.exp(-loss), abs=1e-10)
        assert values["mia_zlib"] == pytest.approx(loss / len(zlib.compress((gap + item.wanted).encode())), abs=1e-10)
        if profile == "openunlearning":
            logs, hits = logs[:-1], hits[:-1]
        assert values["mia_min_k"] == pytest.approx(-np.sort(logs)[: int(0.4 * len(logs))].mean(), abs=1e-10)
        assert values["exact_memorization"] == pytest.approx(hits.mean())


def test_measures_and_what_is_kept_of_texts(source, model, tokenizer):
    benchmark = Muse(source=source)
    items = list(score(benchmark, model, tokenizer).values())
    measures = {measure.name: measure for measure in benchmark.measures()}
    assert list(faults(list(measures.values()), benchmark.parts())) == []
    forget, holdout = ([i.values["mia_min_k"] for i in items if i.part == f"privleak-{side}"] for side in ("forget", "holdout"))
    found = measure_score(measures["mia_min_k"], benchmark.parts(), items)
    assert found.value == pytest.approx(attack_auc(forget, holdout), abs=1e-6)
    counting = {"forget_verbmem_ROUGE", "forget_knowmem_ROUGE", "retain_knowmem_ROUGE"}
    assert {name for name, measure in measures.items() if measure.primary} == counting
    assert {(item.text, item.question) for item in items} == {("", "")}
    assert list(benchmark.texts()) == []


def test_examples_come_first(source, tokenizer):
    benchmark = Muse(source=source)
    item = next(item for item in benchmark.items if item.part == "knowmem-retain")
    prompt = tokenizer.decode(benchmark.template.prompt(item.asked, tokenizer, benchmark.examples[item.part]))
    assert prompt == "<bos>Question: Who sat?\nAnswer: Ann\n\nQuestion: Who saw ship 0?\nAnswer: "


def test_profiles_and_configs_are_told_apart(source):
    chosen = [{}, {"profile": "original"}, {"profile": "clean"}, {"max_length": 99}, {"configs": ["knowmem"]}]
    assert len({Muse(source=source, **options).digest() for options in chosen}) == len(chosen)
    alone = Muse(source=source, configs=["knowmem"])
    assert [measure.name for measure in alone.measures()] == ["forget_knowmem_ROUGE", "retain_knowmem_ROUGE"]
    assert Muse(source=source).count(2) == 10


def test_what_is_refused(source, tmp_path, model, tokenizer):
    partial = write_muse(tmp_path, {name: rows for name, rows in MUSE_FILES.items() if name.startswith("knowmem")})
    with pytest.raises(UsageError, match=r"MUSE's verbmem is read from .*forget.jsonl, which is not there"):
        _ = Muse(source=partial).items
    assert Muse(source=partial, configs=["knowmem"]).count(None) == 6
    files = {**MUSE_FILES, "verbmem/forget": [{"prompt": "word " * 50, "gt": "end"}]}
    long = Muse(source=write_muse(tmp_path / "long", files))
    with pytest.raises(UsageError, match=r"The prompt of verbmem/\w+ has 251 tokens .* the model reads 300"):
        score(long, model, tokenizer)


def test_the_sample(real_data):
    folder = real_data / "muse"
    if not folder.is_dir():
        pytest.skip(f"MUSE's sample is not at {folder}")
    news = Muse(source=str(folder / "news"))
    assert {part: sum(item.part == part for item in news.items) for part in news.parts()} == {
        "verbmem": 40,
        "knowmem-forget": 100,
        "knowmem-retain": 100,
        "privleak-forget": 40,
        "privleak-holdout": 40,
    }
    assert Muse(source=str(folder / "books"), configs=["knowmem"]).count(None) == 200
    assert {len(pairs) for pairs in news.examples.values()} == {10}
