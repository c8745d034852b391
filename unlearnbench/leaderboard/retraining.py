"""The cost of unlearning as a share of the cost of retraining the reference; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from unlearnbench.records.cells import CellResult
from unlearnbench.records.leaderboard import Row, RowCost
from unlearnbench.records.manifest import BASELINE, Manifest

RETRAINING = "retraining"  # the record of a retrained checkpoint, in its cells' provenance
FIELDS: dict[Literal["seconds", "tokens"], str] = {"seconds": "unlearn_seconds", "tokens": "tokens"}


def with_shares(
    rows: Sequence[Row], manifest: Manifest, cells: Mapping[str, CellResult], reference: Collection[str]
) -> list[Row]:
    """Return the rows with the share that each one's cost is of the reference's retraining.

    By seconds where all were measured on the same device, else by the tokens that training saw. Rows stay as they are where
    no row of the reference has a record of its retraining, or they are not finished, or have no cost to compare.

    Args:
        rows: rows with what each of them cost.
        manifest: plan of the comparison.
        cells: finished cells, by str(CellKey).
        reference: rows of the reference.
    """
    made = {head.variant: [cells[name].provenance for name in head.cells if name in cells] for head in manifest.rows}
    retrained = [row for row in rows if row.variant in reference and any(RETRAINING in where for where in made[row.variant])]
    if not retrained:
        return list(rows)
    devices = {device for row in retrained for device in _devices(made[row.variant])}

    def shared(row: Row) -> Row:
        if row.variant == BASELINE or row.variant in reference or row.status != "done":
            return row
        same = len(devices) == 1 and _devices(made[row.variant]) == devices
        share = _share(row.cost, [made_row.cost for made_row in retrained], ("seconds", "tokens") if same else ("tokens",))
        return row if share is None else row.model_copy(update={"cost": row.cost.model_copy(update=share)})

    return [shared(row) for row in rows]


def _devices(made: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the devices that a row's weights were trained on, from the provenance of its cells; cells record them."""
    retrained = (where.get(RETRAINING, {}).get("environment") for where in made)
    return {str(there.get("device")) for there in (of or where for of, where in zip(retrained, made, strict=True))}


def _share(
    cost: RowCost, of: Sequence[RowCost], measures: Sequence[Literal["seconds", "tokens"]]
) -> dict[str, float | str] | None:
    """Return the share by the first of the measures that both have; None where there is none."""
    for measure in measures:
        spent = getattr(cost, FIELDS[measure])
        retraining = [value for each in of if (value := getattr(each, FIELDS[measure]))]
        if spent is not None and retraining:
            return {"of_retraining": round(spent / fmean(retraining), 6), "shared_by": measure}
    return None
