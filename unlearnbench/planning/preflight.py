"""Everything that can be known before anything is computed: load what is named, check it, plan the jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from unlearnbench import __version__
from unlearnbench.data.tables import Table, read_corpus
from unlearnbench.errors import PluginError, Problems, UsageError, unknown_name
from unlearnbench.leaderboard.shares import forget_targets, keep_targets
from unlearnbench.models.loading import model_folder, weight_files
from unlearnbench.planning.checks import (
    check_benchmarks,
    check_memory,
    check_methods,
    check_parts,
    check_room,
    check_trainer,
    place_of,
)
from unlearnbench.planning.estimates import Footprint, JobEstimate, estimate_job
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.plan import (
    BenchmarkPlan,
    JobPlan,
    LookPlan,
    TopicData,
    VariantPlan,
    head_of,
    job_identity,
    plan_jobs,
    what_is_due,
)
from unlearnbench.plugins.options import Options, Training, resolve_options, split_budget, takes_argument
from unlearnbench.plugins.registry import Plugin, core_hash, find_plugin, guarded
from unlearnbench.records.cells import Half
from unlearnbench.records.leaderboard import BenchmarkHead
from unlearnbench.records.recipe import BASELINE, CHECKPOINT, RANDOM_NOISE, Recipe
from unlearnbench.runs.folder import KeepDeltas, RunFolder
from unlearnbench.system.files import Memory, content_hash, hash_files

Device = Literal["auto", "cpu", "cuda"]


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


def prepare(
    recipe: Recipe,
    *,
    out: Path,
    cache: Path,
    device: Device = "auto",
    retry_failed: bool = False,
    keep_deltas: KeepDeltas = "all",
    problems: Problems | None = None,
    checked: bool = False,
    broken: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> Comparison:
    """Check a recipe and plan it.

    Args:
        recipe: what to compare.
        out: the folder of the comparison; cells that are in it already are not computed again.
        cache: the user's cache, for scores and file hashes.
        device: where to compute.
        retry_failed: count failed cells as not finished.
        keep_deltas: which unlearned weights will stay on disk; there must be room for them.
        problems: what was found to be wrong before; it is said together with what is found here.
        broken: rows whose method cannot be loaded, and why: they fail when their turn comes.
        limits: that jobs in processes of their own keep to.
        checked: somebody has done all this a moment ago, as the parent of a worker process has: only plan.

    Raises:
        UsageError: anything in the recipe cannot be done: all of it at once; nothing has been written.
    """
    problems = problems if problems is not None else Problems()
    run = RunFolder(out)
    usable = problems.attempt(run.check_writable) is not None
    if device == "cuda":
        problems.attempt(_check_cuda)
    memory = Memory(cache / "memory.json")
    variants = _plan_rows(recipe, memory, broken or {}, problems)
    benchmarks = _plan_benchmarks(recipe, problems)
    topics = _plan_topics(recipe, variants, problems)
    folders = _model_folders(variants, problems)
    weights = {source: hash_files(weight_files(folder), memory) for source, folder in folders.items()}
    weighted = [replace(variant, weights=weights[variant.model]) for variant in variants if variant.model in weights]
    check_parts(recipe, benchmarks, problems)
    check_trainer(recipe, weighted, device, problems)
    dtype = _resolve_dtype(recipe.dtype, device)
    looks = problems.attempt(plan_looks, recipe, benchmarks) if recipe.looks_every is not None else None
    shared: dict[str, Any] = {
        "unlearnbench": __version__,
        "core": core_hash(),
        "dtype": dtype,
        "trainer": recipe.trainer.identity(),
    }
    if looks is not None:
        shared["looks"] = looks.identity()
    jobs = plan_jobs(
        weighted, benchmarks, recipe.seeds, lambda variant, seed: job_identity(variant, seed, topics, shared), recipe.limit
    )
    if usable:
        jobs = what_is_due(jobs, run.read_cell, retry_failed=retry_failed)
    footprints: dict[str, Footprint] = {}
    if not checked:
        waiting = {plan.variant.name: plan.variant for plan in jobs if plan.due or problems}.values()
        due = {name for plan in jobs for name in plan.due}
        scored = {variant.model: folders[variant.model] for variant in waiting}
        check_benchmarks(benchmarks, scored, due, problems)
        footprints = check_methods(list(waiting), folders, topics, dtype, problems)
        check_room(run, jobs, footprints, keep_deltas, limits or Limits(), problems)
        check_memory(jobs, footprints, recipe.trainer.devices, place_of(device), limits or Limits(), problems)
    problems.settle()
    return Comparison(
        recipe=recipe,
        dtype=dtype,
        device=device,
        topics=topics,
        benchmarks=benchmarks,
        jobs=jobs,
        run=run,
        cache=cache,
        looks=looks,
        footprints=footprints,
    )


def _plan_rows(recipe: Recipe, memory: Memory, broken: Mapping[str, str], problems: Problems) -> list[VariantPlan]:
    """Every row that can be planned: methods, checkpoints, controls."""
    rows = [
        problems.attempt(_plan_variant, name, method, given, recipe, memory, broken.get(name))
        for name, (method, given) in recipe.variants().items()
    ]
    rows += [problems.attempt(_plan_checkpoint, name, source) for name, source in recipe.checkpoints.items()]
    variants = [row for row in rows if row is not None]
    missing = recipe.variants().keys() - {variant.name for variant in variants}
    controls = [
        problems.attempt(_plan_control, name, like, variants)
        for name, like in recipe.controls.items()
        if like not in missing  # what is wrong with that row is said already
    ]
    return [*variants, *(row for row in controls if row is not None)]


def _plan_benchmarks(recipe: Recipe, problems: Problems) -> list[BenchmarkPlan]:
    """Every benchmark whose options are right and whose data can be read."""
    if not recipe.benchmarks:
        problems.add(
            UsageError("There is nothing to score with; name benchmarks with --benchmarks, for example --benchmarks wmdp,mmlu.")
        )
    plans = [problems.attempt(plan_benchmark, name, options, recipe.half) for name, options in recipe.benchmarks.items()]
    return [plan for plan in plans if plan is not None and problems.attempt(_ask, plan) is not None]


def _ask(plan: BenchmarkPlan) -> list[object]:
    """All that a comparison asks of a benchmark before it scores; the digest reads the data, so what is wrong there is said."""
    own = plan.benchmark
    with guarded(plan.plugin.info, "before it scores"):
        return [own.digest(), own.metric, own.parts(), own.groups()]


def _plan_topics(recipe: Recipe, variants: Sequence[VariantPlan], problems: Problems) -> list[TopicData]:
    """The corpora, where a row trains on them."""
    trains = [variant.name for variant in variants if variant.training is not None]
    missing = recipe.variants().keys() - {variant.name for variant in variants} - {BASELINE}
    if trains and not recipe.topics:
        problems.add(
            UsageError(f"'{trains[0]}' has nothing to forget; give --forget [TOPIC=]SOURCE and --retain [TOPIC=]SOURCE.")
        )
    if not trains and not missing:
        return []
    topics = [_read_topic(name, recipe, problems) for name in recipe.topics]
    return [topic for topic in topics if topic is not None]


def _model_folders(variants: Iterable[VariantPlan], problems: Problems) -> dict[str, Path]:
    """Where each model lies, by its source."""
    found = {source: problems.attempt(model_folder, source) for source in dict.fromkeys(v.model for v in variants)}
    return {source: folder for source, folder in found.items() if folder is not None}


def _plan_variant(name: str, method: str, given: Options, recipe: Recipe, memory: Memory, problem: str | None) -> VariantPlan:
    plugin = find_plugin("method", method)
    try:
        options, training = (given, None) if problem is not None else _settle(plugin, given, name, memory)
    except PluginError as error:
        raise PluginError(
            f"{error} Mend it, or leave the row out; `compare --executor isolated` goes on without it."
        ) from error
    return VariantPlan(
        name=name,
        method=plugin.info.name,
        plugin=plugin,
        options=options,
        training=training,
        model=recipe.model,
        weights="",
        problem=problem,
    )


def _settle(plugin: Plugin, given: Options, variant: str, memory: Memory) -> tuple[Options, Training | None]:
    """A row's options and budget, validated.

    They follow from the plugin's source and what is given, so they are remembered: going on with a finished comparison
    imports no method, and with it no torch.
    """
    key = content_hash(["options", plugin.info.name, plugin.source_hash, core_hash(), given])
    if (known := memory.get(key)) is not None:
        return known["options"], Training(**known["training"]) if known["training"] else None
    options, training = split_budget(plugin.method, resolve_options(plugin.method, given, variant))
    memory.put(key, {"options": options, "training": vars(training) if training else None})
    return options, training


def _plan_checkpoint(name: str, source: str) -> VariantPlan:
    return VariantPlan(name=name, method=CHECKPOINT, plugin=None, options={}, training=None, model=source, weights="")


def _plan_control(name: str, like: str, variants: Sequence[VariantPlan]) -> VariantPlan:
    trained = {variant.name: variant for variant in variants if variant.training is not None or variant.problem is not None}
    if like not in trained:
        raise unknown_name(f"row for the control {name}", like, trained, "A control is like a row that changes weights.")
    return replace(trained[like], name=name, method=RANDOM_NOISE, noise_of=like)


def plan_benchmark(name: str, given: dict[str, Any], half: Half | None) -> BenchmarkPlan:
    """A benchmark of the recipe; `benchmark: NAME` lets one be scored twice with other options."""
    options = dict(given)
    base, colon, argument = str(options.pop("benchmark", name)).partition(":")
    plugin = find_plugin("benchmark", base)
    resolved = resolve_options(plugin.benchmark, options, name)
    if colon and not takes_argument(plugin.benchmark.factory):
        raise UsageError(f"The benchmark '{base}' takes nothing after a colon; got '{name}'.")
    extra: Options = {"argument": argument} if colon else {}
    with guarded(plugin.info, "in its constructor"):
        benchmark = plugin.benchmark.factory(**resolved, **extra)
        all_asked = half is not None and not benchmark.keep_half(half)
    options = {**resolved, **extra}
    return BenchmarkPlan(name=name, plugin=plugin, options=options, benchmark=benchmark, half=half, all_asked=all_asked)


def plan_looks(recipe: Recipe, benchmarks: Sequence[BenchmarkPlan]) -> LookPlan:
    """What looks at trainings ask: benchmarks of right and wrong answers, of the half that chooses.

    Raises:
        UsageError: they would not see both what is forgotten and what is kept.
    """
    assert recipe.looks_every is not None
    columns: list[tuple[BenchmarkPlan, BenchmarkHead]] = []
    for plan in benchmarks:
        if plan.benchmark.metric.unit == "fraction":
            own = plan if recipe.half == "selection" else plan_benchmark(plan.name, recipe.benchmarks[plan.name], "selection")
            columns.append((own, head_of(own, recipe)))
    heads = [head for _, head in columns]
    if not forget_targets(heads) or not keep_targets(heads):
        raise UsageError(
            "Looks at a training need benchmarks of right and wrong answers for what is forgotten and for what is kept; leave "
            "evaluate_every and probe_every out, or add such benchmarks."
        )
    if recipe.trainer.devices > 1:
        raise UsageError("Looks at a training need trainer.devices 1; leave evaluate_every and probe_every out.")
    keep_best = recipe.evaluate_every is not None
    return LookPlan(
        every=recipe.looks_every,
        columns=columns,
        limit=recipe.limit if keep_best else min(recipe.tune.probe_items, recipe.limit or recipe.tune.probe_items),
        keep_best=keep_best,
        keep_at_least=recipe.tune.keep_at_least,
        floors=recipe.floors,
    )


def _read_topic(name: str, recipe: Recipe, problems: Problems) -> TopicData | None:
    topic = recipe.topics[name]
    forget = problems.attempt(_corpus, topic.forget, topic.min_chars)
    if topic.retain is None:
        problems.add(UsageError(f"The topic '{name}' has no retain corpus; give --retain {name}=SOURCE."))
        return None
    retain = problems.attempt(_corpus, topic.retain, topic.min_chars)
    if forget is None or retain is None:
        return None
    return TopicData(
        name=name,
        forget=forget,
        retain=retain,
        max_length=topic.max_length,
        retain_max_length=topic.retain_max_length,
        min_chars=topic.min_chars,
    )


def _corpus(source: str, min_chars: int) -> Table:
    """A corpus with something to read in it; the encoder leaves out texts of at most `min_chars` characters."""
    table = read_corpus(source)
    texts = (row["response"] if row.get("text") is None else row["text"] for row in table.rows)
    if not any(len(str(text)) > min_chars for text in texts):
        raise UsageError(f"The corpus '{source}' has no text of more than {min_chars} characters; look at its column 'text'.")
    return table


def _check_cuda() -> None:
    from unlearnbench.models.restorable import resolve_device

    resolve_device("cuda")


def _resolve_dtype(asked: str, device: Device) -> str:
    """`auto`: bfloat16 on a GPU that has it, else float32."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and shutil.which("nvidia-smi") is None):
        return "float32"  # known without importing torch
    import torch

    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
