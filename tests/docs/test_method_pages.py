"""Each method's page says what a reader needs to know, with the defaults that the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unlearnbench.plugins.options import list_options
from unlearnbench.plugins.registry import find_plugin, list_plugins

PAGES = Path(__file__).parents[2] / "docs" / "methods"
OURS = [info.name for info in list_plugins("method") if info.distribution == "unlearnbench"]


def documented(page: str) -> dict[str, str]:
    """Option -> its default as the page's table gives it."""
    found: dict[str, str] = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("|") and len(cells) == 3:
            names = re.sub(r" \([^)]*\)", "", cells[0]).split(", ")
            defaults = cells[1].split(", ")
            found |= dict(zip(names, defaults if len(defaults) >= len(names) else defaults * len(names), strict=False))
    return found


def test_every_method_has_a_page():
    assert {page.stem for page in PAGES.glob("*.md")} == set(OURS)


def test_readme_leads_to_every_page():
    readme = (PAGES.parents[1] / "README.md").read_text(encoding="utf-8")
    assert [name for name in OURS if f"](docs/methods/{name}.md)" not in readme] == []


@pytest.mark.parametrize("name", sorted(set(OURS) - {"none"}))
def test_page_of_a_method(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    for heading in ("## Options", "## Deviations from the reference", "## Cost", "## On the sandbox"):
        assert heading in page
    assert "igns of failure" in page
    assert "https://arxiv.org/abs/" in page
    assert re.search(r"^    \S", page, re.MULTILINE)  # a formula
    table = documented(page)
    for option in list_options(find_plugin("method", name).spec):
        assert option.name in table, f"{name}.md does not mention {option.name}"
        if isinstance(option.default, int | float) and not isinstance(option.default, bool):
            assert float(table[option.name]) == option.default, f"{name}.md has another default for {option.name}"
