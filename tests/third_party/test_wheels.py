"""Wheels of unlearnbench and of plugins in a fresh environment, as on anybody's machine: `make third-party`.

Only what others wrote (torch and the like) is shared with the environment that runs the test; unlearnbench and the plugins
come from their wheels.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.installing import ROOT, THIRD_PARTY, Fresh, build

pytestmark = pytest.mark.slow
PLUGINS = ("grad_diff_demo", "sums", "broken", "clumsy", "future", "rival_rmu")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, *(THIRD_PARTY / name for name in PLUGINS)):
        build(source, folder, "--wheel")
    return folder


@pytest.fixture(scope="module")
def fresh(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """unlearnbench and all plugins but the one that claims a name that is taken."""
    environment = Fresh(tmp_path_factory.mktemp("environment") / "venv", tmp_path_factory.mktemp("cache"))
    environment.link(next(wheels.glob("unlearnbench-0*.whl")))
    environment.install(*(wheel for wheel in wheels.glob("*.whl") if not wheel.name.startswith("rival")))
    return environment


def test_everything_comes_from_its_wheel(fresh):
    code = "import unlearnbench, unlearnbench_methods.rmu as rmu; print(unlearnbench.__file__); print(rmu.__file__)"
    said = fresh.run(fresh.python, "-c", code).stdout
    assert all(Path(line).is_relative_to(fresh.packages) for line in said.split())
    assert {path.name for path in fresh.packages.iterdir()} >= {
        "unlearnbench",
        "unlearnbench_methods",
        "unlearnbench_benchmarks",
    }
    assert not {"methods", "benchmarks", "tests", "docs"} & {path.name for path in fresh.packages.iterdir()}


def test_all_are_listed(fresh):
    listed = json.loads(fresh("plugins", "--json").stdout)
    assert {"grad-diff-demo", "sums", "no-import", "wrong-argument", "talkative", "future"} <= {info["name"] for info in listed}
    assert {info["distribution"] for info in listed if info["name"] == "sums"} == {"unlearnbench-sums"}


@pytest.mark.parametrize("name", ["grad-diff-demo", "sums"])
def test_plugins_are_checked(fresh, name):
    done = fresh("check", name, "--json")
    outcomes = json.loads(done.stdout)
    assert done.returncode == 0, [outcome for outcome in outcomes if outcome["status"] == "failed"]
    assert len(outcomes) > 15


def test_plugins_are_compared(fresh, tmp_path):
    arguments = ("--methods", "grad-diff-demo,rmu,talkative", "--benchmarks", "wmdp,sums", "--limit", "3", "--json")
    settings = ("--set", "rmu.steps=2", "--set", "rmu.batch_size=2", "--set", "grad-diff-demo.steps=2")
    done = fresh("compare", *arguments, *settings, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row["status"] for row in json.loads(done.stdout)["rows"]}  # talkative's welcome is no JSON
    assert rows == {"none": "done", "grad-diff-demo": "done", "rmu": "done", "talkative": "done"}
    assert "Welcome to talkative" in done.stderr
    assert "wrong-callbacks" in done.stderr  # an extension with a wrong argument costs a line, not the comparison


def test_new_plugin_becomes_a_wheel(fresh, tmp_path):
    """What `new` of the installed wheel writes, built, installed, checked and compared."""
    assert fresh("new", "method", "afternoon", "--out", tmp_path / "afternoon").returncode == 0
    build(tmp_path / "afternoon", tmp_path, "--wheel")
    fresh.install(*tmp_path.glob("*.whl"))
    checked = fresh("check", "afternoon", "--json")
    outcomes = json.loads(checked.stdout)
    assert checked.returncode == 0, [outcome for outcome in outcomes if outcome["status"] == "failed"]
    assert {outcome["status"] for outcome in outcomes} == {"passed"}
    budget = ("--set", "afternoon.steps=2", "--set", "afternoon.batch_size=2", "--limit", "3")
    done = fresh("compare", "--methods", "afternoon", *budget, "--json", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in json.loads(done.stdout)["rows"]] == ["done", "done"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-import", "broken-plugins 1.0 cannot be imported from broken_plugins.no_import: ModuleNotFoundError"),
        ("wrong-argument", "clumsy-plugins 1.0 has a hook that does not exist or takes other arguments"),
        ("future", "plugin-of-the-future 1.0 needs unlearnbench>=99, and this is 0.1.0; upgrade unlearnbench"),
    ],
)
def test_broken_plugins_are_named(fresh, name, said):
    for arguments in (("plugins", name), ("check", name), ("compare", "--methods", name)):
        done = fresh(*arguments)
        assert done.returncode == 2
        assert said in done.stderr.replace("\n", " ")
        assert "Traceback" not in done.stderr


def test_a_name_that_is_taken(wheels, fresh, tmp_path):
    environment = Fresh(tmp_path / "venv", fresh.outside)
    environment.link(next(wheels.glob("unlearnbench-0*.whl")))
    environment.install(*wheels.glob("unlearnbench-0*.whl"), *wheels.glob("rival*.whl"))
    done = environment("compare", "--methods", "rmu", "--out", tmp_path / "run")
    assert (done.returncode, (tmp_path / "run").exists()) == (2, False)
    assert "offered twice" in done.stderr
    assert "rival-rmu 1.0" in done.stderr
