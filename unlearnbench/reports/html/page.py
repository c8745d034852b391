"""The whole page: the data of each section, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.leaderboard import Row
from unlearnbench.records.manifest import BASELINE, ManifestBenchmark, heads_of
from unlearnbench.reports import explain
from unlearnbench.reports import tuning as trials
from unlearnbench.reports.attacks import attack_notes
from unlearnbench.reports.finished import Finished
from unlearnbench.reports.formatting import figure, notes, percent, row_title, secondary_measures, sentence
from unlearnbench.reports.html import attacks as attack_charts
from unlearnbench.reports.html import charts, table
from unlearnbench.reports.html.curves import curves
from unlearnbench.reports.html.embed import as_json, fill, packed_plotly, plotly_script
from unlearnbench.reports.html.items import Packs, pack
from unlearnbench.reports.html.origins import of_rows, of_run
from unlearnbench.reports.units import moment
from unlearnbench.runs.reading import read_tuning

Items = Mapping[str, Outcomes]


def render(finished: Finished, items: Items, *, home: str = "") -> str:
    """Write a finished comparison as one HTML file.

    Args:
        finished: comparison; its `items` decides whether questions and answers are shown.
        items: outcomes of the items of each finished cell.
        home: address of the page that lists all runs, where there is one.
    """
    board = finished.board
    tuning = read_tuning(finished.run.root) if any(row.tuned for row in board.rows) else None
    packs = pack(finished) if finished.items else Packs(choices=[], talks=[], blobs={}, note="")
    drawn, sections = _charts(finished, items)
    lines = curves(finished)
    data = {"charts": drawn, "curves": lines, "items": packs.choices, "talks": packs.talks}
    blobs = {"page": as_json(data), "leaderboard-json": as_json(board.model_dump(mode="json", by_alias=True))}
    blobs |= {"plotly": packed_plotly(), **packs.blobs}
    return fill(
        "report.html.j2",
        scripts=(plotly_script(),),
        title=f"{board.recipe['name']}: {board.recipe['model']}",
        home=home,
        facts=_facts(finished),
        sentence=sentence(board),
        sections=_navigation(sections, lines, packs, tuning is not None),
        tuning=None if tuning is None else {"head": trials.HEAD, "lines": trials.lines(tuning), "notes": trials.notes(tuning)},
        table=table.lay_out(board),
        measures=table.lay_out(board, measures=("all",)) if secondary_measures(board) else None,
        notes=[line.replace("`", "") for line in [*notes(board)[1:], *attack_notes(board)]],
        charts=sections,
        curve_rows=list(lines),
        evidence=[_evidence(row, finished) for row in board.rows if row.variant != BASELINE],
        formulas=explain.formulas(board),
        has_items=bool(packs.choices),
        has_talks=bool(packs.talks),
        seed_note=packs.note,
        command=finished.command,
        provenance=of_run(finished),
        origins=of_rows(finished),
        recipe=yaml.safe_dump(board.recipe, sort_keys=False, allow_unicode=True),
        blobs=[(name, _safe(content)) for name, content in blobs.items()],
    )


def _safe(content: str) -> Any:
    from markupsafe import Markup

    assert "<" not in content
    return Markup(content)


def _charts(finished: Finished, items: Items) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return every chart by its key, and the sections that they are in."""
    heads = finished.manifest.benchmarks
    plane = {"plane": charts.plane(finished.board)}
    mapped = [head for head in heads_of(heads) if head.primary]
    heat = {f"heat-{number}": charts.heat_map(finished, head) for number, head in enumerate(mapped)}
    letters = {f"letters-{number}": charts.letters(finished, head, items) for number, head in enumerate(heads)}
    captions = {f"heat-{number}": _heat_caption(head) for number, head in enumerate(mapped)}
    captions["plane"] = (
        f"Best is the top right. Bars are {percent(finished.board.settings.level)} intervals, small open marks single seeds, "
        "the dashed line joins the rows that nothing beats in both (Pareto front); dotted curves have equal S."
        + (" The star is the reference: its F is 1 by definition." if finished.board.reference else "")
    )
    under = attack_charts.of(finished.board)
    captions |= attack_charts.captions(finished.board)
    wanted = [
        ("plane", "Forgotten and kept", plane),
        ("attacks", "Under attack", under),
        ("heat", "Change by part, against the base", heat),
        ("letters", "Which option is answered", letters),
    ]
    sections: list[dict[str, Any]] = []
    for name, title, drawn in wanted:
        parts = [
            {"key": key, "caption": captions.get(key, ""), "alt": chart["alt"], "height": chart["height"]}
            for key, chart in drawn.items()
            if chart is not None
        ]
        if name == "letters" and parts:
            parts[0]["caption"] = (
                "A model that answers one letter to everything has not forgotten, it has stopped answering: compare with how "
                "often each letter is right."
            )
        if parts:
            sections.append({"id": name, "title": title, "parts": parts})
    every = {key: chart for group in (plane, under, heat, letters) for key, chart in group.items() if chart is not None}
    return every, sections


def _heat_caption(head: ManifestBenchmark) -> str:
    marks = ["↓ was to be forgotten"] if head.forget_parts else []
    marks += ["● is near what was to be forgotten"] if head.groups.get("near domains") else []
    return f"{head.name}: score less the base's, by part. {'; '.join(marks)}{'.' if marks else ''}".strip()


def _navigation(sections: list[dict[str, Any]], lines: Mapping[str, Any], packs: Packs, tuned: bool) -> list[tuple[str, str]]:
    short = {"plane": "Plane", "attacks": "Attacks", "heat": "Parts", "letters": "Letters"}
    found = [("table", "Table"), *((section["id"], short[section["id"]]) for section in sections)]
    found += [("curves", "Curves")] if lines else []
    found += [("evidence", "Verdicts")]
    found += [("items", "Items")] if packs.choices else []
    found += [("talks", "Conversations")] if packs.talks else []
    found += [("tuning", "Tuning")] if tuned else []
    return [*found, ("provenance", "Provenance")]


def _facts(finished: Finished) -> list[str]:
    board = finished.board
    first = next((cell.provenance for cell in finished.cells.values() if cell.status == "done"), {})
    seeds = sorted({seed for row in board.rows for seed in row.seeds})
    scored = {
        name: max((row.scores[name].n or 0 for row in board.rows if name in row.scores), default=0) for name in _names(board)
    }
    facts = [
        f"{len(board.rows)} rows",
        f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds",
        ", ".join(f"{name} {count:,} items" for name, count in scored.items()),
    ]
    facts += [str(first[name]) for name in ("dtype", "device") if first.get(name)]
    if board.recipe.get("limit"):
        facts.append(f"first {board.recipe['limit']} items of each part only")
    written = max((str(cell.provenance.get("written", "")) for cell in finished.cells.values()), default="")
    return [*facts, *([moment(written)] if written else [])]


def _names(board: Any) -> list[str]:
    return [info.name for info in board.benchmarks]


def _evidence(row: Row, finished: Finished) -> dict[str, Any]:
    """Return a row's verdict: the rules that were applied, and the derivation of its figures."""
    lines = explain.row_lines(row, finished.board)
    rules = [
        {"rule": evidence.rule, **{name: figure(x) if isinstance(x, float) else x for name, x in evidence if name != "rule"}}
        for evidence in row.evidence
    ]
    place = "not ranked" if row.rank is None else f"rank {row.rank}"
    return {
        "anchor": table.anchor("why", row.variant),
        "name": row_title(row.variant),
        "place": place,
        "verdict": row.verdict or "",
        "rules": rules,
        "lines": "\n".join(lines[1:]) or "Nothing is finished of this row yet.",
    }
