"""Reading a run folder: its plan, its finished cells, its search."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from unlearnbench.errors import UsageError
from unlearnbench.records.cells import CellResult
from unlearnbench.records.manifest import Manifest
from unlearnbench.records.tuning import Tuning
from unlearnbench.runs.folder import RunFolder

TUNING = "tuning"  # folder of a comparison: the trials are rows of a comparison of their own
TRIALS = "trials.json"


def read_tuning(out: Path) -> Tuning | None:
    """Return the search that was made for a comparison, or None where there is none."""
    try:
        return Tuning.model_validate_json((out / TUNING / TRIALS).read_bytes())
    except (OSError, ValueError):
        return None


COMMAND = "command.txt"
PLAN_FILE = "plan.json"


def read_manifest(run: RunFolder) -> Manifest:
    """Return the plan that a run folder's table is made of."""
    try:
        return Manifest.model_validate(run.read_json(PLAN_FILE))
    except ValidationError as error:
        raise UsageError(
            f"{run.root}/{PLAN_FILE} was written by another version of unlearnbench; run the comparison again."
        ) from error


def read_cells(run: RunFolder, manifest: Manifest, *, in_passing: bool = False) -> dict[str, CellResult]:
    """Return the finished cells that belong to a plan, by name.

    Args:
        run: folder of the comparison.
        manifest: plan of the table.
        in_passing: True leaves damaged cells out.

    Raises:
        UsageError: one is damaged.
    """
    cells: dict[str, CellResult] = {}
    for row in manifest.rows:
        for name, identity in row.all_cells.items():
            found = run.read_cell(row.key(name), identity)
            if found is not None:
                cells[name] = found
            elif not in_passing and (problem := run.problem_of(row.key(name), identity)) is not None:
                path = run.cell_path(row.key(name), identity)
                raise UsageError(f"{path} {problem}; run the comparison again, and it is set aside.")
    return cells
