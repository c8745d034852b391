"""What earlier versions left is read, shown and verified; their plugins run, or are refused in a sentence.

A folder per release: `run`, a finished comparison as that release wrote it (less report.html and the largest deltas), and
wheels of plugins that were built against it. They are never written again: what changes is the code that reads them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VERSIONS = sorted(folder.name for folder in HERE.iterdir() if (folder / "run").is_dir())
NUMBERS = ("value", "low", "high", "n")


@pytest.fixture(params=VERSIONS)
def run(request, tmp_path: Path) -> Path:
    """A copy: some commands write into the folder that they read."""
    return Path(shutil.copytree(HERE / request.param / "run", tmp_path / "run"))


def test_there_is_a_run_of_the_first_release():
    assert "0.1.0" in VERSIONS


def test_the_table_is_the_one_that_was_written(cli, run):
    """Made again from the items: every row, figure, interval, verdict and rank."""
    outcome = cli("leaderboard", run, "--format", "json")
    assert outcome.code == 0, outcome.err
    then, now = json.loads((run / "leaderboard.json").read_text()), json.loads(outcome.out)
    assert [row["variant"] for row in now["rows"]] == [row["variant"] for row in then["rows"]]
    for old, new in zip(then["rows"], now["rows"], strict=True):
        for key in ("method", "seeds", "rank", "verdict", "evidence", "status", "intervals"):
            assert new[key] == old[key], (old["variant"], key)
        assert {**new["cost"], **old["cost"]} == new["cost"], old["variant"]  # later versions have more kinds of cost
        for title, one in old["columns"].items():
            assert {name: new["columns"][title][name] for name in NUMBERS} == {name: one[name] for name in NUMBERS}
        assert (new["summary"] or {}).get("topics") == (old["summary"] or {}).get("topics")
    assert cli("leaderboard", run, "--explain").code == 0


def test_it_verifies(cli, run):
    outcome = cli("verify", run)
    assert outcome.code == 0, outcome.err + outcome.out


def test_a_changed_number_is_found_in_it(cli, run):
    """The check of an old folder can fail."""
    path = next((run / "cells" / "rmu" / "mmlu").glob("seed-0-*.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "value": 0.123}))
    outcome = cli("verify", run)
    assert outcome.code == 1
    assert "rmu/mmlu/0" in outcome.out + outcome.err


@pytest.mark.parametrize(
    "command",
    [
        ("show", "RUN"),
        ("show", "RUN", "rmu/mmlu/1"),
        ("report", "RUN"),
        ("answers", "RUN", "rmu"),
        ("diff", "RUN", "RUN"),
        ("card", "RUN", "rmu"),
        ("leaderboard", "RUN", "--format", "csv"),
    ],
    ids=lambda words: " ".join(words),
)
def test_it_is_shown(cli, run, command):
    outcome = cli(*(run if word == "RUN" else word for word in command))
    assert outcome.code == 0, outcome.err
    assert outcome.out.strip() or (run / "report.html").is_file()


def test_where_a_number_came_from_is_still_told(cli, run):
    """Fields that this version calls otherwise, too: the code's hash, and what a control is like."""
    outcome = cli("show", run, "noise/mmlu/0", "--json")
    facts = json.loads(outcome.out)["provenance"]
    printed = cli("show", run, "noise/mmlu/0").out
    for name in (name for name in ("core_source", "scoring_source", "noise_of", "derived_from") if name in facts):
        assert name.replace("_", " ") in printed
        assert str(facts[name]) in printed


def test_its_model_is_exported_or_refused_in_a_sentence(cli, run, tmp_path):
    """The weights were kept as a difference from a model that may have changed since."""
    outcome = cli("export", run, "rmu", tmp_path / "model", "--seed", "0")
    if outcome.code:
        assert outcome.code == 2
        assert outcome.err.count("\n") <= 2
        assert not (tmp_path / "model").exists()
    else:
        assert (tmp_path / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("version", VERSIONS)
def test_its_plugins_run_or_are_refused_in_a_sentence(version, tmp_path, cache):
    """A method and a benchmark, as the wheels that were published then."""
    site = tmp_path / "site"
    wheels = sorted((HERE / version).glob("*.whl"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, *map(str, wheels)], check=True, capture_output=True)
    words = ["compare", "--methods", "grad-diff-demo", "--benchmarks", "wmdp,sums", "--set", "grad-diff-demo.steps=2"]
    command = [sys.executable, "-m", "unlearnbench", *words, "--limit", "2", "--out", str(tmp_path / "run"), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(site), "UNLEARNBENCH_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" not in done.stderr
    if done.returncode == 2:
        assert "unlearnbench" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["grad-diff-demo"]["status"] == "done"
    assert set(rows["grad-diff-demo"]["scores"]) == {"wmdp", "sums"}
