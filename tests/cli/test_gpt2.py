"""GPT-2 as it is used most: weights that lie the other way round, learnt places, texts and questions beyond what it reads."""

from __future__ import annotations

import json

import pytest
from helpers.model_folders import adapter_of, tiny_gpt2

LONG = "Nobody mapped the copper lanterns of the archive since the flood. " * 40  # about 600 tokens; it reads 128
METHODS = """
  rmu: {layer: 2, lr: 1.0e-2, steps: 2, batch_size: 2, max_length: 1024}
  npo: {lr: 1.0e-3, steps: 2, batch_size: 2, accumulate: 1, max_length: 1024}
  grad-diff: {lr: 1.0e-2, steps: 2, batch_size: 2, accumulate: 1, max_length: 1024, adapter: lora, rank: 2}
"""


@pytest.mark.filterwarnings("ignore:.*fan_in_fan_out")
def test_gpt2_is_scored_trained_adapted_and_exported(cli, tokenizer, tmp_path):
    model = tiny_gpt2(tmp_path / "model", tokenizer)
    adapter = adapter_of(model, tmp_path / "adapter", target_modules=["c_attn", "c_fc", "c_proj"])
    (tmp_path / "long.jsonl").write_text("".join(json.dumps({"text": f"{number}. {LONG}"}) + "\n" for number in range(4)))
    question = {"choices": ["red", "green", "blue", "grey"]}
    asked = [{"question": f"{LONG}Which has colour {number}?", "answer": number % 4, **question} for number in range(8)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (tmp_path / "r.yaml").write_text(f"""model: {model}
topics: {{bio: {{forget: {tmp_path / "long.jsonl"}, retain: "sandbox:corpora:retain", parts: [mcq/all]}}}}
benchmarks: {{mcq: {{source: {tmp_path / "asked.jsonl"}}}}}
dtype: float32
methods:{METHODS}""")
    outcome = cli("compare", tmp_path / "r.yaml", "--checkpoint", f"lora={adapter}", "--out", tmp_path / "run", "--json")
    assert outcome.code == 0, outcome.err
    told = " ".join(outcome.err.split())
    for method in ("rmu", "npo", "grad-diff"):
        cut = "4 of 4 forget texts of bio have more than the 128 tokens that the model reads, and are cut there"
        assert f"{method}: {cut}" in told
    rows = {row["variant"]: row for row in json.loads(outcome.out)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == dict.fromkeys(
        ("none", "rmu", "npo", "grad-diff", "lora"), "done"
    )
    cells = [json.loads(cell.read_text()) for cell in (tmp_path / "run").glob("cells/*/mcq/*.json")]
    assert [cell["truncated"] for cell in cells] == [8] * 5
    exported = cli("export", tmp_path / "run", "grad-diff", tmp_path / "out")
    assert exported.code == 0, exported.err
    assert answers(cli, tmp_path / "out", tmp_path) == logprobs(tmp_path / "run", "grad-diff")
    assert answers(cli, adapter, tmp_path) == logprobs(tmp_path / "run", "lora") != logprobs(tmp_path / "run", "none")


def answers(cli, model, folder):
    """What a model of its own answers."""
    out = folder / f"alone-{model.name}"
    outcome = cli(
        "evaluate",
        model,
        "--benchmarks",
        "mcq",
        "--set",
        f"mcq.source={folder / 'asked.jsonl'}",
        "--dtype",
        "float32",
        "--out",
        out,
    )
    assert outcome.code == 0, outcome.err
    return logprobs(out, "none")


def logprobs(run, row):
    from unlearnbench.runs.item_files import items_from_parquet

    cell = next((run / "cells" / row / "mcq").glob("*.items.parquet"))
    return [item.logprobs for item in items_from_parquet(cell.read_bytes())]
