"""Write the figures of a comparison into docs/real-model.md, between its marks.

    python -m examples.tofu_authors.write_figures WORK [--page FILE]

WORK is the folder that run.sh worked in: WORK/compare is the comparison, and teaching.json in each taught model says what that
took. A comparison that is still under way gives the rows and seeds that are finished.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.records.leaderboard import Column, Estimate, Leaderboard, Row, Summary, TableSettings
from unlearnbench.records.manifest import BASELINE
from unlearnbench.reports.formatting import estimate_of, figure, heading, rank_text, row_title, span
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.reading import read_cells, read_manifest

PAGE = Path(__file__).parents[2] / "docs" / "real-model.md"
SAID = ("torch", "transformers", "python", "device")


def main() -> None:
    """Write the tables and lines of the page."""
    parser = argparse.ArgumentParser(description="Write the figures of the real model into the documentation.")
    parser.add_argument("work", type=Path, help="folder that run.sh worked in")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page")
    arguments = parser.parse_args()
    run = arguments.work / "compare"
    board = read_leaderboard(run)
    by_chance = read_leaderboard(run, TableSettings(reference=[]))
    taught = {name: teaching(arguments.work / name) for name in ("model", *board.reference)}
    blocks = {
        "teaching": teachings(taught),
        "reference": against_reference(board, mean_seconds(taught, board.reference)),
        "groups": groups(board),
        "retrained": retrained(run, board.reference),
        "order": order(board, by_chance),
        "settings": settings(board),
        "run": how_run(run, board),
    }
    for name, text in blocks.items():
        put(arguments.page, name, text)


def teaching(folder: Path) -> dict[str, Any]:
    """Return the record that teach_authors.py wrote of a model."""
    return json.loads((folder / "teaching.json").read_text(encoding="utf-8"))


def mean_seconds(taught: dict[str, dict[str, Any]], names: Sequence[str]) -> float:
    """The mean wall clock of teaching these models."""
    return sum(taught[name]["seconds"] for name in names) / len(names)


def teachings(taught: dict[str, dict[str, Any]]) -> str:
    """A row for each taught model."""
    head = ("model", "questions and answers", "seed", "epochs", "updates", "wall clock")
    keys = ("texts", "seed", "epochs", "updates")
    lines = ((name, *(str(record[key]) for key in keys), f"{record['seconds']:.0f} s") for name, record in taught.items())
    return table(head, lines)


def against_reference(board: Leaderboard, retraining: float) -> str:
    """Every row against the reference: scores, how far it is from the reference, F, K and S, and what it cost."""
    forget, keep = columns(board)
    head = (
        *("row", "seeds", heading(forget, board), heading(keep, board)),
        *("distance (90%)", "reaches", "F ↑", "K ↑", "S ↑", "rank", "verdict", "of a retraining"),
    )
    return table(head, (line(row, board, retraining) for row in ordered(board)))


def line(row: Row, board: Leaderboard, retraining: float) -> tuple[str, ...]:
    """A row's cells."""
    scores = (spanned(estimate_of(row, column)) for column in columns(board))
    spent = row.cost.unlearn_seconds
    judged = row.summary if row.variant != BASELINE else None
    return (
        row_title(row.variant, row.tuned),
        str(max(len(row.scores["mcq"].by_seed), 1)) if "mcq" in row.scores else "-",
        *scores,
        "-" if row.verdict == "reference" else distance(judged),
        "-" if judged is None or judged.reaches is None or row.verdict == "reference" else "yes" if judged.reaches else "no",
        *("-" if judged is None else spanned(share) for share in shares(judged)),
        rank_text(row, board),
        row.verdict or "",
        f"{spent / retraining:.0%}" if spent else "-",
    )


def shares(summary: Summary | None) -> tuple[Estimate, ...]:
    """F, K and S."""
    return (Estimate(value=None),) * 3 if summary is None else (summary.forget, summary.keep, summary.score)


def distance(summary: Summary | None) -> str:
    """Return the distance of a row from the reference, as a share of the base's; negative beyond the reference."""
    return "-" if summary is None or not summary.distances else spanned(next(iter(summary.distances.values())))


def groups(board: Leaderboard) -> str:
    """The rows by where the 90% interval of their distance to the reference lies."""
    margin = board.settings.reference_margin
    found: dict[str, list[str]] = {name: [] for name in ("reach it", "overshoot it", "fall short of it", "cannot be told")}
    for row in ordered(board):
        if row.variant != BASELINE and row.verdict != "reference" and row.summary is not None and row.summary.distances:
            found[group(next(iter(row.summary.distances.values())), margin)].append(row.variant)
    return "".join(f"- **{name}**: {', '.join(rows) or 'none'}.\n" for name, rows in found.items())


def group(estimate: Estimate, margin: float) -> str:
    """Within the margin, wholly beyond the reference, wholly on the base's side of it, or neither."""
    if estimate.low is None or estimate.high is None:
        return "cannot be told"
    if -margin < estimate.low and estimate.high < margin:
        return "reach it"
    return "overshoot it" if estimate.high < 0 else "fall short of it" if estimate.low > 0 else "cannot be told"


def retrained(run: Path, names: Sequence[str]) -> str:
    """Each retrained model against the others alone: how far two models are apart that never knew."""
    if len(names) < 2:
        return "Only one model was retrained.\n"
    lines: list[tuple[str, ...]] = []
    for name in names:
        others = [other for other in names if other != name]
        board = read_leaderboard(run, TableSettings(reference=others))
        row = next(row for row in board.rows if row.variant == name)
        reaches = row.summary is not None and row.summary.reaches
        figures = (spanned(share) for share in shares(row.summary))
        lines.append((name, " and ".join(others), distance(row.summary), "yes" if reaches else "no", *figures))
    return table(("row", "against", "distance (90%)", "reaches", "F ↑", "K ↑", "S ↑"), lines)


def order(board: Leaderboard, by_chance: Leaderboard) -> str:
    """F, S and rank of each row with the one ideal and with the other, in the order of S against the reference."""
    other = {row.variant: row for row in by_chance.rows}
    head = ("row", "F, ideal chance", "S", "place by S", "rank", "F, ideal reference", "S", "place by S", "rank")
    shown = [row for row in ordered(board) if row.variant != BASELINE]
    ranked = [row for row in shown if row.rank is not None]
    return table(
        head,
        (
            (
                row.variant,
                *seen(other[row.variant], [other[rival.variant] for rival in ranked], by_chance),
                *seen(row, ranked, board),
            )
            for row in shown
        ),
    )


def seen(row: Row, ranked: Sequence[Row], board: Leaderboard) -> tuple[str, ...]:
    """A row's F, S, its place by S among the rows that are ranked with both ideals, and its rank."""
    forget, _, score = shares(row.summary)
    places = [rival.variant for rival in by_score(ranked)]
    place = str(places.index(row.variant) + 1) if row.variant in places else "-"
    return figure(forget.value), spanned(score), place, rank_text(row, board) or "-"


def settings(board: Leaderboard) -> str:
    """Each method's settings."""
    methods: dict[str, dict[str, Any]] = board.recipe["methods"]
    return table(("row", "settings"), ((name, f"`{in_a_line(options)}`") for name, options in methods.items()))


def in_a_line(options: dict[str, Any]) -> str:
    """Return options in a line."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in options.items())


def how_run(run: Path, board: Leaderboard) -> str:
    """Return the device, the versions and the number of the computed cells."""
    folder = RunFolder(run)
    cells = read_cells(folder, read_manifest(folder), in_passing=True).values()
    known = {name: sorted({str(cell.provenance[name]) for cell in cells if name in cell.provenance}) for name in SAID}
    stated = ", ".join(f"{name} {' and '.join(values)}" for name, values in known.items() if values)
    done = sum(cell.status == "done" for cell in cells)
    planned = sum(len(row.seeds) for row in board.rows) * len(board.benchmarks)
    return f"{done} of {planned} cells; {stated}.\n"


def columns(board: Leaderboard) -> tuple[Column, Column]:
    """Return the column to be forgotten and the one to be kept."""
    return tuple(next(column for column in board.columns if column.role == role) for role in ("forget", "retain"))  # pyright: ignore


def ordered(board: Leaderboard) -> list[Row]:
    """The base, the reference, then the rows from the best to the worst; those that have no score yet are left out."""
    rows = [row for row in board.rows if row.scores]
    base = [row for row in rows if row.variant == BASELINE]
    reference = [row for row in rows if row.variant in board.reference]
    return [*base, *reference, *by_score(row for row in rows if row not in base and row not in reference)]


def by_score(rows: Iterable[Row]) -> list[Row]:
    """From the highest S to the lowest."""
    return sorted(rows, key=lambda row: -(row.summary.score.value or 0.0) if row.summary else 1.0)


def spanned(estimate: Estimate | None) -> str:
    """A figure with its interval."""
    if estimate is None or estimate.value is None:
        return "-"
    ends = span(estimate, digits=2)
    return figure(estimate.value) + (f" ({ends})" if ends else "")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)) + "\n"


def put(page: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of that name."""
    place = rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)"
    before = page.read_text(encoding="utf-8")
    written, count = re.subn(place, lambda marks: f"{marks[1]}\n{text}\n{marks[2]}", before, flags=re.DOTALL)
    assert count == 1, f"{page} has no place for the figures '{name}'"
    page.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
