"""Real plugins that raise, crash, hang, hoard, babble or meddle: each costs its own row, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_third_party import install

DATA = """
model: {model}
topics:
  bio: {{forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}}
dtype: float32
limit: 2
"""
SPOILT = {  # in one process they cost their own row
    "raises-on-import": ("failed", "cannot be imported from misbehaving_plugins.raises_on_import: RuntimeError: no GPU"),
    "exits-on-import": ("failed", "its method cannot be loaded: its process left with exit code 7"),
    "raises-in-constructor": ("failed", "RuntimeError: no such block"),
    "raises-in-step": ("failed", "RuntimeError: out of luck"),
    "not-a-number": ("diverged", "the loss is nan at update 1"),
    "explodes": ("diverged", "the loss exploded from"),
    "exits": ("failed", "its process left with exit code 3 before the job was done; its output is in logs/exits/"),
    "segfaults": ("failed", "its process was ended by SIGSEGV (segmentation fault); its output is in logs/segfaults/"),
    "hangs": ("failed", "it took longer than the "),
    "hoards": ("failed", "MB of --job-memory, and were stopped"),
}
GOOD = ("none", "babbles", "well-behaved")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("misbehaving", tmp_path_factory.mktemp("misbehaving"))


@pytest.fixture(scope="module")
def compare(site: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """Run the installed command with the misbehaving plugins beside it, each run with a cache of its own."""

    def run(methods: list[str], benchmarks: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        folder = tmp_path_factory.mktemp("compare")
        rows = "".join(f"  {name}: {{}}\n" for name in methods)
        (folder / "r.yaml").write_text(f"{DATA.format(model=tiny_folder)}benchmarks: {benchmarks}\nmethods:\n{rows}")
        line = [sys.executable, "-m", "unlearnbench", "compare", str(folder / "r.yaml"), "--out", str(folder / "run"), "--json"]
        environment = {**os.environ, "PYTHONPATH": str(site), "UNLEARNBENCH_CACHE": str(folder / "cache")}
        outcome = subprocess.run([*line, *arguments], capture_output=True, text=True, env=environment, check=False)
        return outcome, folder / "run"

    return run


@pytest.fixture(scope="module")
def alone(compare) -> dict[str, float]:
    """What the well-behaved rows score when nobody misbehaves before them, in one process."""
    outcome, _ = compare(["well-behaved"], "{wmdp: {source: 'sandbox:wmdp'}}")
    assert outcome.returncode == 0, outcome.stderr
    return {row["variant"]: row["scores"] for row in json.loads(outcome.stdout)["rows"]}


def test_whatever_one_plugin_does_the_others_are_complete(compare, alone):
    """Ten ways to go wrong in one comparison, two at a time; --json stays valid, though one of the good ones babbles."""
    limits = ("--executor", "isolated", "--jobs", "2", "--job-timeout", "60", "--job-memory", "1400MB")
    outcome, run = compare([*SPOILT, "babbles", "well-behaved"], "{wmdp: {source: 'sandbox:wmdp'}}", *limits)
    assert outcome.returncode == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    board = json.loads(outcome.stdout)
    rows = {row["variant"]: row for row in board["rows"]}
    failures = {failure["cell"].split("/")[0]: failure["error"] for failure in board["failures"]}
    assert {name: row["status"] for name, row in rows.items() if name in GOOD} == dict.fromkeys(GOOD, "done")
    assert {name: rows[name]["status"] for name in SPOILT} == {name: status for name, (status, _) in SPOILT.items()}
    for name, (_, words) in SPOILT.items():
        assert words in failures[name], failures[name]
    for name in ("none", "well-behaved"):
        assert rows[name]["scores"] == alone[name]
    assert rows["babbles"]["scores"] == alone["well-behaved"]
    log = next((run / "logs" / "babbles").rglob("output.log")).read_text()
    assert "rubbish in a step" in log
    assert "rubbish of a child" in log
    assert "Segmentation fault" in next((run / "logs" / "segfaults").rglob("output.log")).read_text()


@pytest.mark.parametrize("executor", ["local", "isolated"])
def test_the_next_job_does_not_notice_what_was_changed(compare, alone, executor):
    """Generators, default dtype, gradients, environment, hooks and weights that the method does not train."""
    outcome, _ = compare(["meddles", "well-behaved"], "{wmdp: {source: 'sandbox:wmdp'}}", "--executor", executor)
    assert outcome.returncode == 0, outcome.stderr
    rows = {row["variant"]: row["scores"] for row in json.loads(outcome.stdout)["rows"]}
    assert rows["well-behaved"] == alone["well-behaved"]
    assert "meddles changed model.embed_tokens.weight, which is not among what it trains" in outcome.stderr


def test_a_benchmark_that_fails_costs_its_column(compare, alone):
    """It raises; a twin of it changes the model's weights before the next benchmark scores."""
    benchmarks = (
        "{misbehaves: {}, meddling: {benchmark: misbehaves, how: meddles}, leaving: {benchmark: misbehaves, how: exits}, "
        "wmdp: {source: 'sandbox:wmdp'}}"
    )
    outcome, _ = compare(["well-behaved"], benchmarks.replace("leaving: {benchmark: misbehaves, how: exits}, ", ""))
    assert outcome.returncode == 1, outcome.stderr
    board = json.loads(outcome.stdout)
    assert {failure["cell"]: failure["error"] for failure in board["failures"]} == {
        f"{row}/misbehaves/0": "RuntimeError: no such question" for row in ("none", "well-behaved")
    }
    for row in board["rows"]:
        assert row["scores"]["wmdp"] == alone[row["variant"]]["wmdp"]
    assert "meddling changed the model that it scored" in outcome.stderr
