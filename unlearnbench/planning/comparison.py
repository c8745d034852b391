"""A checked recipe: loaded and planned, before anything is computed or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlearnbench.data.topics import TopicData
from unlearnbench.models.folders import model_folder
from unlearnbench.models.loading import block_count
from unlearnbench.planning.attacks import AttackPlan
from unlearnbench.planning.durations import Durations, known_durations
from unlearnbench.planning.estimates import Footprint, JobEstimate, estimate_job
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan, LookPlan
from unlearnbench.planning.request import Device
from unlearnbench.records.cells import CellKey
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.score_cache import ScoreCache
from unlearnbench.scoring.benchmark import Workload


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A checked recipe: everything is loaded, nothing is computed, nothing is written."""

    recipe: Recipe
    dtype: str
    device: Device
    topics: Sequence[TopicData]
    benchmarks: Sequence[BenchmarkPlan]
    jobs: Sequence[JobPlan]
    run: RunFolder
    cache: Path
    looks: LookPlan | None = None
    attacks: Sequence[AttackPlan] = ()
    footprints: Mapping[str, Footprint] = field(default_factory=dict)  # of the rows that have something left to compute

    @property
    def due(self) -> int:
        """Return the number of cells that are left to compute."""
        return sum(len(plan.due) for plan in self.jobs)

    def has_delta(self, plan: JobPlan) -> bool:
        """Return whether a job's weights are there already."""
        return self.run.read_manifest(self.run.delta_path_of(plan.job)) is not None

    def durations(self) -> Durations:
        """Return the durations of rows and benchmarks that finished cells and the cache tell."""
        cache = ScoreCache(self.cache)
        return known_durations(self.jobs, self.benchmarks, self.run, cache, dtype=self.dtype, limit=self.recipe.limit)

    def estimates(self, durations: Durations) -> list[JobEstimate]:
        """Return the estimate of each job's remaining work."""
        due = {name for plan in self.jobs for name in plan.due}
        loads = {column.name: column.benchmark.estimate(self.recipe.limit) for column in self.benchmarks if column.name in due}
        loads |= {name: self._load_of(key) for name in due if (key := CellKey.read("", name, 0)).attack is not None}
        return [
            estimate_job(
                plan,
                loads,
                self.topics,
                self.footprints.get(plan.job.variant),
                trained=self.has_delta(plan),
                failed=tuple(name for name in plan.cells if name not in plan.due and self._failed(plan, name)),
                durations=durations,
            )
            for plan in self.jobs
        ]

    def _load_of(self, key: CellKey) -> Workload:
        """Return the work of a cell under attack."""
        attack = next(attack for attack in self.attacks if attack.label == key.attack)
        return attack.load(key.benchmark, block_count(model_folder(self.recipe.model)))

    def _failed(self, plan: JobPlan, benchmark: str) -> bool:
        cell = self.run.read_cell(plan.key(benchmark), plan.cells[benchmark])
        return cell is not None and cell.status != "done"
