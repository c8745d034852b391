"""Attacks on the command line: asked for with a comparison, added to one that is there, refused in a sentence."""

from __future__ import annotations

import json

import pytest

DATA = (
    "--forget", "bio=sandbox:corpora:bio-forget", "--retain", "sandbox:corpora:retain", "--set", "wmdp.source=sandbox:wmdp",
    "--benchmarks", "wmdp", "--limit", "4", "--methods", "none",
)  # fmt: skip


@pytest.fixture
def run(cli, tiny_folder, tmp_path):
    out = tmp_path / "run"
    outcome = cli("compare", "--model", tiny_folder, *DATA, "--out", out)
    assert outcome.code == 0, outcome.err
    return out


def test_attacks_are_added_to_a_comparison_that_is_there(cli, run):
    before = {path: path.stat().st_mtime_ns for path in (run / "cells").rglob("*.json")}
    planned = cli("attack", run, "--attacks", "quantize:4,prune:30", "--dry-run")
    assert planned.code == 0, planned.err
    assert "wmdp under quantize:4" in " ".join(planned.out.split())
    assert not (run / "attacked").exists()
    outcome = cli("attack", run, "--attacks", "quantize:4", "--json")
    assert outcome.code == 0, outcome.err
    assert [attack["label"] for attack in json.loads(outcome.out)["attacks"]] == ["quantize:4"]
    outcome = cli("attack", run, "--attacks", "prune:30", "--json")
    assert [attack["label"] for attack in json.loads(outcome.out)["attacks"]] == ["quantize:4", "prune:30"]
    assert {path: path.stat().st_mtime_ns for path in (run / "cells").rglob("*.json")} == before
    shown = cli("show", run)
    assert "none/wmdp/0!quantize:4" in shown.out
    assert "quantize" in cli("show", run, "none/wmdp/0!quantize:4").out
    assert "the cells" not in cli("verify", run).err
    assert cli("verify", run).code == 0


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        ("bogus", "Unknown attack 'bogus'"),
        ("quantize:5", "Unknown grid of quantize '5'"),
        ("prune:x", "from 1 to 99"),
        ("relearn:all", "Unknown side of relearn"),
        ("quantize:./4", "must start with a letter"),
        ("lens:3", "takes nothing after a colon"),
        (",", "takes a list"),
    ],
)
def test_unfit_attack_is_refused_before_anything_is_written(cli, tiny_folder, tmp_path, attacks, said):
    out = tmp_path / "run"
    outcome = cli("compare", "--model", tiny_folder, *DATA, "--attacks", attacks, "--out", out)
    assert outcome.code == 2
    assert said in outcome.err
    assert not out.exists()


def test_options_of_attacks_are_set_like_those_of_rows(cli, tiny_folder, tmp_path):
    arguments = ("compare", "--model", tiny_folder, *DATA, "--out", tmp_path / "run", "--dry-run")
    outcome = cli(*arguments, "--attacks", "relearn", "--set", "relearn.rate=1")
    assert outcome.code == 2
    assert "Unknown option of relearn 'rate'. Did you mean 'rates'?" in outcome.err
    assert cli(*arguments, "--attacks", "relearn", "--set", "relearn.steps=3").code == 0


def test_an_attack_needs_a_benchmark_that_measures_a_topic(cli, tiny_folder, tmp_path):
    arguments = ("--forget", "bio=sandbox:corpora:bio-forget", "--retain", "sandbox:corpora:retain", "--methods", "none")
    scored = ("--benchmarks", "mmlu", "--set", "mmlu.source=sandbox:mmlu")
    outcome = cli("compare", "--model", tiny_folder, *arguments, *scored, "--attacks", "quantize:4", "--out", tmp_path / "run")
    assert outcome.code == 2
    assert "no benchmark measures a topic" in outcome.err


def test_a_folder_without_a_comparison_is_refused(cli, tmp_path):
    outcome = cli("attack", tmp_path, "--attacks", "lens")
    assert outcome.code == 2
    assert "is not the folder of a comparison" in outcome.err
