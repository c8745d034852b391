"""The wheel and the sdist of unlearnbench: what is in them, and the wheel at work where there is no checkout.

In the suite the environment's libraries are links to the running environment's: those that the wheel requires, and no others.
`make wheel` names the folder with what it built, and has pip install the wheel with all that it requires: 1.7 GB in 45,000
files, a minute to install and three to remove (29 November 2026, on two busy cores).
"""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

import pytest
from helpers.installing import Fresh, build
from helpers.pages import FENCE, ROOT

BUILT = os.environ.get("DISTRIBUTIONS")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {
    "unlearnbench": ROOT / "unlearnbench",
    "unlearnbench_methods": ROOT / "methods" / "unlearnbench_methods",
    "unlearnbench_benchmarks": ROOT / "benchmarks" / "unlearnbench_benchmarks",
    "unlearnbench_attacks": ROOT / "attacks" / "unlearnbench_attacks",
}
SOURCES = ("unlearnbench", "methods", "benchmarks", "attacks", "tests", "docs", "examples", ".mkdocs")
ROOT_FILES = {
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "constraints.txt",
    "mkdocs.yml", "pyproject.toml",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if BUILT:
        return Path(BUILT)
    folder = tmp_path_factory.mktemp("distributions")
    build(ROOT, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """An environment with the wheel; removed in the end, since pip's libraries are large."""
    folder = tmp_path_factory.mktemp("environment")
    environment = Fresh(folder / "venv", tmp_path_factory.mktemp("outside"))
    if BUILT:
        environment.install_from_index(wheel)
    else:
        environment.link(wheel)
        environment.install(wheel)
    yield environment
    shutil.rmtree(folder)


def files_of(folder: Path, name: str) -> set[str]:
    """Every file of a folder that is no compiled module, under the folder's name in a distribution."""
    files = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {f"{name}/{file.as_posix()}" for file in files if "__pycache__" not in file.parts}


def test_wheel_has_every_file_of_its_packages(wheel):
    """And no other: recipes, templates, the sandbox's data and models are package data."""
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set().union(*(files_of(folder, name) for name, folder in PACKAGES.items()))
    data = ("py.typed", "recipes/sandbox.yaml", "sandbox/model/model.safetensors")
    assert {f"unlearnbench/{name}" for name in data} < names


def test_wheel_offers_what_pyproject_declares(wheel):
    with ZipFile(wheel) as archive:
        names = {Path(name).name: name for name in archive.namelist() if ".dist-info/" in name}
        points = ConfigParser(delimiters=["="])
        points.read_string(archive.read(names["entry_points.txt"]).decode())
    declared = {"console_scripts": PROJECT["scripts"], **PROJECT["entry-points"]}
    assert {group: dict(points[group]) for group in points.sections()} == declared
    assert "LICENSE" in names


def test_sdist_builds_tests_and_documents(built):
    """All that the Makefile's targets read is in it; the wheel of `built` was built from it."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    wanted = set().union(*(files_of(ROOT / name, name) for name in SOURCES))
    assert wanted - names == set()
    assert {name for name in names if "/" not in name} - {"PKG-INFO", ".gitignore"} == ROOT_FILES
    assert {name.partition("/")[0] for name in names if "/" in name} == set(SOURCES)


def test_environment_has_what_the_wheel_requires_and_no_checkout(fresh):
    assert fresh.pip("check") == ""
    code = "from importlib.util import find_spec; [print(find_spec(name).origin) for name in {}]"
    places = fresh.run(fresh.python, "-c", code.format(list(PACKAGES))).stdout.split()
    assert [Path(place).parent for place in places] == [fresh.packages / name for name in PACKAGES]
    missing = fresh.run(
        fresh.python, "-c", "import pytest"
    )  # which the running environment has, and the wheel does not require
    assert "No module named 'pytest'" in missing.stderr


def test_commands_work_outside_the_repository(fresh):
    helped, listed, shown = fresh("--help"), fresh("plugins", "--json"), fresh("recipe", "show", "sandbox")
    assert [done.returncode for done in (helped, listed, shown)] == [0, 0, 0], helped.stderr + listed.stderr + shown.stderr
    assert "compare" in helped.stdout
    found = json.loads(listed.stdout)
    for kind in ("method", "benchmark"):
        declared = PROJECT["entry-points"][f"unlearnbench.{kind}s"]
        assert {info["name"] for info in found if info["kind"] == kind} == set(declared)
    assert "model: sandbox:model" in shown.stdout
    refused = fresh("compare", "--methods", "rmuu")
    assert (refused.returncode, "Traceback" in refused.stderr) == (2, False)
    assert "Did you mean 'rmu'?" in refused.stderr


def test_comparison_outside_the_repository(fresh, tmp_path):
    """All three of the sandbox's benchmarks, its model and its reference come from the wheel."""
    done = fresh("compare", "--methods", "ssd", "--limit", "10", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    board = json.loads(done.stdout)
    assert {row["variant"]: row["status"] for row in board["rows"]} == {"none": "done", "ssd": "done", "retrain": "done"}
    assert {name for row in board["rows"] for name in row["scores"]} == {"wmdp", "mmlu", "mt_bench"}
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert fresh("verify", tmp_path / "run").returncode == 0


def test_python_in_the_readme_runs(fresh):
    """Five lines, as they stand; their scores are those of the comparison above, from the cache."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = (block for _, language, block in FENCE.findall(text) if language == "python")
    assert len([line for line in code.splitlines() if line]) == 5
    done = fresh.run(fresh.python, "-c", code)
    assert done.returncode == 0, done.stderr
    rows, (frame, means) = ["none", "retrain", "ssd"], done.stdout.split("variant  benchmark")
    assert [line.split()[1] for line in frame.splitlines()[1:]] == rows
    assert [line.split()[0] for line in means.splitlines() if line.startswith(tuple(rows))] == rows
    assert (fresh.outside / "plane.html").stat().st_size > 10_000
