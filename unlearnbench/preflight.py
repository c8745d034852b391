"""Everything that can be known before anything is computed: load what is named, check it, plan the jobs."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unlearnbench import __version__
from unlearnbench.errors import UsageError, unknown_name
from unlearnbench.files import Memory, content_hash, hash_files
from unlearnbench.models import model_folder, skeleton, weight_files
from unlearnbench.plan import BenchmarkPlan, JobPlan, TopicData, VariantPlan, job_identity, plan_jobs, what_is_due
from unlearnbench.plugins import Plugin, core_hash, find_plugin
from unlearnbench.recipe import CHECKPOINT, RANDOM_NOISE, Recipe
from unlearnbench.records import Half
from unlearnbench.sources import Table, read_corpus
from unlearnbench.specs import Options, Training, resolve_options, split_budget, takes_argument
from unlearnbench.store import KeepDeltas, RunFolder

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

    @property
    def due(self) -> int:
        """Cells that are left to compute."""
        return sum(len(plan.due) for plan in self.jobs)


def prepare(
    recipe: Recipe,
    *,
    out: Path,
    cache: Path,
    device: Device = "auto",
    retry_failed: bool = False,
    keep_deltas: KeepDeltas = "all",
) -> Comparison:
    """Check a recipe and plan it.

    Args:
        recipe: what to compare.
        out: the folder of the comparison; cells that are in it already are not computed again.
        cache: the user's cache, for scores and file hashes.
        device: where to compute.
        retry_failed: count failed cells as not finished.
        keep_deltas: which unlearned weights will stay on disk; there must be room for them.

    Raises:
        UsageError: anything in the recipe cannot be done; nothing has been written.
    """
    run = RunFolder(out)
    run.check_writable()
    if device == "cuda":
        _check_cuda()
    memory = Memory(cache / "memory.json")
    variants = [_plan_variant(name, method, given, recipe, memory) for name, (method, given) in recipe.variants().items()]
    benchmarks = [_plan_benchmark(name, options, recipe.half) for name, options in recipe.benchmarks.items()]
    if not benchmarks:
        raise UsageError(
            "There is nothing to score with; name benchmarks with --benchmarks, for example --benchmarks wmdp,mmlu."
        )
    variants += [_plan_checkpoint(name, source) for name, source in recipe.checkpoints.items()]
    variants += [_plan_control(name, row, variants) for name, row in recipe.controls.items()]
    trains = [variant.name for variant in variants if variant.training is not None]
    if trains and not recipe.topics:
        raise UsageError(f"'{trains[0]}' has nothing to forget; give --forget [TOPIC=]SOURCE and --retain [TOPIC=]SOURCE.")
    topics = [_read_topic(name, recipe) for name in recipe.topics] if trains else []
    weights = {source: hash_files(weight_files(model_folder(source)), memory) for source in {v.model for v in variants}}
    dtype = _resolve_dtype(recipe.dtype, device)
    for plan in benchmarks:
        plan.benchmark.digest()  # reads the data: what is wrong with them is said now
    _check_parts(recipe, benchmarks)
    shared = {"unlearnbench": __version__, "core": core_hash(), "dtype": dtype, "trainer": recipe.trainer.identity()}
    weighted = [_with_weights(variant, weights[variant.model]) for variant in variants]
    jobs = plan_jobs(
        weighted, benchmarks, recipe.seeds, lambda variant, seed: job_identity(variant, seed, topics, shared), recipe.limit
    )
    jobs = what_is_due(jobs, run.read_cell, retry_failed=retry_failed)
    _check_trainer(recipe, weighted, device)
    _check_disk(run, _check_architectures(jobs, dtype), keep_deltas)
    return Comparison(
        recipe=recipe, dtype=dtype, device=device, topics=topics, benchmarks=benchmarks, jobs=jobs, run=run, cache=cache
    )


def _plan_variant(name: str, method: str, given: Options, recipe: Recipe, memory: Memory) -> VariantPlan:
    plugin = find_plugin("method", method)
    options, training = _settle(plugin, given, name, memory)
    return VariantPlan(
        name=name, method=plugin.info.name, plugin=plugin, options=options, training=training, model=recipe.model, weights=""
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
    model_folder(source)
    return VariantPlan(name=name, method=CHECKPOINT, plugin=None, options={}, training=None, model=source, weights="")


def _plan_control(name: str, like: str, variants: Sequence[VariantPlan]) -> VariantPlan:
    trained = {variant.name: variant for variant in variants if variant.training is not None}
    if like not in trained:
        raise unknown_name(f"row for the control {name}", like, trained, "A control is like a row that changes weights.")
    return replace(trained[like], name=name, method=RANDOM_NOISE, noise_of=like)


def _with_weights(variant: VariantPlan, weights: str) -> VariantPlan:
    return replace(variant, weights=weights)


def _plan_benchmark(name: str, given: dict[str, Any], half: Half | None) -> BenchmarkPlan:
    """A benchmark of the recipe; `benchmark: NAME` lets one be scored twice with other options."""
    options = dict(given)
    base, colon, argument = str(options.pop("benchmark", name)).partition(":")
    plugin = find_plugin("benchmark", base)
    resolved = resolve_options(plugin.benchmark, options, name)
    if colon and not takes_argument(plugin.benchmark.factory):
        raise UsageError(f"The benchmark '{base}' takes nothing after a colon; got '{name}'.")
    extra: Options = {"argument": argument} if colon else {}
    benchmark = plugin.benchmark.factory(**resolved, **extra)
    all_asked = half is not None and not benchmark.keep_half(half)
    options = {**resolved, **extra}
    return BenchmarkPlan(name=name, plugin=plugin, options=options, benchmark=benchmark, half=half, all_asked=all_asked)


def _read_topic(name: str, recipe: Recipe) -> TopicData:
    topic = recipe.topics[name]
    if topic.retain is None:
        raise UsageError(f"The topic '{name}' has no retain corpus; give --retain {name}=SOURCE.")
    return TopicData(
        name=name,
        forget=_corpus(topic.forget, topic.min_chars),
        retain=_corpus(topic.retain, topic.min_chars),
        max_length=topic.max_length,
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
    from unlearnbench.loaded import resolve_device

    resolve_device("cuda")


def _resolve_dtype(asked: str, device: Device) -> str:
    """`auto`: bfloat16 on a GPU that has it, else float32."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and shutil.which("nvidia-smi") is None):
        return "float32"  # known without importing torch
    import torch

    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def _check_parts(recipe: Recipe, benchmarks: Sequence[BenchmarkPlan]) -> None:
    have = [f"{plan.name}/{part}" for plan in benchmarks for part in plan.benchmark.parts()]
    scored = {plan.name for plan in benchmarks}
    for name, topic in recipe.topics.items():
        for part in topic.parts or ():
            if part.partition("/")[0] in scored and part not in have:
                raise unknown_name(f"part of topic {name}", part, have)


def _check_trainer(recipe: Recipe, variants: Sequence[VariantPlan], device: Device) -> None:
    """The recipe's `trainer` section against the budgets and this machine."""
    options = recipe.trainer
    for variant in variants:
        training = variant.training
        if training is not None and training.batch_size % (training.accumulate * options.devices):
            raise UsageError(
                f"'{variant.name}' cannot cut a batch of {training.batch_size} into equal parts for accumulate "
                f"{training.accumulate} and {options.devices} devices; choose a batch_size that both divide."
            )
    if options.logger == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise UsageError("trainer.logger is tensorboard, which is not installed: `pip install tensorboard`, or use csv.")
    if options.precision == "16-mixed" and device == "cpu":
        raise UsageError("trainer.precision 16-mixed needs a GPU; on the CPU use bf16-mixed or 32-true.")
    if options.devices > 1 and device != "cpu" and shutil.which("nvidia-smi") is not None:
        import torch

        if 0 < torch.cuda.device_count() < options.devices:
            raise UsageError(f"trainer.devices is {options.devices}; this machine has {torch.cuda.device_count()} GPUs.")


def _check_architectures(jobs: Sequence[JobPlan], dtype: str) -> list[int]:
    """Build each method that is to run on the model's shape without its weights: wrong blocks or names are found now.

    Returns:
        bytes of each due job's delta, as far as they can be told: at most, since what does not change is not written.
    """
    waiting = {plan.variant.name: plan.variant for plan in jobs if plan.due and plan.variant.training is not None}
    sizes: dict[str, int] = {}
    for variant in waiting.values():
        shape = skeleton(model_folder(variant.model))
        assert variant.plugin is not None
        try:
            method = variant.plugin.method.factory(shape, **variant.options)
            if method.one_process and variant.training is not None and variant.training.accumulate > 1:
                raise UsageError("it must see a batch in one piece; set accumulate to 1 and choose a smaller batch_size.")
            sizes[variant.name] = method.delta_numbers() * (4 if method.adapter or dtype == "float32" else 2)
        except UsageError as error:
            raise UsageError(f"'{variant.name}' does not fit {variant.model}: {error}") from error
        except Exception:  # a method that needs real weights to be built is tried when its turn comes
            continue
    return [sizes.get(plan.job.variant, 0) for plan in jobs if plan.due]


def _check_disk(run: RunFolder, deltas: Sequence[int], keep: KeepDeltas) -> None:
    """Room for the deltas: with `none` they are removed job by job, with `best` only when all are there."""
    needed = max(deltas, default=0) if keep == "none" else sum(deltas)
    free = run.free_bytes()
    if needed > free:
        raise UsageError(
            f"The deltas of this comparison take up to {needed / 1e6:,.1f} MB, and {run.root} has room for "
            f"{free / 1e6:,.1f} MB; choose another --out, or --keep-deltas none."
        )
