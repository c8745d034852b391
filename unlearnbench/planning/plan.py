"""From a recipe and the finished cells to the jobs that are left; pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unlearnbench.data.topics import TopicData
from unlearnbench.plugins.fingerprint import interim_hash, scoring_hash
from unlearnbench.plugins.registry import Plugin
from unlearnbench.plugins.specs import BenchmarkSpec, MethodSpec, Training
from unlearnbench.records.base import Half, Options, Role
from unlearnbench.records.cells import CellKey, CellResult, Ideal, Job, Measure, Metric
from unlearnbench.records.manifest import ManifestBenchmark, ManifestMeasure
from unlearnbench.records.recipe import Recipe
from unlearnbench.scoring.benchmark import Benchmark
from unlearnbench.system.files import content_hash


@dataclass(frozen=True, kw_only=True)
class BenchmarkPlan:
    """One column: the benchmark, ready to evaluate, and the parts of its cells' identity.

    `half` is what is scored of its items; `all_asked` where the benchmark cannot ask a half, so that answers are left out.
    """

    name: str
    plugin: Plugin[BenchmarkSpec]
    options: Options
    benchmark: Benchmark
    half: Half | None = None
    all_asked: bool = False
    base: str = ""  # hash of the untouched model's weights

    @property
    def deciding(self) -> Options:
        """Return the options that may change a score."""
        return {name: value for name, value in self.options.items() if name not in self.benchmark.incidental}

    def identity(self, limit: int | None) -> list[object]:
        """Return everything about a benchmark that may change a score, to be hashed."""
        plugin = [self.plugin.info.name, self.plugin.source_hash, scoring_hash(), self.deciding]
        base = [self.base] if self.benchmark.reads_base else []
        return [*plugin, self.benchmark.digest(), limit, self.half, *base]

    def cache_key(self, weights: str | None, dtype: str, limit: int | None, seed: int) -> str:
        """Return the key of a model's score in the user's cache."""
        return content_hash([weights, dtype, self.identity(limit), seed])


@dataclass(frozen=True, kw_only=True)
class LookPlan:
    """The looks at trainings: their times, their questions and their purpose.

    Attributes:
        every: number of updates from one look to the next.
        columns: columns of the half that chooses, each with its entry in the manifest.
        limit: number of items scored in each part; None for all.
        keep_best: True puts the best weights back in the end; else looks only decide whether to go on.
        keep_at_least: smallest K of the best weights, where any keep it.
        floors: S below which the trial is stopped, by row and update.
    """

    every: int
    columns: Sequence[tuple[BenchmarkPlan, ManifestBenchmark]]
    limit: int | None
    keep_best: bool
    keep_at_least: float
    floors: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    def identity(self) -> list[object]:
        """Return everything about the looks that may change the weights, or whether there are any."""
        asked = [plan.identity(self.limit) for plan, _ in self.columns]
        return [self.every, asked, self.keep_best, self.keep_at_least, interim_hash()]


@dataclass(frozen=True, kw_only=True)
class VariantPlan:
    """One row: its method (none for the baseline and for checkpoints) and the source of its weights.

    A row that is derived from another one, as a control is, has that row's plugin, options and budget, which decide what its
    weights are made of; its `method` says how. A row whose plugin cannot be loaded has no budget, and fails with the `problem`.
    """

    name: str
    method: str
    plugin: Plugin[MethodSpec] | None
    options: Options
    training: Training | None
    model: str  # source
    weights: str  # hash of the model folder
    derived_from: str | None = None
    problem: str | None = None

    def processes(self, devices: int) -> int:
        """Return the number of processes that train it: the recipe's, or one for a method that must see whole batches."""
        if devices == 1 or self.plugin is None or self.training is None:  # to ask a method, its module has to be imported
            return 1
        return 1 if getattr(self.plugin.spec.factory, "one_process", False) else devices


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """One job with the cells it owes.

    Attributes:
        job: job: its row and seed, and the identity of its weights.
        variant: row of the job.
        cells: identity of each cell, by its name within the job: its benchmark, or `CellKey.within` of one under an attack.
        due: names of the cells that are not finished yet.
        source: job whose delta this one is derived from; that delta must exist before this job can begin.
    """

    job: Job
    variant: VariantPlan
    cells: Mapping[str, str]
    due: tuple[str, ...] = ()
    source: Job | None = None

    @property
    def trains(self) -> bool:
        """Return whether its weights come from a training of its own."""
        return self.variant.training is not None and self.source is None

    def key(self, name: str) -> CellKey:
        """Return the key of a cell, by its name within the job."""
        return CellKey.read(self.job.variant, name, self.job.seed)


def job_identity(variant: VariantPlan, seed: int, topics: Sequence[TopicData], shared: Mapping[str, Any]) -> str:
    """Return the hash of everything that may change the unlearned weights.

    Args:
        variant: row; its plugin's source, options and budget count, if it trains.
        seed: seed; it counts only if the row trains.
        topics: corpora; they count only if the row trains.
        shared: version, core hash, dtype, trainer settings.
    """
    if variant.problem is not None and variant.plugin is not None:
        return content_hash([variant.weights, variant.plugin.source_hash, variant.options, "cannot be loaded"])
    if variant.plugin is None or variant.training is None:
        return content_hash([variant.weights, shared["dtype"]])
    of_method = [
        variant.plugin.info.name,
        variant.plugin.source_hash,
        variant.options,
        vars(variant.training),
        *([variant.method] if variant.derived_from else []),
    ]
    return content_hash([variant.weights, of_method, [topic.identity() for topic in topics], dict(shared), seed])


def plan_jobs(
    variants: Sequence[VariantPlan],
    benchmarks: Sequence[BenchmarkPlan],
    seeds: Sequence[int],
    identity_of: Callable[[VariantPlan, int], str],
    limit: int | None,
) -> list[JobPlan]:
    """Return every job of a comparison, in row order; a row that does not train has one job, with seed 0."""
    columns = {plan.name: plan.identity(limit) for plan in benchmarks}
    plans: list[JobPlan] = []
    for variant in variants:
        for seed in seeds if variant.training is not None or variant.problem is not None else [0]:
            identity = identity_of(variant, seed)
            job = Job(variant=variant.name, method=variant.method, seed=seed, identity=identity)
            cells = {name: content_hash([identity, column]) for name, column in columns.items()}
            plans.append(JobPlan(job=job, variant=variant, cells=cells))
    jobs = {(plan.job.variant, plan.job.seed): plan.job for plan in plans}
    return [replace(plan, source=jobs.get((plan.variant.derived_from or "", plan.job.seed))) for plan in plans]


def what_is_due(
    plans: Sequence[JobPlan], read: Callable[[CellKey, str], CellResult | None], *, retry_failed: bool
) -> list[JobPlan]:
    """Return the same jobs with `due` set to the cells that are not finished, or not to the last item."""
    marked: list[JobPlan] = []
    for plan in plans:
        due: list[str] = []
        for benchmark, identity in plan.cells.items():
            found = read(plan.key(benchmark), identity)
            if found is None or found.incomplete or (retry_failed and found.status != "done"):
                due.append(benchmark)
        marked.append(replace(plan, due=tuple(due)))
    return marked


def manifest_benchmark(plan: BenchmarkPlan, recipe: Recipe) -> ManifestBenchmark:
    """A benchmark as the table sees it: its parts, and those that the topics claim."""
    benchmark, have = plan.benchmark, plan.benchmark.parts()
    claims = _claimed_parts(plan.name, have, benchmark.metric.role, recipe)
    measures = benchmark.measures()
    first = [measure.name for measure in measures if measure.primary] or [measure.name for measure in measures[:1]]
    counted = recipe.primary.get(plan.name, first)
    return ManifestBenchmark(
        name=plan.name,
        metric=_with_ideal(benchmark.metric, recipe.ideals.get(plan.name)),
        parts=have,
        forget_parts=_claimed(have, claims),
        topics=claims,
        groups=benchmark.groups(),
        data=benchmark.digest(),
        measures=[
            _manifest_measure(plan, measure.model_copy(update={"primary": measure.name in counted}), recipe)
            for measure in measures
        ],
    )


def _manifest_measure(plan: BenchmarkPlan, measure: Measure, recipe: Recipe) -> ManifestMeasure:
    """A measure as the table sees it."""
    parts = [*(measure.parts or plan.benchmark.parts()), *measure.against]
    claims = _claimed_parts(plan.name, parts, measure.metric.role, recipe)
    metric = _with_ideal(measure.metric, recipe.ideals.get(f"{plan.name}:{measure.name}"))
    return ManifestMeasure(
        measure=measure.model_copy(update={"metric": metric}),
        parts=parts,
        forget_parts=_claimed(parts, claims),
        topics=claims,
    )


def _with_ideal(metric: Metric, ideal: Ideal | None) -> Metric:
    return metric if ideal is None else metric.model_copy(update={"ideal": ideal})


def _claimed(have: Sequence[str], claims: Mapping[str, Sequence[str]]) -> list[str]:
    return [part for part in have if any(part in parts for parts in claims.values())]


def _claimed_parts(benchmark: str, have: Sequence[str], role: Role, recipe: Recipe) -> dict[str, list[str]]:
    """Topic -> the parts that measure it, of those that there are: those it names, else the part of its own name."""
    claims: dict[str, list[str]] = {}
    for name, topic in recipe.topics.items():
        wanted = topic.parts if topic.parts is not None else [f"{benchmark}/{name}"]
        claimed = [part for part in have if f"{benchmark}/{part}" in wanted]
        if claimed:
            claims[name] = claimed
    if not claims and role == "forget" and not any(t.parts for t in recipe.topics.values()):
        claims = {name: list(have) for name in list(recipe.topics)[:1]}
    return claims
