"""Measures as a table reads them: each like a benchmark, with cells and items; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from unlearnbench.leaderboard.comparability import cell_name
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.records.cells import SCORE, CellResult, Measure
from unlearnbench.records.manifest import Manifest, ManifestBenchmark, heads_of


def with_measures(
    manifest: Manifest, cells: Mapping[str, CellResult], items: Mapping[str, Outcomes]
) -> tuple[list[ManifestBenchmark], dict[str, CellResult], dict[str, Outcomes]]:
    """Return a table's heads, cells and items: those of the benchmarks, and those of every measure.

    Args:
        manifest: the plan.
        cells: finished cells by name.
        items: items by the name of their cell, in one order for all cells of a benchmark.
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
    """Return the cell that the benchmark would have if the measure were its only figure."""
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
    """The items of a measure's parts, with the measure's values as scores; ids are kept in memory once."""

    def __init__(self, measure: Measure, parts: Sequence[str]) -> None:
        self._measure, self._parts = measure, tuple(parts)
        self._like: Outcomes | None = None
        self._places: NDArray[np.int64] = np.empty(0, np.int64)
        self._ids: tuple[tuple[str, ...], tuple[str, ...]] = (), ()

    def of(self, outcomes: Outcomes) -> Outcomes:
        if self._like is None or (outcomes.ids is not self._like.ids and outcomes.ids != self._like.ids):
            self._like, self._places = outcomes, np.flatnonzero(outcomes.in_parts(self._parts))
            self._ids = tuple(outcomes.ids[i] for i in self._places), tuple(outcomes.parts[i] for i in self._places)
        places = self._places
        plain = self._measure.value == SCORE
        found = [outcomes.scores if name == SCORE else outcomes.values.get(name) for name in self._measure.values]
        each = [np.full(len(places), np.nan, np.float32) if values is None else values[places] for values in found]
        return Outcomes(
            ids=self._ids[0],
            parts=self._ids[1],
            scores=each[0],
            choices=outcomes.choices[places] if plain else np.full(len(places), -1, np.int8),
            answers=outcomes.answers[places] if plain else np.full(len(places), -1, np.int8),
            degenerate=None if outcomes.degenerate is None else outcomes.degenerate[places],
            values=dict(zip(self._measure.values, each, strict=True)) if len(each) > 1 else {},
        )
