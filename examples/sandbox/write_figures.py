"""Write the sandbox's figures into the documentation: the scores of a comparison of every method, and the settings it ran with.

    unlearnbench compare --out RUN
    python -m examples.sandbox.write_figures RUN
    python -m examples.sandbox.write_figures --demo DEMO

The README has the table that `make demo` ends with (DEMO is its folder), docs/sandbox.md that of all rows, docs/findings.md
what the search's trials reached (trials.json), and each method's page its own row and what was chosen.
"""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from unlearnbench.leaderboard.reading import read_leaderboard
from unlearnbench.records.leaderboard import Estimate, Leaderboard, Row
from unlearnbench.records.manifest import BASELINE, RANDOM_NOISE
from unlearnbench.records.tuning import RowTrials, Tuning
from unlearnbench.reports.formatting import figure, heading, span
from unlearnbench.reports.terminal import render
from unlearnbench.reports.tuning import in_words

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
DOCS = HERE.parents[1] / "docs"
DEMO = r"(?<=<!-- demo -->\n```\n).*(?=```\n<!-- end -->)"
COLUMNS = 80
RETRAIN = "retrain"
LEAST = (0.95, 0.75, 0.5)
NEAR = ("virology", "computer_security")
AFTER = ("mmlu ↑", *(f"{part} ↑" for part in NEAR), "mt_bench ↑", "F ↑", "K ↑", "S ↑", "verdict", "unlearn")


def main() -> None:
    """Write the README, or docs/sandbox.md, docs/findings.md and the methods' pages."""
    parser = argparse.ArgumentParser(description="Write the sandbox's figures into the documentation.")
    parser.add_argument("run", type=Path, help="folder of a comparison of all rows")
    parser.add_argument("--demo", action="store_true", help="the folder is that of `make demo`: write the README")
    given = parser.parse_args()
    board = read_leaderboard(given.run)
    if given.demo:
        put(README, DEMO, terminal_table(board))
    else:
        write_pages(board)


def write_pages(board: Leaderboard) -> None:
    """Write docs/sandbox.md, docs/findings.md and the methods' pages."""
    tuning = Tuning.model_validate_json((HERE / "trials.json").read_text(encoding="utf-8"))
    lines = {row.variant: line(row) for row in board.rows if row.method != RANDOM_NOISE}
    head_of_rows = ("row", heading(next(column for column in board.columns if column.title == "wmdp"), board), *AFTER)
    between = r"(?<=<!-- figures -->\n).*(?=<!-- end -->)"
    put(DOCS / "sandbox.md", between, table(head_of_rows, list(lines.values())))
    head = ("method", *(f"F at K ≥ {figure(least, digits=2)}" for least in LEAST))
    put(DOCS / "findings.md", between, table(head, [reached(row) for row in tuning.rows]))
    for row in tuning.rows:
        shown = [lines[name] for name in (BASELINE, RETRAIN, row.row) if name in lines]
        put(
            DOCS / "methods" / f"{row.method}.md",
            r"(?<=## On the sandbox\n\n).*",
            section(row, tuning, board) + table(head_of_rows, shown),
        )


def terminal_table(board: Leaderboard) -> str:
    """Return the table as a terminal of 80 columns shows it, without the notes below."""
    console = Console(width=COLUMNS, file=io.StringIO(), color_system=None)
    with console.capture() as shown:
        console.print(render(board, width=COLUMNS))
    end = "┘\n"
    return "".join(f"{line.rstrip()}\n" for line in (shown.get().partition(end)[0] + end).splitlines())


def section(row: RowTrials, tuning: Tuning, board: Leaderboard) -> str:
    """Return the section on a method: the settings that the search chose, and the options that it did not search."""
    chosen = next(trial for trial in row.trials if trial.number == row.chosen)
    seeds, least = board.recipe["seeds"], figure(tuning.keep_at_least, digits=2)
    over = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"
    rule = f"highest F of those with K at least {least}" if row.met else f"highest S, since none had K at least {least}"
    shares = ", ".join(f"{n} {figure(v)}" for n, v in (("F", chosen.forget), ("K", chosen.keep), ("S", chosen.score)))
    fixed = {n: v for n, v in (board.recipe["methods"][row.row] or {}).items() if n not in {"method", *row.settings}}
    return (
        f"`{in_words(row.settings)}`: trial {chosen.number} of {len(row.trials)} of [the search](../sandbox.md), the one with\n"
        f"the {rule}. On the half of the questions that the search used: {shares}.\n"
        f"Set by hand for all trials: `{in_words(fixed)}`. All questions, {over}:\n\n"
    )


def line(row: Row) -> tuple[str, ...]:
    """Return a row's cells."""
    mmlu = row.scores["mmlu"]
    shares: Sequence[Estimate | None] = (None,) * 3
    if row.summary is not None and row.variant != BASELINE:
        shares = (row.summary.forget, row.summary.keep, row.summary.score)
    return (
        row.variant,
        spanned(row.scores["wmdp"]),
        spanned(mmlu),
        *(spanned(mmlu.parts[part]) for part in NEAR),
        f"{row.scores['mt_bench'].value:.2f}",
        *("-" if share is None else figure(share.value) for share in shares[:2]),
        "-" if shares[2] is None else spanned(shares[2]),
        row.verdict or "",
        f"{row.cost.unlearn_seconds:.0f} s" if row.cost.unlearn_seconds else "-",
    )


def reached(row: RowTrials) -> tuple[str, ...]:
    """Return the highest F of a row's trials, by the smallest K that they keep."""
    best = (max((t.forget for t in row.trials if t.forget is not None and t.met(least)), default=None) for least in LEAST)
    return (row.row, *map(figure, best))


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines)) + "\n"


def spanned(estimate: Estimate) -> str:
    """Return a figure with its interval."""
    ends = span(estimate, digits=2)
    return figure(estimate.value) + (f" ({ends})" if ends else "")


def put(page: Path, place: str, text: str) -> None:
    """Replace the text at a marked place of a page."""
    written, count = re.subn(place, lambda _: text, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert count == 1, f"{page} has no place for figures"
    page.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
