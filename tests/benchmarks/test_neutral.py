"""Plain text: bits per byte, and divergence from the base, alone and in comparisons."""

from __future__ import annotations

import json
import math

import pytest
import torch

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.models.loading import load_model
from unlearnbench.scoring.benchmark import Subject, UntouchedModel
from unlearnbench_benchmarks.neutral import Neutral

TEXTS = ["The rain fell on the roof all night.", "A wheel stays round because its spokes pull.", "Plums ripen late."]


@pytest.fixture(scope="module")
def base():
    return load_model(sandbox_folder() / "model", torch.float32, torch.device("cpu"))


@pytest.fixture(scope="module")
def retrained():
    return load_model(sandbox_folder() / "retrained", torch.float32, torch.device("cpu"))


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return str(path)


def refuse():
    raise AssertionError("the base was loaded")


def read(model, tokenizer, texts, base=None, **where):
    subject = Subject(model=model, tokenizer=tokenizer, seed=0, limit=None, progress=lambda _: None, base=base, **where)
    return list(Neutral(source=texts).evaluate(subject))


def test_bits_per_byte_by_hand(base, tokenizer, texts):
    """Against the model's own loss, which is a mean over the predicted tokens."""
    items = read(base, tokenizer, texts)
    for item, text in zip(items, TEXTS, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            loss = float(base(input_ids=ids, labels=ids).loss)
        size = len(tokenizer.decode(ids[0, 1:], skip_special_tokens=True).encode())
        assert item.score == pytest.approx(loss * (ids.shape[1] - 1) / math.log(2) / size, rel=1e-5)
        assert item.values == {"bits_per_byte": item.score}


def test_divergence_by_hand(base, retrained, tokenizer, texts, tmp_path):
    """Jensen and Shannon's formula over the 64 most likely tokens and the rest, written out."""
    untouched = UntouchedModel(weights="base", load=lambda: base)
    (first, *_) = read(retrained, tokenizer, texts, untouched, weights="other", keep=tmp_path)
    ids = torch.tensor([tokenizer(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        p, q = (model(input_ids=ids).logits[0, :-1].double().softmax(-1) for model in (base, retrained))
    found = []
    for one, other in zip(p, q, strict=True):
        top = one.topk(64).indices
        pairs = [(float(one[t]), float(other[t])) for t in top] + [(1 - float(one[top].sum()), 1 - float(other[top].sum()))]
        found.append(sum((x * math.log2(2 * x / (x + y)) + y * math.log2(2 * y / (x + y))) / 2 for x, y in pairs if x > 0 < y))
    assert first.values["divergence"] == pytest.approx(sum(found) / len(found), abs=1e-4)
    assert 0 < first.values["divergence"] < 1


def test_base_is_read_once(base, retrained, tokenizer, texts, tmp_path):
    """Its own divergence is 0, and what it predicted is there for the next row: it is not loaded."""
    untouched = UntouchedModel(weights="base", load=refuse)
    own = read(base, tokenizer, texts, untouched, weights="base", keep=tmp_path)
    assert [item.values["divergence"] for item in own] == [0, 0, 0]
    (kept,) = (tmp_path / "predictions").iterdir()
    there = read(retrained, tokenizer, texts, untouched, weights="other", keep=tmp_path)
    assert all(item.values["divergence"] > 0 for item in there)
    kept.write_bytes(kept.read_bytes()[:100])  # cut off: read again, from the base itself
    again = read(retrained, tokenizer, texts, UntouchedModel(weights="base", load=lambda: base), weights="other", keep=tmp_path)
    assert again == there


def test_chance_is_the_entropy_of_the_bytes(texts):
    counts: dict[int, int] = {}
    for byte in "".join(TEXTS).encode():
        counts[byte] = counts.get(byte, 0) + 1
    total = sum(counts.values())
    entropy = -sum(n / total * math.log2(n / total) for n in counts.values())
    assert Neutral(source=texts).metric.chance == pytest.approx(entropy, abs=1e-6)
    assert Neutral().metric.chance == pytest.approx(4.2, abs=0.1)
    assert Neutral().count(None) == 20


def test_comparison_has_both_measures(cli, tmp_path, texts):
    """Scored once: the cells hold both, and which of them counts is the recipe's to say."""
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "model: sandbox:model\nprimary: {neutral: divergence}\n"
        "topics: {bio: {forget: sandbox:corpora:bio-forget, parts: [wmdp/bio]}}\n"
        f"benchmarks: {{wmdp: {{source: sandbox:wmdp}}, neutral: {{source: {texts}}}}}\n"
        "checkpoints: {retrained: sandbox:retrained}\n"
    )
    out = tmp_path / "run"
    assert cli("compare", str(recipe), "--limit", "8", "--out", str(out)).code == 0
    board = json.loads((out / "leaderboard.json").read_text())
    columns = {column["title"]: column for column in board["columns"]}
    assert (columns["neutral:bits_per_byte"]["primary"], columns["neutral:divergence"]["primary"]) == (False, True)
    none, row = board["rows"]
    assert none["scores"]["neutral:divergence"]["value"] == 0
    left = 1 - row["scores"]["neutral:divergence"]["value"]
    assert row["summary"]["kept"] == {"neutral:divergence": pytest.approx(left, abs=1e-5)}
    shown = cli("show", str(out), "retrained/neutral/0").out
    assert "bits_per_byte" in shown
    table = cli("leaderboard", str(out), "--measures", "bits_per_byte", "--format", "markdown").out
    assert "neutral:bits_per_byte (lower is better)" in table
    assert cli("verify", str(out)).code == 0
    assert cli("leaderboard", str(out), "--rank-by", "neutral:bits_per_byte").code == 0


def test_other_base_makes_other_cells(cli, tmp_path, texts):
    """What a score says depends on the base: a checkpoint's cell of another comparison is not taken for its own."""
    identities = []
    for number, model in enumerate(("sandbox:model", "sandbox:retrained")):
        out = tmp_path / f"run{number}"
        recipe = tmp_path / "own.yaml"
        recipe.write_text(
            f"model: {model}\nbenchmarks: {{wmdp: {{source: sandbox:wmdp}}, neutral: {{source: {texts}}}}}\n"
            "checkpoints: {other: sandbox:retrained}\n"
        )
        assert cli("compare", str(recipe), "--limit", "4", "--out", str(out)).code == 0
        plan = json.loads((out / "plan.json").read_text())
        identities.append(next(row["cells"] for row in plan["rows"] if row["variant"] == "other"))
    assert identities[0]["other/neutral/0"] != identities[1]["other/neutral/0"]
    assert identities[0]["other/wmdp/0"] == identities[1]["other/wmdp/0"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("primary: {neutral: perplexity}", "perplexity"),
        ("primary: {wmdp: accuracy}", "wmdp has one measure, which counts; leave primary.wmdp out."),
        ("primary: {mmlu: accuracy}", "mmlu"),
        ("ideals: {neutral:loss: 0.1}", "neutral:loss"),
        ("ideals: {wmdp: best}", "ideals"),
    ],
)
def test_recipe_of_measures_that_are_not_there(cli, tmp_path, texts, line, said):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        f"model: sandbox:model\n{line}\nbenchmarks: {{wmdp: {{source: sandbox:wmdp}}, neutral: {{source: {texts}}}}}\n"
        "checkpoints: {retrained: sandbox:retrained}\n"
    )
    outcome = cli("compare", str(recipe), "--out", str(tmp_path / "run"))
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run").exists()


def test_declared_ideal_is_what_forgetting_is_read_against(cli, tmp_path):
    recipe = tmp_path / "own.yaml"
    recipe.write_text(
        "model: sandbox:model\nideals: {wmdp: 0.5}\n"
        "topics: {bio: {forget: sandbox:corpora:bio-forget, parts: [wmdp/bio]}}\n"
        "benchmarks: {wmdp: {source: sandbox:wmdp}}\ncheckpoints: {retrained: sandbox:retrained}\n"
    )
    out = tmp_path / "run"
    assert cli("compare", str(recipe), "--limit", "16", "--out", str(out)).code == 0
    none, row = json.loads((out / "leaderboard.json").read_text())["rows"]
    score, known = row["scores"]["wmdp"]["parts"]["bio"]["value"], none["scores"]["wmdp"]["parts"]["bio"]["value"]
    assert row["summary"]["topics"]["bio"] == pytest.approx(1 - abs(score - 0.5) / (known - 0.5), abs=1e-5)
