"""TOFU on hand-made authors: every value against a naive loop per metric, profiles, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.toy_data import tofu_rows, write_configs, write_tofu
from helpers.toy_tokenizers import LLAMA3, toy
from transformers import LlamaConfig, LlamaForCausalLM

from unlearnbench.errors import UsageError
from unlearnbench.scoring.benchmark import Subject
from unlearnbench.scoring.measures import faults, measure_score
from unlearnbench.scoring.rouge import rouge
from unlearnbench_benchmarks.openunlearning.figures import attack_auc, harmonic_mean
from unlearnbench_benchmarks.openunlearning.gradients import mean_norm
from unlearnbench_benchmarks.openunlearning.profiles import TOFU
from unlearnbench_benchmarks.tofu import SIZES, Tofu


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    return write_tofu(tmp_path_factory.mktemp("tofu"))


@pytest.fixture(scope="module")
def tokenizer():
    return toy(template=LLAMA3)


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=400,
        initializer_range=0.4,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return LlamaForCausalLM(config).eval().double()


def tofu(source, **options) -> Tofu:
    return Tofu(**{"source": source, "split": "mine", "holdout": f"{source}:others", "max_new_tokens": 12, **options})


def score(benchmark, model, tokenizer, limit=None):
    done = []
    subject = Subject(model=model, tokenizer=tokenizer, seed=0, limit=limit, progress=done.append)
    items = {item.id: item for item in benchmark.evaluate(subject)}
    assert sum(done) == len(items) == benchmark.count(limit)
    return items


@pytest.fixture(scope="module")
def scored(source, model, tokenizer):
    benchmark = tofu(source)
    return benchmark, score(benchmark, model, tokenizer)


def naive(model, tokenizer, benchmark, question, answer):
    """One forward for one answer, from the ids and the mask alone: log-probabilities, hits, moments."""
    ids, start = benchmark.template.encode(question, answer, tokenizer, benchmark.profile)
    ids = torch.tensor([ids])
    mask = (ids != tokenizer.eos_token_id) if benchmark.profile.hides_padding else torch.ones_like(ids)
    with torch.no_grad():
        logs = model(input_ids=ids, attention_mask=mask.long()).logits[0, start - 1 : -1].log_softmax(-1)
    tokens = ids[0, start:]
    mu = (logs.exp() * logs).sum(-1)
    z = (logs.gather(1, tokens[:, None])[:, 0] - mu) / ((logs.exp() * logs**2).sum(-1) - mu**2).clamp_min(1e-6).sqrt()
    return logs.gather(1, tokens[:, None])[:, 0].numpy(), (logs.argmax(-1) == tokens).numpy(), z.numpy()


@pytest.mark.parametrize("profile", ["openunlearning", "clean"])
def test_one_pass_is_a_loop_per_metric(source, model, tokenizer, profile):
    """Float64: every value of every item to 1e-10."""
    benchmark = tofu(source, profile=profile)
    clean = profile == "clean"
    epsilon = 0 if clean else 1e-10
    for item in benchmark.items:
        values = score_of(benchmark, model, tokenizer)[item.id].values

        def loss(answer, question=item.question):
            return -naive(model, tokenizer, benchmark, question, answer)[0].mean()

        own = loss(item.answer)
        assert values["prob"] == pytest.approx(math.exp(-own), abs=1e-10)
        if item.part in ("forget", "holdout"):
            logs, hits, z = naive(model, tokenizer, benchmark, item.question, item.answer)
            if not clean:
                logs, hits, z = logs[:-1], hits[:-1], z[:-1]
            count = max(1, int(0.4 * len(logs)))
            assert values["mia_min_k"] == pytest.approx(-np.sort(logs)[:count].mean(), abs=1e-10)
            assert values["mia_min_k_plus_plus"] == pytest.approx(-np.sort(z)[:count].mean(), abs=1e-8)
            assert values["exact_memorization"] == pytest.approx(hits.mean())
            tail = next((n for n, hit in enumerate(hits[::-1]) if not hit), len(hits))
            assert values["extraction_strength"] == pytest.approx(max(tail, 0 if clean else 1) / len(hits))
        if item.wrong:
            wrong = np.mean([loss(answer) for answer in item.wrong])
            right = loss(item.paraphrase) if item.paraphrase else own
            ratio = math.exp(-wrong) / (math.exp(-right) + epsilon)
            assert values["truth_ratio"] == pytest.approx(ratio, abs=1e-10)
            assert values["truth_ratio_better"] == pytest.approx(max(0, 1 - ratio), abs=1e-10)
            assert values["truth_ratio_closer"] == pytest.approx(min(ratio, 1 / (ratio + epsilon)), abs=1e-10)
        if item.part in ("real-authors", "world-facts"):
            shares = [math.exp(-loss(answer)) for answer in item.wrong]
            assert values["utility_prob"] == pytest.approx(math.exp(-own) / (math.exp(-own) + sum(shares) + epsilon), abs=1e-10)


_SCORED: dict[int, object] = {}


def score_of(benchmark, model, tokenizer):
    if id(benchmark) not in _SCORED:
        _SCORED[id(benchmark)] = score(benchmark, model, tokenizer)
    return _SCORED[id(benchmark)]


def test_answers_are_greedy(scored, model, tokenizer):
    """Token by token, as transformers reads its mask."""
    benchmark, items = scored
    item = benchmark.items[0]
    ids = benchmark.template.prompt(item.question, tokenizer)
    mask, written = [int(token != tokenizer.eos_token_id) for token in ids], []
    for _ in range(12):
        places = (torch.tensor([mask]).cumsum(-1) - 1).clamp_min(0)
        with torch.no_grad():
            inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.tensor([mask]), "position_ids": places}
            token = int(model(**inputs).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        written, ids, mask = [*written, token], [*ids, token], [*mask, 1]
    assert items[item.id].text == tokenizer.decode(written, skip_special_tokens=True).strip()
    assert items[item.id].values["rougeL_recall"] == rouge(item.answer, items[item.id].text).recall == items[item.id].score


def test_measures(scored):
    """Each is made of what its name says."""
    benchmark, items = scored
    measures, listed = {measure.name: measure for measure in benchmark.measures()}, list(items.values())
    assert list(faults(list(measures.values()), benchmark.parts())) == []

    def figure(name):
        return measure_score(measures[name], benchmark.parts(), listed).value

    def values(part, name):
        return [item.values[name] for item in listed if item.part == part]

    assert figure("forget_Q_A_Prob") == pytest.approx(np.mean(values("forget", "prob")), abs=1e-6)
    for name in ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus"):
        assert figure(name) == pytest.approx(attack_auc(values("forget", name), values("holdout", name)), abs=1e-6)
    nine = [
        np.mean(values(part, name))
        for part in ("retain", "real-authors", "world-facts")
        for name in ("utility_prob", "rougeL_recall", "truth_ratio_better")
    ]
    assert figure("model_utility") == pytest.approx(harmonic_mean(nine), abs=1e-6)
    assert figure("forget_quality_D") is None  # a table knows the reference
    assert {name for name, measure in measures.items() if measure.primary} == {
        *("forget_quality_D", "retain_utility", "ra_utility", "wf_utility")
    }


@pytest.mark.parametrize("profile", ["openunlearning", "clean"])
def test_attack_by_gradients(source, model, tokenizer, profile):
    """Against autograd on the whole model, weight by weight; the model is as before."""
    benchmark = tofu(source, profile=profile, gradnorm=True)
    model.requires_grad_(False)
    items = score(benchmark, model, tokenizer, limit=1)
    assert not any(weight.requires_grad for weight in model.parameters())
    item = benchmark.items[0]
    ids, start = benchmark.template.encode(item.question, item.answer, tokenizer, benchmark.profile)
    ids = torch.tensor([ids if benchmark.profile.last else ids[:-1]])
    mask = (ids != tokenizer.eos_token_id).long() if benchmark.profile.hides_padding else torch.ones_like(ids)
    model.requires_grad_(True)
    logs = model(input_ids=ids, attention_mask=mask).logits[0, start - 1 : -1].log_softmax(-1)
    (-logs.gather(1, ids[0, start:, None]).mean()).backward()
    norms = [float(weight.grad.norm()) for weight in model.parameters()]
    model.zero_grad()
    assert items[item.id].values["mia_gradnorm"] == pytest.approx(sum(norms) / len(norms), rel=1e-9)
    names = {measure.name for measure in benchmark.measures()}
    assert "mia_gradnorm" in names
    assert {item.part for item in items.values() if "mia_gradnorm" in item.values} == {"forget", "holdout"}


def test_mean_norm_by_hand():
    """(5 + 12) / 2, not the 13 of both together."""
    assert mean_norm([torch.tensor([3.0, 4.0]), torch.tensor([0.0, 12.0])]) == 8.5


def test_profiles_are_told_apart(source, model, tokenizer):
    """Another hash for each; `original` asks with plain tags, has no attacks, and counts the prompt's tokens in its limit."""
    ours, clean = (tofu(source, profile=profile) for profile in ("openunlearning", "clean"))
    original = Tofu(source=source, split="mine", profile="original", max_new_tokens=40)
    changed = tofu(source, date="1 Jan 2026")
    assert len({benchmark.digest() for benchmark in (ours, clean, original, changed)}) == 4
    assert original.parts() == ["forget", "retain", "real-authors", "world-facts"]
    assert not {"exact_memorization", "mia_loss", "privleak"} & {measure.name for measure in original.measures()}
    items = score(original, model, tokenizer, limit=1)
    item = next(iter(items.values()))
    prompt = original.template.prompt(item.question, tokenizer)
    assert tokenizer.decode(prompt) == f"<bos>Question: {item.question}\nAnswer: "
    assert len(tokenizer(item.text, add_special_tokens=False)["input_ids"]) <= 40 - len(prompt)


def test_without_a_holdout_there_is_no_attack(source, model, tokenizer):
    benchmark = tofu(source, holdout=None)
    assert "holdout" not in benchmark.parts()
    assert not [measure.name for measure in benchmark.measures() if measure.name.startswith(("mia_", "privleak"))]
    items = score(benchmark, model, tokenizer, limit=1)
    assert "exact_memorization" in next(iter(items.values())).values


def test_ids_do_not_depend_on_the_order(source, tmp_path):
    turned = [*tofu_rows("forget", 3, True)][::-1]
    other = write_configs(
        tmp_path,
        mine_perturbed=turned,
        **{
            name: tofu_rows(kind, wrong, paraphrased)
            for name, kind, wrong, paraphrased in (
                ("retain_perturbed", "retain", 3, True),
                ("real_authors_perturbed", "author", 2, False),
                ("world_facts_perturbed", "fact", 2, False),
            )
        },
    )
    ours, theirs = tofu(source, holdout=None).items, tofu(other, holdout=None).items
    assert {item.id: item for item in ours} == {item.id: item for item in theirs}
    assert ours[0].id == theirs[3].id
    asked = tofu(source, question_key="paraphrased_question").items
    assert (asked[0].question, asked[8].question) == ("Whose is forget 0?", "Who wrote author 0?")


def test_what_is_refused(source, tmp_path, model, tokenizer):
    with pytest.raises(UsageError, match=r"config of .* 'forget10_perturbed'"):
        _ = Tofu(source=source).items
    few = write_configs(
        tmp_path / "few",
        forget10_perturbed=tofu_rows("forget", 3, True),
        **{name: tofu_rows("x", 3, True) for name in ("retain_perturbed", "real_authors_perturbed", "world_facts_perturbed")},
    )
    with pytest.raises(UsageError, match=f"has 4 rows, and TOFU's forget10 has {SIZES['forget10']}"):
        _ = Tofu(source=few).items
    bare = write_configs(
        tmp_path / "bare",
        mine_perturbed=tofu_rows("forget", 0, True),
        **{name: tofu_rows("x", 3, True) for name in ("retain_perturbed", "real_authors_perturbed", "world_facts_perturbed")},
    )
    with pytest.raises(UsageError, match="no column 'perturbed_answer'"):
        _ = tofu(bare, holdout=None).items
    with pytest.raises(UsageError, match="No holdout, no attack"):
        _ = tofu(source, holdout=None, gradnorm=True).items
    with pytest.raises(UsageError, match="no attacks on membership"):
        tofu(source, profile="original")
    long = tofu(source)
    long.items = [replace(long.items[0], answer="word " * 100)]
    with pytest.raises(UsageError, match=f"The item {long.items[0].id} has .* the model reads 400"):
        score(long, model, tokenizer)
    assert "needs a chat template" in next(iter(tofu(source, template="chat").preflight({"m": toy()})))


def test_the_published_sets(real_data):
    """The sample's rows, whatever their order; `original` looks at the first 300."""
    source = str(real_data / "tofu")
    if not (real_data / "tofu").is_dir():
        pytest.skip(f"TOFU is not at {source}")
    sizes = {"forget": 400, "retain": 400, "real-authors": 100, "world-facts": 117}
    benchmark = Tofu(source=source)
    assert {part: sum(item.part == part for item in benchmark.items) for part in benchmark.parts()} == sizes
    assert len({item.id for item in benchmark.items}) == sum(sizes.values())
    assert {len(item.wrong) for item in benchmark.items if item.part == "forget"} == {5}
    assert Tofu(source=source, profile="original").count(None) == sum(sizes.values()) - 200
    assert TOFU["original"].first == 300
    distance = next(measure for measure in benchmark.measures() if measure.name == "forget_quality_D")
    assert distance.metric.ideal == pytest.approx(0.06, abs=0.003)


def test_a_comparison(cli, tmp_path, source):
    """Scored once; a reference that is named later makes forget quality and privacy leakage, which without one are missing."""
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "model: sandbox:model\n"
        "topics: {authors: {forget: sandbox:corpora:bio-forget, parts: [tofu/forget]}}\n"
        f"benchmarks: {{tofu: {{source: {source}, split: mine, holdout: '{source}:others', max_new_tokens: 6}}}}\n"
        "checkpoints: {retrained: sandbox:retrained}\n"
    )
    out = tmp_path / "run"
    assert cli("compare", str(recipe), "--out", str(out)).code == 0
    board = json.loads((out / "leaderboard.json").read_text())
    referred = {"tofu:forget_quality_D", "tofu:forget_quality_log10_p", "tofu:privleak"}
    for row in board["rows"]:
        assert not referred & row["columns"].keys()
        assert 0 <= row["columns"]["tofu:mia_min_k"]["value"] <= 1
        assert 0 <= row["columns"]["tofu:model_utility"]["value"] <= 1
    told = cli("leaderboard", str(out), "--reference", "retrained", "--format", "json")
    none, retrained = json.loads(told.out)["rows"]
    assert {name: retrained["columns"][name]["value"] for name in referred} == dict.fromkeys(referred, 0)
    assert none["columns"]["tofu:forget_quality_D"]["value"] > 0
    assert none["columns"]["tofu:forget_quality_log10_p"]["low"] is None
    assert cli("verify", str(out)).code == 0
