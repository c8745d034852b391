"""Find the sandbox's settings: eight trials for each method, chosen on half of the questions, reported on the other half.

    python -m examples.sandbox_search.search OUT

The summary S of a row is computed as the leaderboard does, from the items with an even position for choosing and from the
others for reporting.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from examples.settings import Trials, grid, rows_of, run, table
from unlearnbench.board import Leaderboard
from unlearnbench.compare import read_cells, read_manifest
from unlearnbench.leaderboard import build_leaderboard
from unlearnbench.recipe import load_recipe
from unlearnbench.records import CellResult, ItemResult, PartScore
from unlearnbench.store import RunFolder

TRIALS: Trials = {
    "rmu": grid(
        {"lr": 1e-2, "steps": 150, "batch_size": 16, "max_length": 192},
        layer=[3, 4],
        coefficient=[100.0, 200.0],
        alpha=[1.0, 3.0],
    ),
    "llmu": grid(
        {"steps": 60, "batch_size": 8, "max_length": 160, "answers": 1},
        lr=[3e-4, 1e-3],
        bad_weight=[0.5, 1.5],
        normal_weight=[1.0, 5.0],
    ),
    "scrub": grid(
        {"steps": 80, "batch_size": 8, "max_length": 160, "gamma": 1.0, "temperature": 2.0},
        lr=[3e-4, 1e-3],
        alpha=[0.1, 1.0],
        forget_steps=[24, 48],
    ),
    "ssd": grid({"steps": 60, "batch_size": 8, "max_length": 160}, alpha=[1.0, 2.0, 5.0, 10.0], dampening=[0.1, 1.0]),
}


def main() -> None:
    """Run every trial, then print the table."""
    parser = argparse.ArgumentParser(description="Search the sandbox's settings.")
    parser.add_argument("out", type=Path, help="folder of the comparison")
    out: Path = parser.parse_args().out
    run(load_recipe("sandbox").model_copy(update={"name": "sandbox-search", "methods": rows_of(TRIALS)}), out)
    print(table(TRIALS, half(out, 0), half(out, 1)))


def half(out: Path, rest: int) -> Leaderboard:
    """The leaderboard over the items whose position within their part is `rest` modulo 2."""
    run_folder = RunFolder(out)
    manifest = read_manifest(run_folder)
    cells = {name: halve(cell, run_folder, rest) for name, cell in read_cells(run_folder, manifest).items()}
    return build_leaderboard(manifest, cells)


def halve(cell: CellResult, run_folder: RunFolder, rest: int) -> CellResult:
    """A cell's scores over half of its items."""
    if cell.status != "done":
        return cell
    seen: Counter[str] = Counter()
    kept: dict[str, list[ItemResult]] = {}
    for item in run_folder.read_items(cell.key, cell.identity):
        if seen[item.part] % 2 == rest:
            kept.setdefault(item.part, []).append(item)
        seen[item.part] += 1
    parts = {name: PartScore(value=sum(i.score for i in own) / len(own), n=len(own)) for name, own in kept.items()}
    n = sum(part.n for part in parts.values())
    value = sum(part.value * part.n for part in parts.values()) / n
    return cell.model_copy(update={"value": value, "n": n, "parts": parts})


if __name__ == "__main__":
    main()
