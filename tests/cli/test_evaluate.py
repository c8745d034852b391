"""Scores are kept by what was scored with what, never by a name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch


def cells(run: Path) -> dict[str, dict]:
    """A run's cells by variant/benchmark/seed."""
    found = [json.loads(file.read_text()) for file in (run / "cells").rglob("*.json")]
    return {f"{c['key']['variant']}/{c['key']['benchmark']}/{c['key']['seed']}": c for c in found}


def test_a_changed_checkpoint_under_the_same_name_is_evaluated_anew(cli, tmp_path, tiny_folder, tokenizer):
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    line = ("evaluate", folder, "--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp", "--limit", 4)
    assert cli(*line, "--out", tmp_path / "run").code == 0
    first = cells(tmp_path / "run")["none/wmdp/0"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-3)
    model.save_pretrained(folder)
    assert cli(*line, "--out", tmp_path / "again").code == 0
    second = cells(tmp_path / "again")["none/wmdp/0"]
    assert second["identity"] != first["identity"]
    assert not second["provenance"]["cached"]
    assert second["provenance"]["base_weights"] != first["provenance"]["base_weights"]
    before, after = (items(tmp_path / name) for name in ("run", "again"))
    assert before != after


def items(run: Path) -> list[object]:
    from unlearnbench.runs.item_files import items_from_parquet

    file = next((run / "cells").rglob("*.parquet"))
    return [item.logprobs for item in items_from_parquet(file.read_bytes())]


def test_the_base_is_scored_once_for_all_runs(cli, tmp_path, tiny_folder):
    options = ("--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp", "--limit", 4)
    assert cli("evaluate", tiny_folder, *options, "--out", tmp_path / "one").code == 0
    copy = tmp_path / "elsewhere"
    shutil.copytree(tiny_folder, copy)  # another path, the same weights
    outcome = cli("evaluate", copy, *options, "--out", tmp_path / "two")
    assert "(12 items, cached)" in outcome.err
    one, two = (cells(tmp_path / name)["none/wmdp/0"] for name in ("one", "two"))
    assert two["provenance"]["cached"]
    assert one["value"] == two["value"]
    assert items(tmp_path / "one") == items(tmp_path / "two")


def test_other_data_or_dtype_is_another_score(cli, tmp_path, tiny_folder):
    options = ("--benchmarks", "wmdp", "--limit", 4)
    line = ("evaluate", tiny_folder, *options)
    assert cli(*line, "--set", "wmdp.source=sandbox:wmdp", "--out", tmp_path / "a").code == 0
    for number, changed in enumerate(
        (
            ("--set", "wmdp.source=sandbox:wmdp-heldout"),
            ("--set", "wmdp.source=sandbox:wmdp", "--dtype", "bfloat16"),
            ("--set", "wmdp.source=sandbox:wmdp", "--set", "wmdp.newlines=1"),
        )
    ):
        outcome = cli(*line, *changed, "--out", tmp_path / str(number))
        assert outcome.code == 0, outcome.err
        assert "cached" not in outcome.err


def test_what_a_score_was_made_of_is_recorded(cli, tmp_path, tiny_folder):
    line = ("evaluate", tiny_folder, "--benchmarks", "wmdp,mmlu", "--limit", 2, "--dtype", "float32")
    sources = ("--set", "wmdp.source=sandbox:wmdp", "--set", "wmdp.newlines=1", "--set", "mmlu.source=sandbox:mmlu")
    assert cli(*line, *sources, "--out", tmp_path / "run").code == 0
    cell = cells(tmp_path / "run")["none/wmdp/0"]
    provenance = cell["provenance"]
    assert provenance["benchmark_options"]["newlines"] == 1
    assert provenance["dtype"] == "float32"
    assert provenance["limit"] == 2
    assert len(provenance["data"]) == len(provenance["base_weights"]) == 64
    assert {part: one["n"] for part, one in cell["parts"].items()} == {"bio": 2, "cyber": 2, "chem": 2}


def test_swapping_deltas_in_and_out_is_bit_exact(tiny_folder):
    """The model in memory after a delta has been applied and taken back, and applied again."""
    from unlearnbench.models.restorable import LoadedModel

    loaded = LoadedModel(str(tiny_folder), "float32", torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    names = [name for name, _ in loaded.model.named_parameters() if "down_proj" in name]
    delta = {name: torch.randn_like(before[name]) for name in names}
    for _ in range(2):
        loaded.apply(delta)
        now = loaded.model.state_dict()
        assert all(torch.equal(now[name], delta.get(name, before[name])) for name in now)
        loaded.restore()
        now = loaded.model.state_dict()
        assert all(torch.equal(now[name], before[name]) for name in now)
