"""Real plugins that raise, crash, hang, hoard, babble or meddle: each costs its own row, and nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.installing import install

DATA = """
model: {model}
topics:
  bio: {{forget: "sandbox:corpora:bio-forget", retain: "sandbox:corpora:retain", parts: [wmdp/bio]}}
dtype: float32
limit: 2
"""
RAISE = {
    "raises-in-constructor": ("failed", "RuntimeError: no such block"),
    "raises-in-step": ("failed", "RuntimeError: out of luck"),
    "leaves": ("failed", "SystemExit: 0"),
    "not-a-number": ("diverged", "the loss is nan at update 1"),
    "explodes": ("diverged", "the loss exploded from"),
}
CRASH = {  # what only a process of its own survives
    "raises-on-import": ("failed", "cannot be imported from misbehaving_plugins.raises_on_import: RuntimeError: no GPU"),
    "exits-on-import": ("failed", "misbehaving-plugins 1.0 cannot be loaded: its process left with exit code 7"),
    "exits": ("failed", "its process left with exit code 3 before the job was done; its output is in logs/exits/"),
    "segfaults": ("failed", "its process was ended by SIGSEGV (segmentation fault); its output is in logs/segfaults/"),
    "hoards": ("failed", "MB of --job-memory, and were stopped"),
}
WMDP = "{wmdp: {source: 'sandbox:wmdp'}}"


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
def alone(compare) -> dict[str, object]:
    """What the rows score that behave well, when nobody misbehaves before them, in one process."""
    outcome, run = compare(["well-behaved"], WMDP)
    assert outcome.returncode == 0, outcome.stderr
    scores = {row["variant"]: row["scores"] for row in json.loads(outcome.stdout)["rows"]}
    return {**scores, "delta": delta_of(run, "well-behaved")}


def delta_of(run: Path, row: str) -> bytes:
    return next((run / "deltas" / row).rglob("delta.safetensors")).read_bytes()


def assert_only_these_are_spoilt(outcome, run: Path, alone: dict[str, object], spoilt: dict[str, tuple[str, str]]) -> None:
    assert outcome.returncode == 1, outcome.stderr
    assert "Traceback" not in outcome.stderr
    board = json.loads(outcome.stdout)  # though one of them babbles
    rows = {row["variant"]: row for row in board["rows"]}
    failures = {failure["cell"].split("/")[0]: failure["error"] for failure in board["failures"]}
    assert {name: rows[name]["status"] for name in spoilt} == {name: status for name, (status, _) in spoilt.items()}
    for name, (_, words) in spoilt.items():
        assert words in failures[name], failures[name]
    for name, like in (("none", "none"), ("babbles", "well-behaved"), ("well-behaved", "well-behaved")):
        assert rows[name]["status"] == "done"
        assert rows[name]["scores"] == alone[like]
        assert name == "none" or delta_of(run, name) == alone["delta"]


def test_in_one_process_the_next_job_does_not_notice(compare, alone):
    """Exceptions, losses that are no use, rubbish on stdout; generators, default dtype, environment, hooks, weights changed."""
    outcome, run = compare([*RAISE, "babbles", "meddles", "well-behaved"], WMDP)
    assert_only_these_are_spoilt(outcome, run, alone, RAISE)
    assert "meddles changed model.embed_tokens.weight, which is not among what it trains" in outcome.stderr


def test_whatever_one_plugin_does_the_others_are_complete(compare, alone):
    """Crashes while loading and while training, memory without end; two jobs at a time."""
    rows = [*CRASH, "babbles", "well-behaved"]
    outcome, run = compare(rows, WMDP, "--executor", "isolated", "--jobs", "2", "--job-memory", "1500MB")
    assert_only_these_are_spoilt(outcome, run, alone, CRASH)
    for row in ("raises-on-import", "exits-on-import"):
        assert f"warning: the row {row} will fail: The method '{row}' of misbehaving-plugins 1.0 cannot be " in outcome.stderr
    log = next((run / "logs" / "babbles").rglob("output.log")).read_text()
    assert "rubbish in a step" in log
    assert "rubbish of a child" in log
    assert "Segmentation fault" in next((run / "logs" / "segfaults").rglob("output.log")).read_text()


@pytest.mark.slow
def test_all_of_them_in_processes_of_their_own(compare, alone):
    """As above, with every plugin that misbehaves, one after the other."""
    rows = [*RAISE, *CRASH, "meddles", "babbles", "well-behaved"]
    outcome, run = compare(rows, WMDP, "--executor", "isolated", "--job-memory", "1500MB")
    assert_only_these_are_spoilt(outcome, run, alone, {**RAISE, **CRASH})


def test_a_request_to_stop_is_heard_though_a_method_swallows_it(compare):
    """What it makes of the rest of its training is not kept, and is no failure."""
    outcome, run = compare(["swallows"], WMDP)
    assert outcome.returncode == 143, outcome.stderr
    assert outcome.stderr.splitlines()[-1].startswith("Stopped by SIGTERM. Finished cells are kept in ")
    assert not list((run / "cells").glob("swallows/**/*.json"))
    assert not list((run / "deltas").rglob("*.safetensors"))


def test_a_hang_ends_with_its_time(compare, site, tiny_folder):
    """The baseline is scored first, without a limit; then the process that hangs is stopped, with what it had started."""
    outcome, run = compare(["hangs"], WMDP, "--methods", "none")
    assert outcome.returncode == 0, outcome.stderr
    line = [sys.executable, "-m", "unlearnbench", "compare", str(run.parent / "r.yaml"), "--out", str(run)]
    environment = {**os.environ, "PYTHONPATH": str(site), "UNLEARNBENCH_CACHE": str(run.parent / "cache")}
    limits = ["--executor", "isolated", "--job-timeout", "15"]
    outcome = subprocess.run([*line, *limits], capture_output=True, text=True, env=environment, check=False)
    assert outcome.returncode == 1, outcome.stderr
    assert "hangs/wmdp/0: failed: it took longer than the 15 seconds of --job-timeout and was stopped" in outcome.stderr
    assert "none, seed 0" not in outcome.stderr


def test_a_benchmark_that_fails_costs_its_column(compare, alone):
    """It raises, or would end the command; a twin of it changes the weights before the next benchmark scores."""
    twins = "leaving: {benchmark: misbehaves, how: leaves}, meddling: {benchmark: misbehaves, how: meddles}"
    benchmarks = f"{{misbehaves: {{}}, {twins}, wmdp: {{source: 'sandbox:wmdp'}}}}"
    outcome, _ = compare(["well-behaved"], benchmarks)
    assert outcome.returncode == 1, outcome.stderr
    board = json.loads(outcome.stdout)
    assert {failure["cell"]: failure["error"] for failure in board["failures"]} == {
        f"{row}/{column}/0": error
        for row in ("none", "well-behaved")
        for column, error in (("misbehaves", "RuntimeError: no such question"), ("leaving", "SystemExit: 0"))
    }
    for row in board["rows"]:
        assert row["scores"]["wmdp"] == alone[row["variant"]]["wmdp"]
    assert "meddling changed the model that it scored" in outcome.stderr


def lost_columns(outcome) -> dict[str, str]:
    return {failure["cell"]: failure["error"] for failure in json.loads(outcome.stdout)["failures"]}


@pytest.mark.slow
def test_a_benchmark_that_crashes_costs_one_cell(compare, alone):
    """Another process takes the weights that were kept, and scores the rest; nothing is trained twice."""
    benchmarks = "{misbehaves: {how: exits}, wmdp: {source: 'sandbox:wmdp'}}"
    outcome, run = compare(["well-behaved"], benchmarks, "--executor", "isolated", "--jobs", "2")
    assert outcome.returncode == 1, outcome.stderr
    rows = ("none", "well-behaved")
    assert lost_columns(outcome).keys() == {f"{row}/misbehaves/0" for row in rows}
    for row in json.loads(outcome.stdout)["rows"]:
        assert "its process left with exit code 3" in lost_columns(outcome)[f"{row['variant']}/misbehaves/0"]
        assert row["scores"]["wmdp"] == alone[row["variant"]]["wmdp"]
    assert delta_of(run, "well-behaved") == alone["delta"]
    assert outcome.stderr.count("well-behaved, seed 0: unlearning") == 1
    assert "2 cells failed: " in outcome.stderr
    assert "--retry-failed computes what failed again" in outcome.stderr


@pytest.mark.slow
def test_benchmarks_that_crash_and_hang_in_every_way(compare, alone):
    twins = ", ".join(f"{how}: {{benchmark: misbehaves, how: {how}}}" for how in ("exits", "segfaults", "hangs", "leaves"))
    benchmarks = f"{{{twins}, wmdp: {{source: 'sandbox:wmdp'}}}}"
    outcome, _ = compare(["well-behaved"], benchmarks, "--executor", "isolated", "--job-timeout", "30")
    assert outcome.returncode == 1, outcome.stderr
    words = {
        "exits": "its process left with exit code 3",
        "segfaults": "its process was ended by SIGSEGV",
        "hangs": "it took longer than the 30 seconds of --job-timeout",
        "leaves": "SystemExit: 0",
    }
    lost = lost_columns(outcome)
    assert lost.keys() == {f"{row}/{how}/0" for row in ("none", "well-behaved") for how in words}
    for cell, error in lost.items():
        assert words[cell.split("/")[1]] in error
    for row in json.loads(outcome.stdout)["rows"]:
        assert row["scores"]["wmdp"] == alone[row["variant"]]["wmdp"]
    assert outcome.stderr.count("well-behaved, seed 0: unlearning") == 1


def test_benchmarks_that_cannot_be_made_are_named(compare):
    """One would take the whole command with it; both are said, and nothing is written."""
    benchmarks = "{exits-on-import: {}, misbehaves: {how: stumbles}, wmdp: {source: 'sandbox:wmdp'}}"
    outcome, run = compare(["well-behaved"], benchmarks, "--executor", "isolated")
    assert outcome.returncode == 2, outcome.stderr
    assert outcome.stdout == ""
    _, first, second = outcome.stderr.splitlines()
    assert first == (
        "  1. The benchmark 'exits-on-import' of misbehaving-plugins 1.0 cannot be loaded: its process left with exit code 7 "
        "before the job was done."
    )
    said = "  2. The benchmark 'misbehaves' of misbehaving-plugins 1.0 fails in its constructor: RuntimeError: no such file ("
    assert second.startswith(said)
    assert re.search(r"/misbehaving_plugins/benchmarks\.py, line \d+\)\.$", second)
    assert not run.exists()


def test_in_one_process_a_method_that_cannot_be_imported_is_an_error(compare):
    """It says how to go on without it; nothing is written."""
    outcome, run = compare(["raises-on-import", "well-behaved"], WMDP)
    assert (outcome.returncode, outcome.stdout) == (2, "")
    assert "The method 'raises-on-import' of misbehaving-plugins 1.0 cannot be imported" in outcome.stderr
    assert "leave the row out; `compare --executor isolated` goes on without it." in outcome.stderr
    assert not run.exists()
