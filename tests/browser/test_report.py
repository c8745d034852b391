"""report.html in a real browser, opened from disk without a network."""

from __future__ import annotations

import json
import re

import pytest
from helpers.small_runs import HOSTILE, big_run

pytestmark = pytest.mark.slow
INTERACTIVE_MS = 2000
MOST_BYTES = 12_000_000
TRIES = 3  # of which the fastest counts: what else the machine does is not the page's fault


def board_of(folder) -> dict:
    return json.loads((folder / "leaderboard.json").read_text())


def variants(page) -> list[str]:
    return page.eval_on_selector_all("#board tbody.rows tr:not([hidden]) td.name", "all => all.map((one) => one.textContent)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_goes_wrong(opened, small, width, scheme):
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.page.emulate_media(color_scheme=scheme)
    opened.goto(small / "report.html")
    opened.scroll()
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "blob:", "data:"))] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    background = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(21, 23, 26)") == (scheme == "dark")


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of `#rrggbb` or `rgb(r, g, b)`."""
    found = re.fullmatch(r"#(..)(..)(..)|rgb\((\d+), (\d+), (\d+)\)", colour)
    assert found is not None, colour
    channels = [int(one, 16) for one in found.groups()[:3]] if found[1] else [int(one) for one in found.groups()[3:]]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in (each / 255 for each in channels)]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_can_be_read_on_the_strongest_cells(opened, small, scheme):
    """WCAG 2.2 AA: 4.5 to 1. Between the ends, colours are mixed with the page's, which is farther from the ink."""
    opened.page.emulate_media(color_scheme=scheme)
    opened.goto(small / "report.html")
    opened.scroll()
    ends, ink = opened.page.evaluate(
        """(() => { const trace = document.querySelector('[data-chart="heat-1"]').data[0];
        return [trace.colorscale.map((one) => one[1]), trace.textfont.color]; })()"""
    )
    drawn = opened.page.eval_on_selector_all(
        "[data-chart='heat-1'] .heatmap-label text", "all => all.map((one) => one.style.fill)"
    )
    assert set(drawn) == {ink}
    for colour in ends:
        bright, dark = sorted((luminance(colour), luminance(ink)), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, colour


def test_on_a_phone(opened, small):
    """Nothing lies on the charts, nothing is cut off, and it is said where the table goes on."""
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 800})
    opened.goto(small / "report.html")
    opened.scroll()
    page.wait_for_timeout(200)
    assert page.locator(".modebar-btn").count() == 0
    assert (
        page.evaluate("[...document.querySelectorAll('.chart')].filter((one) => one.scrollHeight > one.clientHeight).length")
        == 0
    )
    table = page.locator("#table .scroll")
    assert table.get_attribute("data-more") == "after"
    assert page.locator("#table .more").is_visible()
    table.evaluate("one => { one.scrollLeft = one.scrollWidth; }")
    opened.until("document.querySelector('#table .scroll').dataset.more === 'before'")
    assert not page.locator("#table .more").is_visible()
    page.set_viewport_size({"width": 2600, "height": 800})
    page.evaluate("document.querySelector('main').style.maxWidth = 'none'")
    opened.until("document.querySelector('#table .scroll').dataset.more === ''")


def test_sorting(opened, small):
    opened.goto(small / "report.html")
    values = {row["variant"]: row["columns"]["mmlu"]["value"] for row in board_of(small)["rows"] if row["variant"] != "none"}
    head = opened.page.locator("#board th", has_text="mmlu")
    head.locator("button").click()
    assert variants(opened.page) == sorted(values, key=lambda name: -values[name])
    assert head.get_attribute("aria-sort") == "descending"
    head.locator("button").press("Enter")
    assert variants(opened.page) == sorted(values, key=lambda name: values[name])
    opened.page.locator("#board th", has_text="variant").locator("button").click()
    assert variants(opened.page) == sorted(values)
    fixed = opened.page.eval_on_selector_all("#board tbody.fixed td.name", "all => all.map((one) => one.textContent)")
    assert fixed == ["none (base)", "chance"]


def test_filtering(opened, small):
    opened.goto(small / "report.html")
    opened.page.fill("#board-words", "SCR")
    assert variants(opened.page) == ["scrub"]
    assert opened.page.inner_text("#board-told") == "1 of 3 rows"
    opened.page.fill("#board-words", "")
    verdicts = {row["variant"]: row["verdict"] for row in board_of(small)["rows"] if row["variant"] != "none"}
    wanted = verdicts["ssd"]
    opened.page.select_option("#board-verdict", wanted)
    assert set(variants(opened.page)) == {name for name, verdict in verdicts.items() if verdict == wanted}


def test_plotted_points_are_the_boards(opened, small):
    opened.goto(small / "report.html")
    opened.scroll()
    traces = opened.page.evaluate(
        """document.querySelector('[data-chart="plane"]').data.map((one) => (
            {meta: one.meta, x: [...one.x], y: [...one.y], up: one.error_y?.array, down: one.error_y?.arrayminus}))"""
    )
    whole = {trace["meta"]["row"]: trace for trace in traces if trace.get("meta") and "row" in trace["meta"]}
    seeds = {trace["meta"]["seeds"]: trace for trace in traces if trace.get("meta") and "seeds" in trace["meta"]}
    rows = [row for row in board_of(small)["rows"] if row["summary"]]
    assert set(whole) == set(seeds) == {row["variant"] for row in rows} == {"rmu", "scrub", "ssd"}
    for row in rows:
        summary, trace = row["summary"], whole[row["variant"]]
        assert (trace["x"], trace["y"]) == ([summary["keep"]["value"]], [summary["forget"]["value"]])
        ends = (trace["y"][0] + trace["up"][0], trace["y"][0] - trace["down"][0])
        assert ends == pytest.approx((summary["forget"]["high"], summary["forget"]["low"]))
        assert seeds[row["variant"]]["x"] == [one["keep"] for one in summary["by_seed"].values()]


def test_heat_map_is_the_change_against_the_base(opened, small):
    opened.goto(small / "report.html")
    opened.scroll()
    shown = opened.page.evaluate(
        """(() => { const trace = document.querySelector('[data-chart="heat-1"]').data[0];
        return [trace.x, trace.y, trace.z.map((line) => [...line])]; })()"""
    )
    rows = {row["variant"]: row for row in board_of(small)["rows"]}
    names, parts, changes = shown
    assert parts[0] == "● virology"
    for part, line in zip(parts, changes, strict=True):
        plain = part.removeprefix("● ")
        values = {name: row["scores"]["mmlu"]["parts"][plain]["value"] for name, row in rows.items()}
        assert line == pytest.approx([values[name] - values["none"] for name in names], abs=1e-6)


def test_explorer_shows_what_was_lost(opened, small):
    from unlearnbench.leaderboard.reading import read_items
    from unlearnbench.runs.folder import RunFolder
    from unlearnbench.runs.reading import read_cells, read_manifest

    run = RunFolder(small)
    items = read_items(run, read_cells(run, read_manifest(run)))
    base, row = items["none/mmlu/0"], items["ssd/mmlu/1"]
    lost = [name for name, a, b in zip(base.ids, base.scores, row.scores, strict=True) if a == 1 and b == 0]
    opened.goto(small / "report.html", "#items")
    page = opened.page
    page.wait_for_selector("#items-list details")
    page.select_option("#items-benchmark", label="mmlu")
    opened.until("document.querySelector('#items-told').textContent.includes('90 items')")
    page.select_option("#items-row", label="ssd, seed 1")
    page.select_option("#items-show", "lost")
    assert page.inner_text("#items-told").startswith(f"{len(lost)} of 90 items")
    asked = page.eval_on_selector_all("#items-list .asked", "all => all.map((one) => one.textContent)")
    assert asked == [f"Question {name}?" for name in lost[:20]]
    page.select_option("#items-show", "regained")
    assert page.inner_text("#items-told").startswith("0 of 90 items")
    page.select_option("#items-show", "all")
    page.select_option("#items-part", label="virology")
    assert page.inner_text("#items-told") == "30 of 90 items · page 1 of 2"
    page.focus("#items-after")
    page.keyboard.press("Enter")
    assert page.locator("#items-list details").count() == 10
    page.locator("#items-list summary").first.press("Enter")
    page.wait_for_selector("#items-list details[open] tbody tr")
    values = page.eval_on_selector_all(
        "#items-list details[open] tbody tr:first-child td", "all => all.map((one) => one.textContent)"
    )
    assert values == ["none (base)", "A", "-0.25", "-3.00", "-4.00", "-5.00"]
    page.fill("#items-words", "virology/7")
    assert page.inner_text("#items-told").startswith("1 of 90 items")


def test_conversations_stand_side_by_side(opened, small):
    opened.goto(small / "report.html", "#talks")
    page = opened.page
    page.wait_for_selector("#talks-list article")
    assert page.locator("#talks-list article").count() == 7  # the base, and three rows with two seeds
    page.click("#talks-after")
    said = page.locator("#talks-list article", has_text="rmu, seed 0").inner_text()
    assert "answer 1 1 1" in said
    assert "answer 1 1 2" in said
    assert "turn 1: 8.5" in said


def test_hostile_content_is_text(opened, bad):
    opened.goto(bad / "report.html")
    opened.scroll()
    page = opened.page
    shown = variants(page)
    assert set(shown) == {HOSTILE[0], HOSTILE[1], HOSTILE[4]}
    page.wait_for_selector("#items-list details")
    for summary in page.locator("#items-list summary").all():
        summary.click()
    page.wait_for_selector("#talks-list article")
    assert "Show all" in page.inner_text("#talks-list")
    page.locator("#talks-list button").first.click()
    page.locator("[data-chart='plane']").hover(position={"x": 300, "y": 300})
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") is None
    assert opened.complaints == []
    links = page.eval_on_selector_all(
        "a", "all => all.map((one) => one.getAttribute('href') ?? one.getAttribute('xlink:href'))"
    )
    assert [link for link in links if link and "javascript" in link.lower() and not link.startswith("#")] == []
    assert page.locator("main img, main script, main iframe").count() == 0
    texts = page.inner_text("#items-list")
    assert all(one in texts for one in (HOSTILE[0], HOSTILE[3], HOSTILE[7], "{{ 7 * 7 }}"))
    drawn = page.eval_on_selector_all("[data-chart='plane'] .legendtext", "all => all.map((one) => one.textContent)")
    assert any("<script>" in one for one in drawn)


def test_no_items_leaves_the_questions_out(opened, small, tmp_path):
    from unlearnbench.reports.finished import read_finished
    from unlearnbench.reports.html.page import render

    page = tmp_path / "report.html"
    page.write_text(render(*read_finished(small, items=False)))
    opened.goto(page)
    opened.scroll()
    assert opened.page.locator("#items, #talks").count() == 0
    assert opened.complaints == []


def test_printing_is_light_and_complete(opened, small):
    opened.page.emulate_media(color_scheme="dark", media="print")
    opened.goto(small / "report.html")
    assert not opened.page.is_visible("nav")
    assert not opened.page.is_visible("#items")
    assert opened.page.is_visible("#board")
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 29, 32)"


def test_what_nobody_looked_at_is_drawn_for_printing(opened, small):
    """Charts below the fold, the folded evidence, and the colours of paper in a dark scheme; then all as it was."""
    opened.page.emulate_media(color_scheme="dark")
    opened.goto(small / "report.html")
    opened.until("[...document.querySelectorAll('.chart')].every((one) => one.dataset.drawn)")
    colour = "document.querySelector('[data-chart=\"letters-1\"] .main-svg').style"
    before = opened.page.evaluate(f"{colour}.cssText")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    opened.page.wait_for_timeout(300)
    assert opened.page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 29, 32)"
    assert opened.page.evaluate(f"{colour}.cssText") != before
    assert opened.page.locator("#evidence details:not([open])").count() == 0
    opened.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    opened.page.wait_for_timeout(300)
    assert opened.page.evaluate(f"{colour}.cssText") == before
    assert opened.page.locator("#evidence details[open]").count() == 0
    assert opened.complaints == []


def test_a_verdict_leads_to_its_evidence(opened, small):
    opened.goto(small / "report.html")
    opened.page.locator("#row-ssd a.pill").click()
    opened.page.wait_for_selector("#why-ssd[open] pre")
    assert "K = minimum of" in opened.page.inner_text("#why-ssd pre")
    opened.goto(small / "report.html", "#why-rmu")
    assert opened.page.locator("#why-rmu[open]").count() == 1


def test_everything_can_be_reached_by_keyboard(opened, small):
    opened.goto(small / "report.html")
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    names = page.eval_on_selector_all(
        "button, select, input",
        "all => all.map((one) => one.labels?.[0]?.textContent || one.textContent || one.getAttribute('aria-label'))",
    )
    assert all(name and name.strip() for name in names)
    charts = page.eval_on_selector_all(
        "[data-chart]", "all => all.map((one) => [one.getAttribute('role'), one.getAttribute('aria-label')])"
    )
    assert all(role == "img" and len(text) > 20 for role, text in charts)


def time_until_ready(opened, path) -> float:
    """Milliseconds from opening the file until the page answers."""
    opened.goto(path)
    return opened.page.evaluate("performance.getEntriesByName('ready')[0].startTime")


def test_twenty_rows_of_seventeen_thousand_items(opened, tmp_path):
    """Size of the file; time until the page answers, and until a filter over all items is through."""
    run = big_run(tmp_path / "big")
    path = run.root / "report.html"
    size = path.stat().st_size
    ready = min(time_until_ready(opened, path) for _ in range(TRIES))
    opened.page.locator("#items").scroll_into_view_if_needed()
    opened.page.wait_for_selector("#items-list details")
    opened.page.select_option("#items-benchmark", label="mmlu")
    opened.until("document.querySelector('#items-told').textContent.includes('of 13')")
    spent = opened.page.evaluate(
        """() => { const start = performance.now(); const select = document.querySelector('#items-show');
        select.value = 'lost'; select.dispatchEvent(new Event('change')); return performance.now() - start; }"""
    )
    print(f"\n{size / 1e6:.2f} MB, ready after {ready:.0f} ms, filter {spent:.0f} ms")
    assert size <= MOST_BYTES
    assert ready < INTERACTIVE_MS
    assert spent < 500
    assert opened.complaints == []
