"""Real distributions, built and installed beside unlearnbench, found in no other way than the built-in plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.installing import install

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("grad_diff_demo", tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def broken_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install("broken", tmp_path_factory.mktemp("broken"))


@pytest.fixture
def command(cache: Path):
    def run(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(site), "UNLEARNBENCH_CACHE": str(cache)}
        line = [sys.executable, "-m", "unlearnbench", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, env=environment, check=False)

    return run


def test_is_listed_with_its_distribution(command, site):
    listed = json.loads(command(site, "plugins", "--json").stdout)
    expected = {
        "kind": "method",
        "name": "grad-diff-demo",
        "distribution": "unlearnbench-grad-diff-demo",
        "version": "0.3.1",
        "module": "unlearnbench_grad_diff_demo",
    }
    assert expected in listed
    assert [info["module"] for info in listed if info["name"] == "rmu"] == ["unlearnbench_methods.rmu"]


def test_shows_its_options(command, site):
    shown = command(site, "plugins", "grad_diff_demo", "--json")  # - and _ are alike
    facts = json.loads(shown.stdout)
    assert {option["name"]: option["default"] for option in facts["options"]} == {
        "lr": 1e-3,
        "retain_weight": 1.0,
        "steps": 5,
        "batch_size": 4,
        "max_length": 64,
        "max_chars": None,
        "order": "shuffled",
        "accumulate": 1,
        "checkpointing": False,
        "lr_schedule": None,
        "lr_warm_up": 0.0,
    }


def test_runs_in_a_comparison(command, site, tiny_folder, tmp_path):
    arguments = [
        "compare",
        "--model",
        tiny_folder,
        "--methods",
        "grad-diff-demo",
        "--limit",
        "5",
        "--out",
        tmp_path / "run",
        "--json",
    ]
    data = ["--forget", "bio=sandbox:corpora:bio-forget", "--retain", "sandbox:corpora:retain"]
    settings = ["--set", "wmdp.source=sandbox:wmdp", "--set", "mmlu.source=sandbox:mmlu", "--set", "grad-diff-demo.lr=2e-2"]
    outcome = command(site, *arguments, *data, *settings)
    assert outcome.returncode == 0, outcome.stderr
    board = json.loads(outcome.stdout)
    row = board["rows"][1]
    assert (row["variant"], row["status"]) == ("grad-diff-demo", "done")
    assert row["cost"]["trained_parameters"] > 0
    cell = next((tmp_path / "run" / "cells" / "grad-diff-demo" / "wmdp").glob("*.json"))
    provenance = json.loads(cell.read_text())["provenance"]
    assert provenance["method_options"] == {"lr": 0.02, "retain_weight": 1.0}
    assert provenance["budget"]["steps"] == 5
    assert provenance["method_distribution"] == "unlearnbench-grad-diff-demo 0.3.1"
    assert provenance["weights"] != provenance["base_weights"]


def test_an_attack_runs_beside_those_that_come_with_it(command, tiny_folder, tmp_path):
    site = install("noisy_attack", tmp_path / "site")
    arguments = ["compare", "--model", tiny_folder, "--methods", "none", "--benchmarks", "wmdp", "--limit", "4"]
    data = ["--forget", "bio=sandbox:corpora:bio-forget", "--retain", "sandbox:corpora:retain"]
    settings = ["--set", "wmdp.source=sandbox:wmdp", "--set", "noisy.size=0.2"]
    run = ["--attacks", "noisy,quantize:8", "--out", tmp_path / "run", "--json"]
    outcome = command(site, *arguments, *data, *settings, *run)
    assert outcome.returncode == 0, outcome.stderr
    heads = {attack["label"]: attack for attack in json.loads(outcome.stdout)["attacks"]}
    assert heads["noisy"]["options"] == {"size": 0.2}
    assert heads["noisy"]["half"] == "reporting"
    cell = next((tmp_path / "run" / "attacked" / "none" / "noisy" / "wmdp").glob("*.json"))
    facts = json.loads(cell.read_text())["provenance"]["attack"]
    assert facts["distribution"] == "unlearnbench-noisy-attack 0.4.0"
    assert [point["trial"] for point in facts["trials"]] == [0, 1, 2]


def test_two_distributions_with_one_name_are_refused(command, tmp_path):
    """Whoever asks for it; both stand in the list, and the other methods work."""
    rival = install("rival_rmu", tmp_path / "site")
    for arguments in (("compare", "--methods", "rmu", "--out", tmp_path / "run"), ("plugins", "rmu")):
        outcome = command(rival, *arguments)
        assert outcome.returncode == 2
        assert outcome.stderr.count("\n") == 1
        assert "offered twice" in outcome.stderr
        assert "rival-rmu 1.0" in outcome.stderr
        assert "unlearnbench 0.1.0" in outcome.stderr
    assert not (tmp_path / "run").exists()
    listed = json.loads(command(rival, "plugins", "--json").stdout)
    assert {info["distribution"] for info in listed if info["name"].lower() == "rmu"} == {"unlearnbench", "rival-rmu"}
    assert command(rival, "plugins", "scrub").returncode == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-import", "cannot be imported from broken_plugins.no_import: ModuleNotFoundError"),
        ("no-hook", "does not implement the hook unlearnbench_methods"),
        ("misspelt", "has a hook that does not exist"),
        ("other-name", "offers another in broken_plugins.other_name, but nothing called 'other-name'"),
        ("raises", "fails in unlearnbench_methods: RuntimeError: no licence"),
    ],
)
def test_broken_plugin_is_named_with_its_distribution(command, broken_site, name, said):
    outcome = command(broken_site, "plugins", name)
    assert outcome.returncode == 2
    assert said in outcome.stderr
    assert "broken-plugins 1.0" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_broken_plugins_do_not_stop_the_list_or_the_others(command, broken_site):
    listed = command(broken_site, "plugins")
    assert listed.returncode == 0
    assert "no-import" in listed.stdout
    assert command(broken_site, "plugins", "rmu").returncode == 0


def test_a_method_that_fails_costs_its_own_row(command, broken_site, tiny_folder, tmp_path):
    """It zeroes every weight, then raises; the rows after it and the baseline do not notice. Two specs, one module."""
    arguments = ["compare", "--model", tiny_folder, "--methods", "fails-in-step,diverges,rmu", "--limit", "4", "--json"]
    data = ["--forget", "bio=sandbox:corpora:bio-forget", "--retain", "sandbox:corpora:retain"]
    settings = ["--set", "wmdp.source=sandbox:wmdp", "--benchmarks", "wmdp", "--set", "rmu.layer=3", "--set", "rmu.steps=2"]
    together = command(broken_site, *arguments, *data, *settings, "--out", tmp_path / "together")
    assert together.returncode == 1
    rows = {row["variant"]: row for row in json.loads(together.stdout)["rows"]}
    assert {name: row["status"] for name, row in rows.items()} == {
        "none": "done",
        "rmu": "done",
        "fails-in-step": "failed",
        "diverges": "diverged",
    }
    failures = {failure["cell"]: failure["error"] for failure in json.loads(together.stdout)["failures"]}
    assert failures["fails-in-step/wmdp/0"] == "RuntimeError: out of luck"
    assert "loss is nan" in failures["diverges/wmdp/0"]
    alone = command(
        broken_site, *arguments[:4], "rmu", *arguments[5:], *data, *settings, "--out", tmp_path / "alone", "--cache", tmp_path
    )
    assert json.loads(alone.stdout)["rows"][1]["scores"] == rows["rmu"]["scores"]
