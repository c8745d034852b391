"""Deltas and what becomes of them: kept or not, put back bit for bit, written out as ordinary models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from unlearnbench.models.restorable import LoadedModel
from unlearnbench.reports import export

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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def strict():
    """A umask that keeps strangers out."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_what_training_left_alone_is_the_bases_own(cli, run, base, tmp_path, strict, monkeypatch):
    """Any version of transformers, and what is built on one, loads what it loaded before; the shards have an index."""
    monkeypatch.setattr(export, "SHARD", "100KB")
    outcome = cli("export", run, "rmu", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes(), name
    assert json.loads((out / "config.json").read_text()) == json.loads((base / "config.json").read_text())
    places = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    assert set(places) == set(load_file(base / "model.safetensors"))
    assert {path.name for path in out.glob("*.safetensors")} == set(places.values())
    assert len(set(places.values())) > 1
    for path in out.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert file.metadata()["format"] == "pt"
    assert mode(out) == 0o750
    assert {mode(path) for path in out.iterdir()} == {0o640}
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16


def test_an_older_config_keeps_its_form(cli, run, base, tmp_path):
    """As transformers 4 wrote it: readers of that age know no other names; where it lay once is nobody's business."""
    shutil.copytree(base, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    theta = config.pop("rope_parameters")["rope_theta"]
    config |= {"rope_theta": theta, "torch_dtype": config.pop("dtype"), "_name_or_path": str(tmp_path)}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    loaded = LoadedModel(str(tmp_path / "base"), "float32", torch.device("cpu"))
    (tmp_path / "out").mkdir()
    export.write_model(loaded, tmp_path / "base", tmp_path / "out")
    del config["_name_or_path"]
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == {**config, "torch_dtype": "float32"}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.float32


def test_push_to_hub(cli, run, hub, tmp_path):
    """What lies on the hub is the folder; shards of an earlier model go, what else lies there stays."""
    earlier = ("model-00001-of-00002.safetensors", "model.safetensors.index.json")
    hub.repositories["models/me/forgetful"] = {**dict.fromkeys(earlier, b""), "notes.md": b"mine"}
    outcome = cli("export", run, "rmu", tmp_path / "out", "--push-to-hub", "me/forgetful")
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines()[-1] == f"Uploaded to {hub.address}/me/forgetful."
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert hub.repositories["models/me/forgetful"] == {**written, "notes.md": b"mine"}
    assert hub.large.keys() == {hashlib.sha256(written["model.safetensors"]).hexdigest()}


def test_a_hub_that_breaks_off_leaves_the_folder(cli, run, hub, tmp_path):
    hub.lost.append((500, "Out of order"))
    outcome = cli("export", run, "rmu", tmp_path / "out", "--push-to-hub", "me/forgetful")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1] == (
        f"unlearnbench: {tmp_path / 'out'} is written, and not uploaded: The hub refused 'me/forgetful' (500: Out of order). "
        f"Then: `hf upload me/forgetful {tmp_path / 'out'}`."
    )
    assert (tmp_path / "out" / "model.safetensors").is_file()


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
        ((run, "rmu", tmp_path / "taken" / "file" / "out"), "cannot be a folder"),
        ((run, "rmu", tmp_path / "out", "--push-to-hub", "me"), "--push-to-hub takes OWNER/NAME"),
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
