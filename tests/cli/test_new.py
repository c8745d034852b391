"""`unlearnbench new`: what it writes is a distribution that installs, runs and passes its own checks."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def install(folder: Path, target: Path) -> None:
    """As `pip install` does it, without asking a network for anything."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*command, str(folder)], check=True, capture_output=True)


def test_writes_a_whole_distribution(cli, here):
    outcome = cli("new", "method", "soft-steering")
    assert outcome.code == 0, outcome.err
    assert "unlearnbench compare --methods soft-steering" in outcome.out
    folder = here / "unlearnbench-soft-steering"
    files = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert files == {
        "unlearnbench_soft_steering.py", "tests/test_unlearnbench_soft_steering.py", "pyproject.toml", "README.md", "LICENSE",
        ".gitignore", ".github/workflows/tests.yml",
    }  # fmt: skip
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {"unlearnbench.methods": {"soft-steering": "unlearnbench_soft_steering"}}
    assert "class SoftSteering(UnlearningMethod)" in (folder / "unlearnbench_soft_steering.py").read_text()
    assert "${{ matrix.python }}" in (folder / ".github/workflows/tests.yml").read_text()
    for file in files:
        text = (folder / file).read_text()
        assert "$name" not in text
        assert "$module" not in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Soft", "small letters"),
        ("soft_steering", "small letters"),
        ("-soft", "No such option"),
        ("../soft", "small letters"),
        ("soft--er", "small letters"),
        ("7b", "small letters"),
        ("x" * 41, "at most 40"),
        ("rmu", "'rmu' is a method of unlearnbench already"),
        ("mt-bench", "'mt-bench' is a benchmark of unlearnbench already"),
        ("no", "A recipe would read 'no' as False"),
        ("benchmarks", "The module unlearnbench_benchmarks comes with unlearnbench"),
    ],
)
def test_unfit_name_is_refused_and_nothing_written(cli, here, name, said):
    outcome = cli("new", "method", name)
    assert outcome.code == 2
    assert said in outcome.err
    assert list(here.iterdir()) == []


def test_nothing_is_overwritten(cli, here):
    assert cli("new", "benchmark", "sums").code == 0
    kept = (here / "unlearnbench-sums" / "README.md").read_bytes()
    outcome = cli("new", "method", "sums", "--out", "unlearnbench-sums")
    assert outcome.code == 2
    assert "exists already" in outcome.err
    assert (here / "unlearnbench-sums" / "README.md").read_bytes() == kept
    assert not (here / "unlearnbench-sums" / "unlearnbench_sums.py").read_text().count("UnlearningMethod")
    assert cli("new", "method", "sums", "--out", "elsewhere").code == 0


def test_all_install_and_run_on_the_sandbox(cli, here, cache):
    """With few updates and items; a method and benchmarks, installed side by side, in a process of their own."""
    assert cli("new", "method", "newcomer").code == 0
    assert cli("new", "benchmark", "new-sums").code == 0
    assert cli("new", "benchmark", "new-words", "--generation").code == 0
    site = here / "site"
    for folder in ("unlearnbench-newcomer", "unlearnbench-new-sums", "unlearnbench-new-words"):
        install(here / folder, site)
    command = [
        sys.executable, "-m", "unlearnbench", "compare", "--methods", "newcomer", "--benchmarks", "wmdp,new-sums,new-words",
        "--limit", "3", "--set", "newcomer.steps=3", "--set", "newcomer.batch_size=2", "--json", "--out", "run",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(site), "UNLEARNBENCH_CACHE": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["variant"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows["newcomer"]["status"] == "done"
    assert set(rows["newcomer"]["scores"]) == {"wmdp", "new-sums", "new-words"}


def test_what_is_written_is_clean(cli, here):
    """By the settings that are written, too."""
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    if ruff is None:
        pytest.skip("ruff is not installed beside Python")
    for kind, *more in (("method",), ("benchmark",), ("benchmark", "--generation", "--out", "unlearnbench-tidy-generation")):
        assert cli("new", kind, f"tidy-{kind}", *more).code == 0
        for command in (["check"], ["format", "--check"]):
            done = subprocess.run([ruff, *command, "."], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [
        ("method", "training", ()),
        ("method", "unlearning-method", ()),
        ("benchmark", "question", ()),
        ("benchmark", "pair", ("--generation",)),
    ],
)
def test_class_is_not_called_as_what_it_imports(cli, here, kind, name, more, monkeypatch):
    assert cli("new", kind, name, *more).code == 0
    monkeypatch.syspath_prepend(str(here / f"unlearnbench-{name}"))
    importlib.invalidate_caches()
    module = importlib.import_module(f"unlearnbench_{name.replace('-', '_')}")
    (spec,) = getattr(module, f"unlearnbench_{kind}s")()
    assert (spec.name, spec.factory.__module__) == (name, module.__name__)


def test_place_with_a_space_can_be_copied(cli, here):
    outcome = cli("new", "method", "newcomer", "--out", "my plugins/newcomer")
    assert "pip install -e 'my plugins/newcomer'" in outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("asked", [("method",), ("benchmark",), ("benchmark", "--generation")], ids="-".join)
def test_its_own_tests_pass(cli, here, asked):
    """The test file that it writes, run by pytest as its author would run it."""
    assert cli("new", asked[0], "newcomer", *asked[1:]).code == 0
    site = here / "site"
    install(here / "unlearnbench-newcomer", site)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd="unlearnbench-newcomer", capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
