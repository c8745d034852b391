from __future__ import annotations

import csv
import io

import pytest

from unlearnbench.leaderboard import BenchmarkHead, Leaderboard, Manifest, RowHead, build_leaderboard
from unlearnbench.records import CellKey, CellResult, Cost, Metric, PartScore
from unlearnbench.reports import text
from unlearnbench.reports.cells import lay_out, notes

ITEMS = 1000


def comparison(rows: dict[str, dict[str, dict[str, float]]], *, chance: float = 0.25, topics=None, seeds=(0,)) -> Leaderboard:
    """A table from {row: {benchmark: {part: score}}}."""
    names = list(next(iter(rows.values())))
    topics = topics if topics is not None else {"wmdp": {"bio": ["bio"], "cyber": ["cyber"]}}
    heads = []
    for name in names:
        parts = list(next(iter(rows.values()))[name])
        claimed = topics.get(name, {})
        metric = Metric(role="forget" if name == "wmdp" else "retain", chance=chance)
        heads.append(
            BenchmarkHead(
                name=name, metric=metric, parts=parts, forget_parts=[p for own in claimed.values() for p in own], topics=claimed
            )
        )
    cells: dict[str, CellResult] = {}
    lines = []
    for row, scores in rows.items():
        own = seeds if row != "none" else (0,)
        keys = [CellKey(variant=row, benchmark=name, seed=seed) for name in names for seed in own]
        lines.append(RowHead(variant=row, method=row, hash="h", seeds=list(own), cells={str(key): "i" for key in keys}))
        for key in keys:
            parts = {part: PartScore(value=value, n=ITEMS) for part, value in scores[key.benchmark].items()}
            value = sum(part.value for part in parts.values()) / len(parts)
            cells[str(key)] = CellResult(
                key=key, identity="i", status="done", metric=None, value=value, n=ITEMS * len(parts), parts=parts,
                cost=Cost(unlearn_seconds=3.0, evaluate_seconds=1.0),
            )  # fmt: skip
    return build_leaderboard(Manifest(recipe={"name": "test", "model": "m"}, benchmarks=heads, rows=lines), cells)


def row(bio: float, cyber: float, mmlu: float) -> dict[str, dict[str, float]]:
    return {"wmdp": {"bio": bio, "cyber": cyber}, "mmlu": {"all": mmlu}}


# Li et al. 2024, Zephyr-7B, the three accuracies of the main table
PAPER = {
    "none": row(0.637, 0.440, 0.581),
    "llmu": row(0.595, 0.395, 0.447),
    "scrub": row(0.438, 0.393, 0.512),
    "ssd": row(0.502, 0.350, 0.407),
    "rmu": row(0.312, 0.282, 0.571),
}


def test_summary_by_hand():
    """RMU: F = mean(1 - .062/.387, 1 - .032/.19) = .835699, K = .321/.331 = .969789, S = 2FK/(F+K)."""
    board = comparison(PAPER)
    summary = next(r for r in board.rows if r.variant == "rmu").summary
    assert summary.forget.value == pytest.approx((1 - 0.062 / 0.387 + 1 - 0.032 / 0.19) / 2, abs=1e-5)
    assert summary.keep.value == pytest.approx(0.321 / 0.331, abs=1e-5)
    assert summary.score.value == pytest.approx(0.8978, abs=1e-3)


def test_baseline_first_then_by_score():
    board = comparison(PAPER)
    assert [r.variant for r in board.rows][:2] == ["none", "rmu"]
    assert board.rows[0].rank is None
    assert [r.rank for r in board.rows[1:]] == [1, 2, 3, 4]
    assert board.rows[-1].variant == "llmu"


def test_far_below_chance_is_not_forgotten():
    board = comparison({"none": row(0.75, 0.75, 0.75), "avoids": row(0.0, 0.0, 0.75), "forgets": row(0.25, 0.25, 0.75)})
    shares = {r.variant: r.summary.forget.value for r in board.rows if r.summary}
    assert shares == {"avoids": 0.5, "forgets": 1.0}


def test_benchmark_at_chance_says_nothing():
    board = comparison({"none": row(0.75, 0.75, 0.26), "rmu": row(0.25, 0.25, 0.20)})
    assert [info.informative for info in board.benchmarks] == [True, False]
    assert board.rows[1].summary.keep.value is None
    assert board.rows[1].rank is None
    assert any("Not informative" in line and "mmlu" in line for line in notes(board))


def test_parts_that_are_to_be_forgotten_get_columns_of_their_own():
    topics = {"wmdp": {"bio": ["bio"]}, "mmlu": {}}
    board = comparison({"none": row(0.7, 0.7, 0.7), "rmu": row(0.3, 0.6, 0.7)}, topics=topics)
    assert [(c.title, c.role) for c in board.columns] == [
        ("wmdp/bio", "forget"),
        ("wmdp/cyber", "untargeted"),
        ("mmlu", "retain"),
    ]
    assert board.rows[1].summary.forget.value == pytest.approx(1 - 0.05 / 0.45, abs=1e-6)


def test_one_benchmark_with_parts_to_forget_and_to_keep():
    rows = {name: {"mcq": {"authors": a, "kept": k}} for name, a, k in (("none", 1.0, 1.0), ("rmu", 0.25, 0.9))}
    board = comparison(rows, topics={"mcq": {"authors": ["authors"]}})
    assert [(c.title, c.role) for c in board.columns] == [("mcq/authors", "forget"), ("mcq/kept", "retain")]
    summary = board.rows[1].summary
    assert (summary.forget.value, summary.keep.value) == (1.0, pytest.approx(0.65 / 0.75, abs=1e-6))


def test_missing_seed_lowers_coverage_and_leaves_the_row_pending():
    board = comparison(PAPER, seeds=(0, 1))
    assert all(score.coverage == 1.0 for r in board.rows for score in r.scores.values())
    heads = comparison(PAPER)
    assert {r.status for r in heads.rows} == {"done"}


def test_text_formats_agree():
    board = comparison(PAPER)
    grid = lay_out(board)
    table = list(csv.reader(io.StringIO(text.render([board], "csv"))))
    assert table == [grid.head, *grid.rows]
    assert table[0][2:4] == ["wmdp ↓", "mmlu ↑"]
    assert table[-1][1:4] == ["chance", ".250", ".250"]
    markdown = text.render([board], "markdown")
    assert "| none (base) |" in markdown
    latex = text.render([board], "latex")
    assert r"\toprule" in latex
    assert r"wmdp $\downarrow$" in latex


def test_hostile_names_stay_text():
    """Names come from recipes and plugins; markup in them is shown, not obeyed."""
    from rich.console import Console

    from unlearnbench.reports import terminal

    rows = {"none": row(0.7, 0.7, 0.7), "x[red]|<b>": row(0.3, 0.3, 0.7)}
    board = comparison(rows)
    assert "x[red]\\|&lt;b>" in text.render([board], "markdown")
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(terminal.render(board))
    assert "x[red]|<b>" in console.export_text()


def test_narrow_terminal_loses_columns_not_sense():
    from rich.console import Console

    from unlearnbench.reports import terminal

    board = comparison({"none": row(0.7, 0.7, 0.7), "a-rather-long-variant-name": row(0.3, 0.3, 0.7)})
    console = Console(width=64, record=True, file=io.StringIO())
    console.print(terminal.render(board, width=64))
    shown = console.export_text()
    assert "a-rather-long-variant-name" in shown
    assert "wmdp ↓" in shown
    assert "mmlu ↑" in shown
    assert "Left out in 64 columns: seeds, unlearn" in shown.replace("\n", " ")
