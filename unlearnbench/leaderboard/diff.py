"""The differences of two comparisons: their settings, and their scores with paired tests."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unlearnbench.leaderboard.comparability import cell_name
from unlearnbench.leaderboard.merge import Part, read_part
from unlearnbench.leaderboard.outcomes import Outcomes
from unlearnbench.leaderboard.resampling import SEED
from unlearnbench.leaderboard.statistics import LEVEL, RESAMPLES, holm, mcnemar, quantiles, resampled_means
from unlearnbench.records.base import Record
from unlearnbench.records.items import TURN
from unlearnbench.records.manifest import ManifestBenchmark

PROVENANCE = (
    "base_weights",
    "method_distribution",
    "method_source",
    "method_options",
    "budget",
    "trainer",
    "topics",
    "benchmark_distribution",
    "benchmark_source",
    "benchmark_options",
    "data",
    "dtype",
    "limit",
    "device",
    "torch",
    "transformers",
    "unlearnbench",
)


class SettingChange(Record):
    """One setting that differs between two comparisons; null where one has none."""

    where: str
    name: str
    before: Any
    after: Any


class ScoreChange(Record):
    """One row's score on one benchmark in two comparisons.

    Attributes:
        unit: unit of the scores, `fraction` or `points`.
        before: mean of the first, over seeds and the items that both asked and every seed has a score of; null where there are
            none; after: mean of the second.
        difference: difference of the means, second less first.
        low: lower end of the 95% interval: items resampled in pairs.
        p: p value: McNemar's exact where each has one seed and answers are right or wrong, else of the resampled difference;
            after Holm over all changes listed.
        n: number of these items.
        only_one: number of items that only one of them asked.
        lost: number of items right in the first and wrong in the second; gained: the other way round; null where not simply
            right or wrong.
    """

    variant: str
    benchmark: str
    unit: str
    before: float | None
    after: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 0
    only_one: int = 0
    lost: int | None = None
    gained: int | None = None


class Difference(Record):
    """All differences of two comparisons, and the scores of the rows that both have."""

    runs: tuple[str, str]
    settings: list[SettingChange]
    scores: list[ScoreChange]
    only_first: list[str]
    only_second: list[str]


def differ(first: Path, second: Path) -> Difference:
    """Compare two comparisons.

    Raises:
        UsageError: one of them is not the folder of a comparison.
    """
    parts = read_part(first), read_part(second)
    rows = [{row.variant for row in part.manifest.rows} for part in parts]
    return Difference(
        runs=(str(first), str(second)),
        settings=[*_recipes(*parts), *_cells(*parts)],
        scores=_with_holm(list(_scores(*parts))),
        only_first=sorted(rows[0] - rows[1]),
        only_second=sorted(rows[1] - rows[0]),
    )


def _recipes(first: Part, second: Part) -> Iterator[SettingChange]:
    before, after = _flat(first.manifest.recipe), _flat(second.manifest.recipe)
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            yield SettingChange(where="recipe", name=name, before=before.get(name), after=after.get(name))


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted names."""
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    found: dict[str, Any] = {}
    for key, member in value.items():
        found |= _flat(member, f"{path}.{key}" if path else str(key))
    return found


def _cells(first: Part, second: Part) -> Iterator[SettingChange]:
    """Yield the differences in the provenance of cells that both have; one that a whole column or row shares is listed once."""
    listed: set[tuple[str, str, str]] = set()
    for name, cell in first.cells.items():
        other = second.cells.get(name)
        for field in PROVENANCE if other is not None else ():
            before, after = _flat({field: cell.provenance.get(field)}), _flat({field: other.provenance.get(field)})  # pyright: ignore
            for key in dict.fromkeys([*before, *after]):
                where = _where(field, cell.key.variant, cell.key.benchmark)
                change = (where, key, f"{before.get(key)} {after.get(key)}")
                if before.get(key) != after.get(key) and change not in listed:
                    listed.add(change)
                    yield SettingChange(where=where, name=key, before=before.get(key), after=after.get(key))


def _where(field: str, variant: str, benchmark: str) -> str:
    if field.startswith(("benchmark", "data")):
        return benchmark
    return variant if field.startswith(("method", "budget", "trainer", "topics")) else "all"


def _scores(first: Part, second: Part) -> Iterator[ScoreChange]:
    theirs = {row.variant: row for row in second.manifest.rows}
    heads = {head.name: head for head in second.manifest.benchmarks}
    for row in first.manifest.rows:
        for head in first.manifest.benchmarks:
            if row.variant not in theirs or head.name not in heads:
                continue
            names = [[cell_name(r, head.name, seed) for seed in r.seeds] for r in (row, theirs[row.variant])]
            mine, other = (
                [part.items[name] for name in of_row if name in part.items]
                for part, of_row in zip((first, second), names, strict=True)
            )
            if mine and other:
                yield _change(row.variant, head, mine, other)


def _change(variant: str, head: ManifestBenchmark, mine: list[Outcomes], other: list[Outcomes]) -> ScoreChange:
    facts: dict[str, Any] = {"variant": variant, "benchmark": head.name, "unit": head.metric.unit}
    by_seed = [
        [dict(zip(outcomes.ids, outcomes.scores.tolist(), strict=True)) for outcomes in seeds] for seeds in (mine, other)
    ]
    first, second = (set(seeds[0]) for seeds in by_seed)
    known = {name for name in first & second if all(math.isfinite(scores[name]) for seeds in by_seed for scores in seeds)}
    shared = [name for name in mine[0].ids if name in known]
    facts |= {"n": len(shared), "only_one": len(first ^ second)}
    if not shared:
        return ScoreChange(**facts, before=None, after=None)
    scores = np.array([np.mean([[by_id[name] for name in shared] for by_id in seeds], axis=0) for seeds in by_seed])  # (2, N)
    _, units = np.unique([name.rpartition(TURN)[0] or name for name in shared], return_inverse=True)
    draws = resampled_means(scores, units, np.random.default_rng(SEED), RESAMPLES)
    change = draws[1].astype(np.float64) - draws[0]
    low, high = quantiles(change, LEVEL)
    before, after = (float(row.mean()) for row in scores)
    difference = after - before
    facts |= {
        "before": round(before, 6),
        "after": round(after, 6),
        "difference": round(difference, 6),
        "low": round(low, 6),
        "high": round(high, 6),
    }
    if len(mine) == len(other) == 1 and np.isin(scores, (0.0, 1.0)).all():
        facts |= {"lost": int((scores[0] > scores[1]).sum()), "gained": int((scores[1] > scores[0]).sum())}
        return ScoreChange(**facts, p=float(mcnemar(scores)[0, 1]))
    return ScoreChange(**facts, p=_p_of(difference, change))


def _p_of(difference: float, draws: Any) -> float:
    """Return the two-sided p value of the difference over its standard error in the resamples."""
    from scipy import special

    error = float(np.std(draws, ddof=1))
    if error < 1e-9:
        return 1.0 if abs(difference) < 1e-9 else 0.0
    return float(2 * special.ndtr(-abs(difference) / error))


def _with_holm(changes: list[ScoreChange]) -> list[ScoreChange]:
    tested = [number for number, change in enumerate(changes) if change.p is not None]
    adjusted = holm(np.array([changes[number].p for number in tested])) if tested else np.array([])
    for number, p in zip(tested, adjusted, strict=True):
        changes[number] = changes[number].model_copy(update={"p": float(f"{p:.4g}")})
    return changes
