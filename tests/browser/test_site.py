"""A site of two runs in a real browser, opened from disk without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_runs import small_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(small, bad, tmp_path_factory) -> Path:
    from unlearnbench.reports.site import build_site

    root = tmp_path_factory.mktemp("site")
    other = small_run(root / "other", seeds=1, write=False).root
    build_site([small, other, bad], root / "public", title="Boards", items=True)
    return root / "public"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_index_fits_and_runs_nothing(opened, site, width, scheme):
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.page.emulate_media(color_scheme=scheme)
    opened.goto(site / "index.html")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.page.evaluate("window.hacked") is None
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith("file:")] == []


def test_rows_of_all_runs_sort_and_filter(opened, site):
    opened.goto(site / "index.html")
    feed = json.loads((site / "feed.json").read_text())
    runs = [run for run in feed["runs"] if run["recipe"] == "small"]
    wanted = {row["variant"] for run in runs for row in run["rows"] if row["variant"] != "none"}
    table = opened.page.locator("table.board").first
    names = table.locator("tbody.rows tr:not([hidden]) td.name")
    assert len(runs) == 2
    assert set(names.all_inner_texts()) == wanted
    assert names.count() == sum(len(run["rows"]) - 1 for run in runs)
    table.locator("th", has_text="S ↑").locator("button").click()
    shown = [float(text) for text in table.locator("tbody.rows td:nth-child(6) > bdi").all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    opened.page.locator("input[type=search]").first.fill("scrub")
    assert names.all_inner_texts() == ["scrub", "scrub"]


def test_a_row_leads_to_its_place_on_the_runs_page(opened, site):
    opened.goto(site / "index.html")
    opened.page.locator("table.board").first.locator("td.name a", has_text="ssd").first.click()
    opened.until("document.documentElement.dataset.ready === 'yes' && location.hash === '#row-ssd'")
    assert opened.page.is_visible("#row-ssd")
    opened.page.locator("nav a", has_text="all runs").click()
    opened.until("document.title === 'Boards'")
    assert opened.complaints == []
