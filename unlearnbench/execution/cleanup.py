"""Clean-up of a comparison's folder: damaged and foreign files, and those that a killed process left."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unlearnbench.runs.folder import DELTA, DELTA_MANIFEST, RunFolder
from unlearnbench.system.files import left_behind

if TYPE_CHECKING:
    from unlearnbench.planning.plan import JobPlan

CELL = re.compile(r"seed-\d+-[0-9a-f]{16}\.(json|items\.parquet)")
QUESTIONS = re.compile(r".+-[0-9a-f]{16}\.parquet")


def tidy(run: RunFolder, plans: Sequence[JobPlan]) -> Iterator[str]:
    """Set aside files that are no cell, delta or questions, or damaged ones of these plans; yield a sentence about each."""
    for path in sorted(run.root.rglob(".*.tmp")):
        if left_behind(path):
            path.unlink(missing_ok=True)
    for path in (path for name in ("attacked", "cells", "deltas", "questions") for path in _files(run.root / name)):
        if not _expected(path, run.root):
            yield _moved(run, path, "is nothing that a comparison writes")
        elif path.parent.name == "questions" and run.texts_damaged(path):
            yield _moved(run, path, "is damaged; it is written again")
    for plan in plans:
        for benchmark, identity in plan.cells.items():
            key = plan.key(benchmark)
            if (problem := run.problem_of(key, identity)) is not None:
                yield _moved(run, run.cell_path(key, identity), f"{problem}; it is computed again")
                if run.items_path(key, identity).exists():
                    run.set_aside(run.items_path(key, identity))
        folder = run.delta_path_of(plan.job)
        if run.delta_damaged(folder):
            yield _moved(run, folder, "is damaged; the model is trained again if something is left to score")


def forget_failures(run: RunFolder, plans: Sequence[JobPlan]) -> None:
    """Remove the records of cells that failed, so that they are computed again, even if that is interrupted."""
    for plan in plans:
        for benchmark, identity in plan.cells.items():
            found = run.read_cell(plan.key(benchmark), identity)
            if found is not None and found.status != "done" and not found.incomplete:  # what is incomplete is due anyway
                run.cell_path(plan.key(benchmark), identity).unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir() and path.suffix != ".tmp")


def _expected(path: Path, root: Path) -> bool:
    inside = path.relative_to(root).parts
    if inside[0] == "questions":
        return len(inside) == 2 and QUESTIONS.fullmatch(path.name) is not None
    if inside[0] == "attacked":
        return len(inside) == 5 and CELL.fullmatch(path.name) is not None
    if inside[0] == "cells":
        return len(inside) == 4 and CELL.fullmatch(path.name) is not None
    return len(inside) == 4 and path.name in (DELTA, DELTA_MANIFEST)


def _moved(run: RunFolder, path: Path, problem: str) -> str:
    there = run.set_aside(path)
    return f"{path.relative_to(run.root)} {problem}. It is kept as {there.relative_to(run.root)}."
