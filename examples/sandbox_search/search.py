"""Find the sandbox's settings: eight trials for each method, chosen on half of the questions, reported on the other half.

    python examples/sandbox_search/search.py OUT

Every trial is a row of one ordinary comparison, so the search can be interrupted and goes on. The summary S of a row is
computed as the leaderboard does, from the items with an even position for choosing and from the others for reporting.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from pathlib import Path

from unlearnbench.board import Leaderboard
from unlearnbench.cli.progress import ProgressReporter
from unlearnbench.compare import execute, read_cells, read_manifest
from unlearnbench.files import default_cache
from unlearnbench.leaderboard import build_leaderboard
from unlearnbench.preflight import prepare
from unlearnbench.recipe import Recipe, load_recipe
from unlearnbench.records import CellResult, ItemResult, PartScore
from unlearnbench.store import RunFolder

COMMON = {
    "rmu": {"lr": 1e-2, "steps": 150, "batch_size": 16, "max_length": 192},
    "llmu": {"steps": 60, "batch_size": 8, "max_length": 160, "answers": 1},
    "scrub": {"steps": 80, "batch_size": 8, "max_length": 160, "gamma": 1.0, "temperature": 2.0},
    "ssd": {"steps": 60, "batch_size": 8, "max_length": 160},
}
GRIDS = {
    "rmu": {"layer": [3, 4], "coefficient": [100.0, 200.0], "alpha": [1.0, 3.0]},
    "llmu": {"lr": [3e-4, 1e-3], "bad_weight": [0.5, 1.5], "normal_weight": [1.0, 5.0]},
    "scrub": {"lr": [3e-4, 1e-3], "alpha": [0.1, 1.0], "forget_steps": [24, 48]},
    "ssd": {"alpha": [1.0, 2.0, 5.0, 10.0], "dampening": [0.1, 1.0]},
}


def main() -> None:
    """Run every trial, then print the table."""
    parser = argparse.ArgumentParser(description="Search the sandbox's settings.")
    parser.add_argument("out", type=Path, help="folder of the comparison")
    out: Path = parser.parse_args().out
    comparison = prepare(trials(), out=out, cache=default_cache())
    with ProgressReporter(comparison.due) as reporter:
        for result in execute(comparison, reporter, keep_deltas="none"):
            reporter.finished(result)
    print(table(out))


def trials() -> Recipe:
    """The sandbox's recipe with every setting of every grid as a row."""
    recipe = load_recipe("sandbox")
    rows: dict[str, dict[str, object]] = {}
    for method, grid in GRIDS.items():
        for number, values in enumerate(itertools.product(*grid.values()), 1):
            rows[f"{method}-{number}"] = {"method": method, **COMMON[method], **dict(zip(grid, values, strict=True))}
    benchmarks = {"wmdp": {"source": "sandbox:wmdp"}, "mmlu": {"source": "sandbox:mmlu"}}
    benchmarks["mt_bench"] = {"source": "sandbox:mt_bench", "judge": "rules", "max_new_tokens": 32}
    return recipe.model_copy(update={"name": "sandbox-search", "methods": rows, "benchmarks": benchmarks})


def table(out: Path) -> str:
    """Every trial on both halves, as markdown; the chosen one of each method is marked."""
    chosen_on, reported_on = half(out, 0), half(out, 1)
    lines = ["| trial | settings | S, choosing half | F | K | S, other half |", "|---|---|---|---|---|---|"]
    for method in GRIDS:
        rows = {row.variant: row for row in chosen_on.rows if row.method == method}
        best = max(rows, key=lambda name: summary(chosen_on, name)[2])
        for name in sorted(rows):
            settings = {k: v for k, v in chosen_on.recipe["methods"][name].items() if k in GRIDS[method]}
            shown = ", ".join(f"{key} {value:g}" for key, value in settings.items())
            forget, keep, score = summary(reported_on, name)
            mark = "**" if name == best else ""
            figures = f"{summary(chosen_on, name)[2]:.3f} | {forget:.3f} | {keep:.3f} | {score:.3f}"
            lines.append(f"| {mark}{name}{mark} | {shown} | {figures} |")
    return "\n".join(lines)


def summary(board: Leaderboard, variant: str) -> tuple[float, float, float]:
    """F, K and S of a row; a row that failed has none of them."""
    found = next(row.summary for row in board.rows if row.variant == variant)
    if found is None:
        return 0.0, 0.0, 0.0
    return found.forget.value or 0.0, found.keep.value or 0.0, found.score.value or 0.0


def half(out: Path, rest: int) -> Leaderboard:
    """The leaderboard over the items whose position within their part is `rest` modulo 2."""
    run = RunFolder(out)
    manifest = read_manifest(run)
    cells = {name: halve(cell, run, rest) for name, cell in read_cells(run, manifest).items()}
    return build_leaderboard(manifest, cells)


def halve(cell: CellResult, run: RunFolder, rest: int) -> CellResult:
    """A cell's scores over half of its items."""
    if cell.status != "done":
        return cell
    seen: Counter[str] = Counter()
    kept: dict[str, list[ItemResult]] = {}
    for item in run.read_items(cell.key, cell.identity):
        if seen[item.part] % 2 == rest:
            kept.setdefault(item.part, []).append(item)
        seen[item.part] += 1
    parts = {name: PartScore(value=sum(i.score for i in own) / len(own), n=len(own)) for name, own in kept.items()}
    n = sum(part.n for part in parts.values())
    value = sum(part.value * part.n for part in parts.values()) / n
    return cell.model_copy(update={"value": value, "n": n, "parts": parts})


if __name__ == "__main__":
    main()
