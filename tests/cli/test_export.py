"""Deltas and what becomes of them: kept or not, put back bit for bit, written out as ordinary models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnbench.models.restorable import LoadedModel

METHODS = """
  rmu: {layer: 3, coefficient: 20, alpha: 5, lr: 1.0e-3, steps: 4, batch_size: 2, max_length: 24}
  rmu-lora: {method: rmu, adapter: lora, rank: 2, layer: 3, coefficient: 20, alpha: 5, lr: 1.0e-2, steps: 4, batch_size: 2}
  scrub: {adapter: lora, rank: 2, lr: 1.0e-3, forget_steps: 2, steps: 4, batch_size: 2, max_length: 24}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory, tokenizer) -> Path:
    """A base model of one's own in bfloat16, so that rounding would show."""
    from conftest import tiny_llama

    folder = tmp_path_factory.mktemp("base") / "small-model"
    tiny_llama(seed=3).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def run(base, tmp_path_factory, cache) -> Path:
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("runs")
    (folder / "r.yaml").write_text(
        f"model: {base}\ndtype: bfloat16\nmethods:{METHODS}seeds: [0, 1]\nlimit: 3\n"
        'topics: {bio: {forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}}\n'
        'benchmarks: {wmdp: {source: "sandbox:wmdp"}}\n'
    )
    line = [sys.executable, "-m", "unlearnbench", "compare", str(folder / "r.yaml"), "--out", str(folder / "run")]
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    outcome = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return folder / "run"


def delta_of(run: Path, variant: str, seed: int = 0) -> Path:
    return next((run / "deltas" / variant).glob(f"seed-{seed}-*"))


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(4, 40).view(2, 18)).logits


def test_a_delta_holds_only_what_changed(run, base):
    weights = load_file(base / "model.safetensors")
    delta = load_file(delta_of(run, "rmu") / "delta.safetensors")
    assert set(delta) == {f"model.layers.{block}.mlp.down_proj.weight" for block in (1, 2, 3)}
    assert all(tensor.dtype == torch.bfloat16 and not torch.equal(tensor, weights[name]) for name, tensor in delta.items())
    adapter = load_file(delta_of(run, "scrub") / "delta.safetensors")
    assert all(name.endswith((".lora_A", ".lora_B")) for name in adapter)
    assert sum(tensor.numel() for tensor in adapter.values()) < sum(tensor.numel() for tensor in weights.values()) / 4


@pytest.mark.parametrize("variant", ["rmu", "rmu-lora", "scrub"])
def test_exported_model_is_the_one_that_was_scored(cli, run, base, tmp_path, variant):
    """from_pretrained, with nothing of unlearnbench, gives the logits of base and delta bit for bit."""
    outcome = cli("export", run, variant, tmp_path / "out")
    assert outcome.code == 0, outcome.err
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto").eval()
    assert exported.dtype == torch.bfloat16
    loaded = LoadedModel(str(base), "bfloat16", torch.device("cpu"))
    before = logits(loaded.model)
    loaded.apply(load_file(delta_of(run, variant) / "delta.safetensors"))
    assert torch.equal(logits(exported), logits(loaded.model))
    assert not torch.equal(logits(exported), before)
    assert not hasattr(exported, "peft_config")
    loaded.restore()
    assert torch.equal(logits(loaded.model), before)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").vocab_size == 2048


@pytest.mark.parametrize("variant", ["rmu", "scrub"])
def test_scores_after_a_restart_are_those_of_the_trained_model(cli, run, tmp_path, variant):
    """A run that was cut off after training scores the stored delta: the same log-probabilities."""
    from unlearnbench.runs.item_files import items_from_parquet

    shutil.copytree(run, tmp_path / "again")
    cell = next((tmp_path / "again" / "cells" / variant / "wmdp").glob("seed-0-*.json"))
    items = cell.with_suffix(".items.parquet")
    before = items_from_parquet(items.read_bytes())
    cell.unlink()
    recipe = tmp_path / "again" / "recipe.yaml"
    outcome = cli("compare", recipe, "--out", tmp_path / "again", "--cache", tmp_path / "empty")
    assert outcome.code == 0, outcome.err
    assert f"{variant}, seed 0: unlearning" not in outcome.err
    assert items_from_parquet(items.read_bytes()) == before


def test_model_card_says_where_the_model_comes_from(cli, run, tmp_path):
    outcome = cli("export", run, "rmu", tmp_path / "out", "--seed", "1")
    assert outcome.code == 0, outcome.err
    card = (tmp_path / "out" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head == {"base_model": "small-model", "library_name": "transformers", "tags": ["unlearning", "unlearnbench", "rmu"]}
    cell = json.loads(next((run / "cells" / "rmu" / "wmdp").glob("seed-1-*.json")).read_text())
    assert f"| wmdp | all | {cell['value']:.4f} | {cell['n']} |" in card
    assert "| coefficient | `20.0` |" in card
    assert "| seed | `1` |" in card
    assert f"| bio | forget | sandbox:corpora:bio-forget | `{cell['provenance']['topics']['bio']['forget']}` |" in card
    assert "| precision | `32-true` |" in card
    assert cell["provenance"]["weights"] in card
    assert str(run.parent) not in card


def test_delta_of_another_base_is_refused(cli, run, tiny_folder, tmp_path):
    outcome = cli("export", run, "rmu", tmp_path / "out", "--model", tiny_folder)
    assert outcome.code == 2
    assert "belongs to another base model" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_delta_with_other_weights_than_were_scored_is_refused(cli, run, tmp_path):
    """Whole and readable, of the same shapes, but not what the card would say it is."""
    shutil.copytree(run, tmp_path / "run")
    file = delta_of(tmp_path / "run", "rmu") / "delta.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file)
    outcome = cli("export", tmp_path / "run", "rmu", tmp_path / "out", "--seed", "0")
    assert outcome.code == 2
    assert "is damaged; run the comparison again" in outcome.err
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_sentence(cli, run, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    cases = [
        ((tmp_path / "nowhere", "rmu", tmp_path / "out"), "There is no folder"),
        ((run, "rmv", tmp_path / "out"), "Unknown row 'rmv'. Did you mean 'rmu'?"),
        ((run, "none", tmp_path / "out"), "'none' changed no weights"),
        ((run, "rmu", tmp_path / "out", "--seed", "7"), "did not run with seed 7; it has: 0, 1"),
        ((run, "rmu", tmp_path / "taken"), "exists already"),
        ((run / "cells", "rmu", tmp_path / "out"), "is not the folder of a comparison"),
    ]
    for arguments, words in cases:
        outcome = cli("export", *arguments)
        assert outcome.code == 2
        assert words in outcome.err
        assert "Traceback" not in outcome.err
    assert not (tmp_path / "out").exists()


def test_weights_that_were_not_kept(cli, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "deltas")
    outcome = cli("export", tmp_path / "run", "rmu", tmp_path / "out")
    assert outcome.code == 2
    assert "were not kept (--keep-deltas)" in outcome.err
