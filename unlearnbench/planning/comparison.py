"""A checked recipe: what is loaded and planned, before anything is computed or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unlearnbench.data.topics import TopicData
from unlearnbench.planning.estimates import Footprint, JobEstimate, estimate_job
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan, LookPlan
from unlearnbench.planning.request import Device
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import RunFolder


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
    footprints: Mapping[str, Footprint] = field(default_factory=dict)  # of the rows that have something left to compute

    @property
    def due(self) -> int:
        """Cells that are left to compute."""
        return sum(len(plan.due) for plan in self.jobs)

    def estimates(self) -> list[JobEstimate]:
        """What each job still takes."""
        return [
            estimate_job(
                plan,
                self.benchmarks,
                self.topics,
                self.recipe.limit,
                self.footprints.get(plan.job.variant),
                trained=self.run.read_manifest(self.run.delta_path_of(plan.job)) is not None,
            )
            for plan in self.jobs
        ]
