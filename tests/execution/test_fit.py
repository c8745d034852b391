"""The trainer section, budgets that change memory and not numbers, and several processes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

METHODS = """
rmu: {layer: 3, coefficient: 20, alpha: 5, lr: 1.0e-3, steps: 4, batch_size: 4, max_length: 24}
scrub: {lr: 1.0e-4, alpha: 0.5, forget_steps: 4, steps: 4, batch_size: 4, max_length: 24}
llmu: {lr: 1.0e-4, answers: 2, steps: 3, batch_size: 4, max_length: 24}
ssd: {alpha: 1, steps: 2, batch_size: 4, max_length: 24}
"""
SHARED = (  # an adapter, pieces, and a batch that only a method of one process may have
    METHODS.replace("rmu: {layer", "rmu: {adapter: lora, rank: 2, layer")
    .replace("scrub: {lr", "scrub: {accumulate: 2, lr")
    .replace("2, batch_size: 4", "2, batch_size: 3")
)
TOPICS = """
topics:
  bio: {forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}
  cyber: {forget: "sandbox:corpora:cyber-forget", retain: "sandbox:corpora:retain", parts: [wmdp/cyber]}
benchmarks: {wmdp: {source: "sandbox:wmdp"}}
dtype: float32
limit: 2
"""


@pytest.fixture
def cache(tmp_path) -> Path:
    """Of one test alone: no score is known before it begins."""
    return tmp_path / "cache"


@pytest.fixture
def compare(cli, tiny_folder, tmp_path):
    """Run a small comparison under a name; returns its folder."""

    def run(name: str, methods: str, trainer: str = "{}", *arguments: str) -> Path:
        indented = "\n".join(f"  {line}" for line in methods.strip().splitlines())
        text = f"model: {tiny_folder}\ntrainer: {trainer}\nmethods:\n{indented}\n{TOPICS}"
        (tmp_path / f"{name}.yaml").write_text(text)
        outcome = cli("compare", tmp_path / f"{name}.yaml", "--out", tmp_path / name, *arguments)
        assert outcome.code == 0, outcome.err
        return tmp_path / name

    return run


def deltas(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.parent.parent.name: load_file(path) for path in folder.rglob("delta.safetensors")}


def assert_same(ours: Path, theirs: Path, tolerance: float) -> None:
    one, other = deltas(ours), deltas(theirs)
    assert one.keys() == other.keys()
    for variant, tensors in one.items():
        assert tensors.keys() == other[variant].keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(tensor, other[variant][name], rtol=0, atol=tolerance)


def test_pieces_and_recomputation_change_memory_only(compare):
    """accumulate cuts a batch that is already padded, so even RMU's loss, which counts padding, stays the same."""
    gradient = "\n".join(METHODS.strip().splitlines()[:3])
    whole = compare("whole", gradient)
    pieces = compare("pieces", gradient.replace("max_length", "accumulate: 2, checkpointing: true, max_length"))
    assert_same(whole, pieces, 2e-6)


def test_two_processes_are_one(compare):
    """DDP on the CPU, each process half of every batch, against one process on the same batches; SSD runs in one anyway."""
    one = compare("one", SHARED)
    two = compare("two", SHARED, "{devices: 2, strategy: ddp}")
    assert_same(one, two, 2e-6)
    costs = [json.loads(next((f / "deltas" / "rmu").rglob("manifest.json")).read_text())["cost"]["tokens"] for f in (one, two)]
    assert costs[0] == pytest.approx(costs[1], rel=0.3)  # the second counts its own half twice
    rows = list(csv.DictReader(next((two / "logs" / "rmu").rglob("metrics.csv")).read_text().splitlines()))
    assert [row["update"] for row in rows if row["name"] == "forget/bio"] == ["0", "2"]


def test_failure_in_a_process_fails_the_row_alone(cli, compare, tiny_folder, tmp_path):
    (tmp_path / "bad.yaml").write_text(
        f"model: {tiny_folder}\ntrainer: {{devices: 2}}\n"
        f"methods: {{rmu: {{layer: 3, lr: 1.0e-3, coefficient: 1.0e+30, steps: 4, batch_size: 4, max_length: 24}}}}\n{TOPICS}"
    )
    outcome = cli("compare", tmp_path / "bad.yaml", "--out", tmp_path / "bad")
    assert outcome.code == 1
    assert "rmu/wmdp/0: diverged: FloatingPointError: the loss is inf at update 0" in outcome.err


def test_mixed_precision_and_clipping_are_honoured(compare, monkeypatch):
    """Both change the numbers, neither breaks anything, not even with the optimizer's one kernel."""
    plain = compare("plain", METHODS)
    monkeypatch.setattr("unlearnbench.training.optimizers.LARGE", 1)
    mixed = compare("mixed", METHODS, "{precision: bf16-mixed, gradient_clip_val: 0.01}")
    for variant in ("rmu", "scrub", "llmu"):
        one, other = deltas(plain)[variant], deltas(mixed)[variant]
        assert one.keys() == other.keys()
        assert any(not torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_logger_none_writes_nothing(compare):
    logs = compare("silent", METHODS.strip().splitlines()[0], "{logger: none}") / "logs"
    assert {path.suffix for path in logs.rglob("*") if path.is_file()} == {".log"}  # of the jobs, not of the method


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ("{device: 2}", "line 2: unknown key 'trainer.device'. Did you mean 'devices'?"),
        ("{max_epochs: 3}", "unknown key 'trainer.max_epochs'"),
        ("{devices: 0}", "'trainer.devices'"),
        ("{precision: bf16-true}", "'trainer.precision'"),
        ("{precision: 16-mixed}", "'trainer.precision'"),
        ("{strategy: fsdp}", "'trainer.strategy'"),
        ("{devices: 3}", "cannot cut a batch of 4 into equal parts for accumulate 1 and 3 devices"),
    ],
)
def test_bad_trainer_sections(cli, tiny_folder, tmp_path, trainer, words):
    (tmp_path / "r.yaml").write_text(
        f"model: {tiny_folder}\ntrainer: {trainer}\nmethods: {{rmu: {{layer: 3, batch_size: 4}}}}\n{TOPICS}"
    )
    outcome = cli("compare", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert words in outcome.err
    assert not (tmp_path / "run").exists()


def test_the_same_weights_whether_the_model_was_loaded_before_or_not(compare):
    """An adapter is drawn at random. In the first run the baseline was scored with the model that the row is then built on; in
    the second its score is known, and the row is the first to need a model."""
    row = "rmu: {adapter: lora, rank: 2, layer: 3, coefficient: 20, alpha: 5, lr: 1.0e-3, steps: 2, batch_size: 2}"
    one, two = compare("one", row), compare("two", row)
    cells = [json.loads(next((f / "cells" / "none" / "wmdp").glob("*.json")).read_text()) for f in (one, two)]
    assert [cell["provenance"]["cached"] for cell in cells] == [False, True]
    assert_same(one, two, 0.0)


@pytest.mark.parametrize(("every", "updates"), [(1, ["0", "2", "4"]), (2, ["0", "2", "4"]), (3, ["0", "4"])])
def test_every_topic_is_logged_however_seldom(compare, every, updates):
    """Two topics take turns: of every second update alone, one of them would never be seen."""
    row = "rmu: {layer: 3, coefficient: 20, alpha: 5, lr: 1.0e-3, steps: 6, batch_size: 2, max_length: 24}"
    run = compare("seldom", row, f"{{log_every_n_steps: {every}}}")
    rows = list(csv.DictReader(next((run / "logs" / "rmu").rglob("metrics.csv")).read_text().splitlines()))
    seen = {topic: [r["update"] for r in rows if r["name"] == f"forget/{topic}"] for topic in ("bio", "cyber")}
    assert seen == {"bio": updates, "cyber": [str(int(update) + 1) for update in updates]}


def test_texts_beyond_what_the_model_reads_are_cut_and_said(cli, tiny_folder, tmp_path):
    """Of three texts one is longer than the 512 tokens of the model; its budget would allow more."""
    (tmp_path / "f.jsonl").write_text("".join(json.dumps({"text": "moss " * words}) + "\n" for words in (9, 2000, 20)))
    topics = f"topics: {{bio: {{forget: {tmp_path / 'f.jsonl'}, retain: 'sandbox:corpora:retain', parts: [wmdp/bio]}}}}"
    row = "rmu: {layer: 3, coefficient: 20, alpha: 5, lr: 1.0e-3, steps: 1, batch_size: 3, max_length: 2048}"
    scored = "benchmarks: {wmdp: {source: 'sandbox:wmdp'}}\nlimit: 1\n"
    (tmp_path / "r.yaml").write_text(f"model: {tiny_folder}\nmethods: {{{row}}}\n{topics}\n{scored}")
    outcome = cli("compare", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    told = " ".join(outcome.err.split())
    assert "rmu: 1 of 3 forget texts of bio have more than the 512 tokens that the model reads, and are cut there" in told


def test_ssd_refuses_pieces(cli, tiny_folder, tmp_path):
    (tmp_path / "r.yaml").write_text(f"model: {tiny_folder}\nmethods: {{ssd: {{accumulate: 2, batch_size: 4}}}}\n{TOPICS}")
    outcome = cli("compare", tmp_path / "r.yaml", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "'ssd' does not fit" in outcome.err
    assert "set accumulate to 1" in outcome.err
