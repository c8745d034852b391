"""`show`: a cell with everything its number came from; and what a row cost, the reused part included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ARGUMENTS = (
    "compare",
    "--reference",
    "chance",
    "--methods",
    "ssd",
    "--benchmarks",
    "wmdp,mmlu",
    "--limit",
    "2",
    "--set",
    "ssd.steps=3",
)

REQUIRED = (
    "base_weights",
    "weights",
    "method_source",
    "method_distribution",
    "method_options",
    "budget",
    "benchmark_source",
    "benchmark_options",
    "data",
    "prompt_version",
    "dtype",
    "device",
    "torch",
    "transformers",
    "lightning",
    "datasets",
    "python",
    "seed",
    "unlearnbench",
    "scoring_source",
    "written",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache: Path) -> Path:
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("shown") / "run"
    environment = {**os.environ, "UNLEARNBENCH_CACHE": str(cache)}
    line = [sys.executable, "-m", "unlearnbench", *ARGUMENTS, "--out", str(folder)]
    outcome = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return folder


def test_everything_a_number_depends_on(cli, finished):
    record = json.loads(cli("show", finished, "ssd/wmdp/0", "--json").out)
    facts = record["provenance"]
    for name in REQUIRED:
        assert facts[name] is not None, name
    assert {"data_revision", "git", "limit"} <= facts.keys()
    assert facts["git"] is None or len(facts["git"]["commit"]) == 40
    assert facts["topics"]["bio"].keys() >= {"forget", "retain"}
    shown = cli("show", finished, "ssd/wmdp/0").out
    for words in ("ssd/wmdp/0: accuracy", "base weights", facts["base_weights"], "method options", "trained parameters", "git"):
        assert words in shown


def test_names_of_cells(cli, finished):
    assert cli("show", finished).out.splitlines()[0].startswith("none/wmdp/0: accuracy")
    assert cli("show", finished, "ssd/mmlu").out.startswith("ssd/mmlu/0: ")
    several = cli("show", finished, "ssd")
    assert (several.code, several.out) == (2, "")
    assert "'ssd' stands for 2 cells: ssd/wmdp/0, ssd/mmlu/0." in several.err
    misspelt = cli("show", finished, "ssd/wmpd/0")
    assert misspelt.code == 2
    assert "Did you mean 'ssd/wmdp/0'?" in misspelt.err
    assert "There is no folder" in cli("show", finished / "nowhere").err
    assert "is not the folder of a comparison" in cli("show", finished / "cells").err


def test_reused_pass_is_part_of_the_cost(cli, finished):
    """Another alpha takes the kept ratio: its row still costs what making the ratio took, marked as reused."""
    first = json.loads((finished / "leaderboard.json").read_text())["rows"][1]["cost"]
    again = json.loads(cli(*ARGUMENTS, "--set", "ssd.alpha=2", "--out", finished, "--json").out)["rows"]
    cost = next(row for row in again if row["variant"] == "ssd")["cost"]
    cli(*ARGUMENTS, "--out", finished)
    assert first["reused_seconds"] is None
    assert 0 < cost["reused_seconds"] <= cost["unlearn_seconds"]
    assert cost["reused_seconds"] == pytest.approx(first["unlearn_seconds"], rel=0.7)
    assert cost["tokens"] == first["tokens"] > 0
    assert cost["trained_parameters"] == first["trained_parameters"] > 0
    assert min(cost["evaluate_seconds"], cost["peak_bytes"]) > 0
    assert cost["peak_gpu_bytes"] is None
