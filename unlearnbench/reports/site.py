"""A static site of leaderboards: an index over recipes, a page for each run, a JSON feed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from unlearnbench.errors import UsageError
from unlearnbench.records.leaderboard import Leaderboard, Row
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.finished import read_finished
from unlearnbench.reports.formatting import figure, rank_text, row_title, span
from unlearnbench.reports.html.embed import fill
from unlearnbench.reports.html.page import render
from unlearnbench.reports.html.table import Cell, anchor
from unlearnbench.reports.units import moment
from unlearnbench.system.files import check_folder, content_hash, write_atomic

if TYPE_CHECKING:
    from unlearnbench.reports.upload import Repository

FEED = "feed.json"
INDEX = "index.html"
RUNS = "runs"
CARD = "README.md"  # where the hub reads what a space is
FEED_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Page:
    """One run on the site; its slug follows from its name and its rows' identities, and so stays the same."""

    slug: str
    name: str
    board: Leaderboard
    written: str
    items: int


def build_site(
    folders: Sequence[Path], out: Path, *, title: str, items: bool, repository: Repository | None = None
) -> list[Page]:
    """Write the site. Everything is read before anything is written.

    Args:
        folders: folders of the comparisons.
        out: folder of the site.
        title: title of the index.
        items: True shows questions and answers on the pages.
        repository: space on the hub; it is opened before anything is written, and nothing is uploaded yet.

    Raises:
        UsageError: a folder is no comparison's, `out` is one, or cannot be written to, or the hub refuses.
    """
    check_folder(out, "--out")
    if any((out / name).exists() for name in ("plan.json", "cells")):
        raise UsageError(f"--out {out} is the folder of a comparison; name another folder for the site.")
    pages: list[Page] = []
    contents: dict[str, str] = {}
    for folder in folders:
        finished, outcomes = read_finished(folder, items=items)
        page = _page(folder, finished.board, finished.manifest.model_dump(mode="json")["rows"], finished.cells.values())
        if page.slug in contents:
            continue
        contents[page.slug] = render(finished, outcomes, home="../../index.html")
        pages.append(page)
    if repository is not None:
        repository.open()
        write_atomic(out / CARD, space_card(title).encode())
    for page in pages:
        folder = out / RUNS / page.slug
        write_atomic(folder / INDEX, contents[page.slug].encode())
        write_atomic(folder / "leaderboard.json", (page.board.model_dump_json(indent=1, by_alias=True) + "\n").encode())
    write_atomic(out / FEED, (json.dumps(feed(pages, title), indent=1, ensure_ascii=False) + "\n").encode())
    write_atomic(out / INDEX, index(pages, title).encode())
    return pages


def space_card(title: str) -> str:
    """Return the card that tells the hub that a space is a static site, and people what it shows."""
    head = {"title": title, "sdk": "static", "app_file": INDEX, "tags": ["leaderboard", "unlearning", "unlearnbench"]}
    text = "Leaderboards of machine unlearning, written by unlearnbench: an index over recipes and a page for each run."
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n{text}\n"


def _page(folder: Path, board: Leaderboard, rows: Any, cells: Any) -> Page:
    name = folder.resolve().name
    identity = content_hash([[row["variant"], sorted(row["cells"].values())] for row in rows])
    written = max((str(cell.provenance.get("written", "")) for cell in cells), default="")
    count = sum(cell.n for cell in cells if cell.key.variant == BASELINE)
    return Page(slug=f"{anchor('run', name)[4:]}-{identity[:8]}", name=name, board=board, written=written, items=count)


def feed(pages: Sequence[Page], title: str) -> dict[str, Any]:
    """Return the site for programs: every run with its rows, addresses relative to the feed."""
    return {
        "schema": FEED_SCHEMA,
        "title": title,
        "runs": [
            {
                "id": page.slug,
                "name": page.name,
                "recipe": page.board.recipe["name"],
                "model": page.board.recipe["model"],
                "written": page.written,
                "url": f"{RUNS}/{page.slug}/{INDEX}",
                "leaderboard": f"{RUNS}/{page.slug}/leaderboard.json",
                "rows": [_entry(row, page) for row in page.board.rows],
            }
            for page in pages
        ],
    }


def _entry(row: Row, page: Page) -> dict[str, Any]:
    summary = row.summary.model_dump(include={"forget", "keep", "score"}) if row.summary else None
    return {
        "variant": row.variant,
        "method": row.method,
        "rank": row.rank,
        "verdict": row.verdict,
        "summary": summary,
        "scores": {title: estimate.model_dump() for title, estimate in row.columns.items()},
        "url": f"{RUNS}/{page.slug}/{INDEX}#{anchor('row', row.variant)}",
    }


def index(pages: Sequence[Page], title: str) -> str:
    """Return the page that lists every run's rows, recipe by recipe."""
    recipes: dict[str, list[Page]] = {}
    for page in pages:
        recipes.setdefault(str(page.board.recipe["name"]), []).append(page)
    sections = [
        {
            "name": name,
            "anchor": anchor("recipe", name),
            "table_id": anchor("t", name),
            "table": _table(of_recipe),
            "runs": of_recipe,
        }
        for name, of_recipe in recipes.items()
    ]
    return fill("index.html.j2", title=title, sections=sections, feed=FEED, runs=RUNS, moment=moment)


def _table(pages: Sequence[Page]) -> dict[str, Any]:
    """Return the rows of all runs of one recipe. Ranks hold within a run."""
    names = ["run", "rank", "variant", "F ↑", "K ↑", "S ↑", "verdict", "seeds"]
    words = ("run", "variant", "verdict")
    heads = [
        {
            "title": name,
            "kind": "words" if name in words else "",
            "hint": "within its run" if name == "rank" else "",
            "first": "ascending" if name in (*words, "rank") else "descending",
        }
        for name in names
    ]
    rows = [_line(row, page) for page in pages for row in page.board.rows if row.variant != BASELINE]
    return {"heads": heads, "bodies": [("rows", rows)], "verdicts": sorted({row["verdict"] for row in rows} - {""})}


def _line(row: Row, page: Page) -> dict[str, Any]:
    address = f"{RUNS}/{page.slug}/{INDEX}"
    shares = (row.summary.forget, row.summary.keep, row.summary.score) if row.summary else (None, None, None)
    verdict = row.verdict or ("" if row.status == "done" else row.status)
    figures = [
        Cell(figure(share.value), span(share), "" if share.value is None else share.value) if share else Cell("-")
        for share in shares
    ]
    cells = [
        Cell(page.name, sort=page.name, kind="words", link=address),
        Cell(rank_text(row, page.board), sort="" if row.rank is None else row.rank),
        Cell(row_title(row.variant), sort=row.variant, kind="words name", link=f"{address}#{anchor('row', row.variant)}"),
        *figures,
        Cell(verdict, sort=verdict, kind="words verdict"),
        Cell(str(len(row.seeds)), sort=len(row.seeds)),
    ]
    words = f"{page.name} {row.variant} {row.method} {verdict}"
    return {"cells": cells, "kind": "", "words": words, "verdict": verdict, "anchor": "", "evidence": ""}
