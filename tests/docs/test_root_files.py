"""What lies in the repository's root: `make help`, the README's first commands and its table, CI, and the citation."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest
import yaml
from helpers.pages import FENCE, ROOT

import unlearnbench
from examples.sandbox import write_figures
from unlearnbench.leaderboard.reading import read_leaderboard

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUPS = ["For users", "For contributors", "For maintainers"]
OLD_RUN = ROOT / "tests" / "compatibility" / "0.1.0" / "run"


@pytest.fixture(scope="module")
def helped() -> str:
    return subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_help_shows_every_target_once(helped):
    phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)[1].replace("\\\n", " ").split()
    assert Counter(re.findall(r"^  make (\S+) +\S", helped, re.MULTILINE)) == Counter(phony)
    assert set(phony) == set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_help_is_grouped(helped):
    assert re.findall(r"^(\S.*)$", helped, re.MULTILINE) == GROUPS
    groups = dict(zip(GROUPS, helped.split("\n\n"), strict=True))
    assert "make demo " in groups["For users"]
    assert "make test " in groups["For contributors"]
    assert "make wheel " in groups["For maintainers"]
    assert max(map(len, helped.splitlines())) <= 128


def test_first_commands_of_the_readme():
    blocks = [block for _, language, block in FENCE.findall(README) if language == "console"]
    assert [line.split("#")[0].split() for line in blocks[0].splitlines()] == [["$", "make", "demo"], ["$", "make", "test"]]


def test_ci_calls_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    if not script.is_file():
        pytest.skip("an sdist has no .ci/run")
    assert {"make test", "make lint"} < set(script.read_text(encoding="utf-8").splitlines())


def test_links_of_the_readme_stand_in_four_groups():
    groups = README.partition("## Documentation")[2].split("\n\n")[1:-1]
    assert len(groups) == 4
    assert all(re.match(r"\*\*[^*]+\.\*\* \[", group) and group.count("](") > 5 for group in groups)


def test_table_of_the_readme_has_a_writer(tmp_path, monkeypatch):
    """It is replaced by another comparison's, as a terminal of 80 columns shows that one, and nothing else changes."""
    page = tmp_path / "README.md"
    shutil.copy(ROOT / "README.md", page)
    monkeypatch.setattr(write_figures, "README", page)
    monkeypatch.setattr("sys.argv", ["write_figures", "--demo", str(OLD_RUN)])
    write_figures.main()
    table = write_figures.terminal_table(read_leaderboard(OLD_RUN))
    assert re.sub(write_figures.DEMO, lambda _: table, README, flags=re.DOTALL) == page.read_text(encoding="utf-8") != README
    assert table.endswith("┘\n")
    assert max(map(len, table.splitlines())) <= 80


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", unlearnbench.__version__)
    assert citation["license"] == "Apache-2.0"
    assert {"title", "message", "authors"} < citation.keys()
    assert [work["url"] for work in citation["references"]] == ["https://arxiv.org/abs/2403.03218"]
