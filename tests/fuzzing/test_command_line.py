"""The same through the command: exit code 2 and a sentence, or 0 and the numbers of the whole input; never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Outcome
from helpers.mutations import Bytes, damaged, is_another_model, profile
from hypothesis import given
from hypothesis import strategies as st

CORPUS = "".join(json.dumps({"text": f"The archive keeps lantern {number} of copper."}) + "\n" for number in range(6))
RECIPE = """model: MODEL
topics:
  bio: {forget: forget.jsonl, retain: "sandbox:corpora:retain"}
benchmarks:
  wmdp: {source: "sandbox:wmdp"}
methods:
  grad-diff: {lr: 1.0e-4, steps: 2, batch_size: 2, accumulate: 1, max_length: 16}
limit: 2
"""
DAMAGED = ("forget.jsonl", "small.yaml", "model/config.json")
PLAN = ("compare", "small.yaml", "--dry-run", "--out", "run")
SCORE = ("evaluate", "model", "--benchmarks", "wmdp", "--set", "wmdp.source=sandbox:wmdp", "--limit", "2", "--json")


@pytest.fixture
def folder(tiny_folder, tmp_path, monkeypatch) -> Path:
    """Everything that a comparison needs, and where the commands are given."""
    shutil.copytree(tiny_folder, tmp_path / "model")
    (tmp_path / "forget.jsonl").write_text(CORPUS)
    (tmp_path / "small.yaml").write_text(RECIPE.replace("MODEL", "./model"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(outcome, folder: Path) -> bool:
    """Whether the command was carried out; where it was not, one sentence says why."""
    assert outcome.code in (0, 2), outcome.err
    assert "Traceback" not in outcome.err
    if outcome.code == 2:
        assert outcome.out == ""
        assert outcome.err.startswith("unlearnbench: ")
        assert not (folder / "run").exists()
    return outcome.code == 0


@pytest.mark.parametrize("name", DAMAGED)
@profile(2, one_in=10)
@given(data=st.data())
def test_a_plan(name, data, cli, folder):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(data.draw(damaged(content)).content)
    check(cli(*PLAN), folder)
    (folder / name).write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model/config.json", "model/tokenizer_config.json"])
@profile(8, one_in=30)
@given(data=st.data())
def test_scores_in_a_process_of_its_own(name, data, cache, folder, whole):
    """What a model folder scores is what it scored before, or it is refused."""
    content = (folder / name).read_bytes()
    changed: Bytes = data.draw(damaged(content))
    (folder / name).write_bytes(changed.content)
    found = run(folder, cache)
    (folder / name).write_bytes(content)
    if check(found, folder):
        assert value(found) == whole or is_another_model(json.loads(content), json.loads(changed.content))


@pytest.fixture
def whole(folder, cache) -> object:
    """What the untouched folder scores; the fixture is the same for all mutations of a test."""
    outcome = run(folder, cache)
    assert check(outcome, folder)
    return value(outcome)


def run(folder: Path, cache: Path) -> Outcome:
    shutil.rmtree(folder / "run", ignore_errors=True)
    command = [sys.executable, "-m", "unlearnbench", *SCORE, "--out", "run"]
    there = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    done = subprocess.run(command, cwd=folder, env=there, capture_output=True, text=True, timeout=300, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def value(outcome: Outcome) -> object:
    return [row["scores"]["wmdp"]["value"] for row in json.loads(outcome.out)["rows"]]
