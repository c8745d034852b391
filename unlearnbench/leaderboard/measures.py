"""Measures as a table reads them: each one a benchmark of its own, with its cells and items; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unlearnbench.leaderboard.comparability import cell_name
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.cells import CellResult, Measure
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, heads_of


def with_measures(
    manifest: Manifest, cells: Mapping[str, CellResult], items: Mapping[str, Outcomes]
) -> tuple[list[ManifestBenchmark], dict[str, CellResult], dict[str, Outcomes]]:
    """The heads of a table, its cells and its items, with those of every measure beside the benchmarks' own.

    Args:
        manifest: the plan.
        cells: by name.
        items: by name of their cell, those of one benchmark in one order.
    """
    heads = heads_of(manifest.benchmarks)
    all_cells, all_items = dict(cells), dict(items)
    for head in heads:
        if head.measure is None:
            continue
        view = _View(head.measure, head.parts)
        for row in manifest.rows:
            for seed in row.seeds:
                whole, name = cell_name(row, head.benchmark, seed), cell_name(row, head.name, seed)
                if whole in cells:
                    all_cells[name] = _cell(cells[whole], head)
                if whole in items:
                    all_items[name] = view.of(items[whole])
    return heads, all_cells, all_items


def _cell(cell: CellResult, head: ManifestBenchmark) -> CellResult:
    """A cell as it would be if the measure were all that it had."""
    assert head.measure is not None
    score = cell.measures.get(head.measure.name)
    n = score.n if score else 0
    return cell.model_copy(
        update={
            "key": cell.key.model_copy(update={"benchmark": head.name}),
            "metric": head.metric,
            "value": score.value if score else None,
            "n": n,
            "asked": n,
            "missing": {},
            "partial": 0,
            "figures": {},
            "parts": score.parts if score else {},
            "groups": {},
            "measures": {},
        }
    )


class _View:
    """The items of a measure's parts, with its values for scores; ids are kept in memory once."""

    def __init__(self, measure: Measure, parts: Sequence[str]) -> None:
        self._measure, self._parts = measure, tuple(parts)
        self._like: Outcomes | None = None
        self._own: NDArray[np.int64] = np.empty(0, np.int64)
        self._ids: tuple[tuple[str, ...], tuple[str, ...]] = (), ()

    def of(self, outcomes: Outcomes) -> Outcomes:
        if self._like is None or (outcomes.ids is not self._like.ids and outcomes.ids != self._like.ids):
            self._like, self._own = outcomes, np.flatnonzero(outcomes.in_parts(self._parts))
            self._ids = tuple(outcomes.ids[i] for i in self._own), tuple(outcomes.parts[i] for i in self._own)
        own = self._own
        plain = self._measure.value == "score"
        values = outcomes.scores if plain else outcomes.values.get(self._measure.value)
        return Outcomes(
            ids=self._ids[0],
            parts=self._ids[1],
            scores=np.full(len(own), np.nan, np.float32) if values is None else values[own],
            choices=outcomes.choices[own] if plain else np.full(len(own), -1, np.int8),
            answers=outcomes.answers[own] if plain else np.full(len(own), -1, np.int8),
            degenerate=None if outcomes.degenerate is None else outcomes.degenerate[own],
        )
