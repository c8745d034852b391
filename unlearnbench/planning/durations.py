"""The durations of jobs, estimated from earlier results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from unlearnbench.planning.plan import BenchmarkPlan, JobPlan
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.score_cache import ScoreCache


@dataclass(frozen=True, kw_only=True)
class Durations:
    """The seconds that rows and benchmarks take on one model, where they are known.

    Attributes:
        unlearn: seconds of one training, by row.
        evaluate: seconds of scoring one model, by benchmark.
        cached: identities of cells whose scores are in the user's cache.
        timed: rows and benchmarks that were tried for a moment, because nothing was known of them.
        stand_for: number of rows that a tried row stands for, itself among them, where there are more.
    """

    unlearn: Mapping[str, float]
    evaluate: Mapping[str, float]
    cached: frozenset[str] = frozenset()
    timed: Sequence[str] = field(default_factory=tuple[str, ...])
    stand_for: Mapping[str, int] = field(default_factory=dict[str, int])

    def to_unlearn(self, plan: JobPlan) -> float | None:
        """Return the seconds until a job that has no weights yet has them; None where nothing is known."""
        return self.unlearn.get(plan.job.variant) if plan.trains else 0.0

    def to_evaluate(self, plan: JobPlan) -> float | None:
        """Return the seconds to score a job's remaining benchmarks; None where nothing is known of one of them."""
        known = [self.evaluate.get(name) for name in plan.due if plan.cells[name] not in self.cached]
        available = [seconds for seconds in known if seconds is not None]
        return sum(available) if len(available) == len(known) else None


def known_durations(
    jobs: Sequence[JobPlan],
    benchmarks: Sequence[BenchmarkPlan],
    run: RunFolder,
    cache: ScoreCache,
    *,
    dtype: str,
    limit: int | None,
) -> Durations:
    """Return the durations in finished cells of other seeds and rows, and in the cache for models that nothing is
    trained for.
    """
    columns = {benchmark.name: benchmark for benchmark in benchmarks}
    unlearn: dict[str, list[float]] = {}
    evaluate: dict[str, list[float]] = {}
    cached: set[str] = set()
    for plan in jobs:
        for name, identity in plan.cells.items():
            if name not in plan.due:
                cell = run.read_cell(plan.key(name), identity)
                if cell is None or cell.status != "done":
                    continue
                if plan.trains and cell.cost.unlearn_seconds is not None:
                    unlearn.setdefault(plan.job.variant, []).append(cell.cost.unlearn_seconds)
                if cell.cost.evaluate_seconds is not None:
                    evaluate.setdefault(name, []).append(cell.cost.evaluate_seconds)
            elif plan.variant.training is None:
                column = columns.get(name)  # None for a cell under an attack
                key = column.cache_key(plan.variant.weights, dtype, limit, plan.job.seed) if column else ""
                if key and (kept := cache.read(key)) is not None:
                    cached.add(identity)
                    evaluate.setdefault(name, []).append(float(kept[0]["evaluate_seconds"]))
    return Durations(
        unlearn={name: fmean(seconds) for name, seconds in unlearn.items()},
        evaluate={name: fmean(seconds) for name, seconds in evaluate.items()},
        cached=frozenset(cached),
    )
