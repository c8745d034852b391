"""Everything that can be known before anything is computed: load what is named, check it, plan the jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unlearnbench import __version__
from unlearnbench.data.tables import Table, read_corpus
from unlearnbench.data.topics import TopicData
from unlearnbench.errors import Problems, UsageError
from unlearnbench.models.folders import model_folder, weights_identity
from unlearnbench.planning.attacks import plan_attacks, with_attacks
from unlearnbench.planning.checks import (
    check_adapters,
    check_benchmarks,
    check_corpora,
    check_memory,
    check_methods,
    check_models,
    check_parts,
    check_room,
    check_trainer,
    check_vocabularies,
    device_type,
    load_tokenizers,
)
from unlearnbench.planning.columns import plan_benchmarks, plan_looks
from unlearnbench.planning.comparison import Comparison
from unlearnbench.planning.plan import VariantPlan, job_identity, plan_jobs, what_is_due
from unlearnbench.planning.request import Device, Request
from unlearnbench.planning.rows import plan_variants
from unlearnbench.planning.settings import read_settings
from unlearnbench.plugins.fingerprint import training_hash
from unlearnbench.records.manifest import BASELINE
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import RunFolder
from unlearnbench.system.files import JsonCache


def prepare(request: Request, problems: Problems | None = None, *, broken: Mapping[str, str] | None = None) -> Comparison:
    """Check a request, and plan it.

    Args:
        request: request: recipe, folder and limits.
        problems: problems found before; they are reported together with those found here.
        broken: reasons why methods cannot be loaded, by row: these rows fail when their turn comes.

    Raises:
        UsageError: anything in the recipe cannot be done: all of it at once; nothing has been written.
    """
    problems = problems if problems is not None else Problems()
    comparison, folders = _plan(request, problems, broken or {})
    run, jobs, limits, recipe = comparison.run, comparison.jobs, request.limits, comparison.recipe
    waiting = {plan.variant.name: plan.variant for plan in jobs if plan.due or problems}.values()
    due = {plan.key(name).benchmark for plan in jobs for name in plan.due}
    models = check_models({variant.model: folders[variant.model] for variant in waiting}, problems)
    tokenizers = load_tokenizers(models, problems)
    check_vocabularies(tokenizers, models, problems)
    check_benchmarks(comparison.benchmarks, tokenizers, due, problems)
    training = [variant.model for variant in waiting if variant.training is not None and variant.model in tokenizers]
    check_corpora({source: tokenizers[source] for source in training}, comparison.topics, problems)
    footprints = check_methods(list(waiting), models, comparison.topics, comparison.dtype, problems)
    check_room(run, jobs, footprints, request.keep_deltas, limits, problems)
    check_memory(jobs, footprints, recipe.trainer.devices, device_type(request.device), limits, problems)
    problems.settle()
    return replace(comparison, footprints=footprints)


def plan_only(request: Request) -> Comparison:
    """Plan what another process has checked a moment ago, as the parent of a worker has.

    Raises:
        UsageError: the plan cannot be made any more.
    """
    problems = Problems()
    comparison, _ = _plan(request, problems, {})
    problems.settle()
    return comparison


def _plan(request: Request, problems: Problems, broken: Mapping[str, str]) -> tuple[Comparison, dict[str, Path]]:
    """Return the comparison and the folder of each model, planned without raising: mistakes are noted."""
    device = request.device
    run = RunFolder(request.out)
    usable = problems.attempt(run.check_writable) is not None
    if device == "cuda":
        problems.attempt(check_cuda)
    memory = JsonCache(request.cache / "memory.json")
    recipe = read_settings(request.recipe, memory, broken)
    variants = plan_variants(recipe, memory, broken, problems)
    benchmarks = plan_benchmarks(recipe, problems)
    topics = _plan_topics(recipe, variants, problems)
    folders = _model_folders(variants, problems)
    weights = {source: weights_identity(folder, memory) for source, folder in folders.items()}
    weighted = [replace(variant, weights=weights[variant.model]) for variant in variants if variant.model in weights]
    check_adapters(recipe, folders, memory, problems)
    check_parts(recipe, benchmarks, problems)
    check_trainer(recipe, weighted, device, problems)
    dtype = resolve_dtype(recipe.dtype, device)
    base = next((variant.weights for variant in weighted if variant.name == BASELINE), "")
    benchmarks = [replace(plan, base=base) for plan in benchmarks]
    looks = problems.attempt(plan_looks, recipe, benchmarks) if recipe.looks_every is not None else None
    shared: dict[str, Any] = {
        "unlearnbench": __version__,
        "core": training_hash(),
        "dtype": dtype,
        "trainer": recipe.trainer.identity(),
    }
    if looks is not None:
        shared["looks"] = looks.identity()
    jobs = plan_jobs(
        weighted, benchmarks, recipe.seeds, lambda variant, seed: job_identity(variant, seed, topics, shared), recipe.limit
    )
    attacks = plan_attacks(recipe, benchmarks, topics, problems)
    jobs = with_attacks(jobs, attacks, recipe.seeds)
    if usable:
        jobs = what_is_due(jobs, run.read_cell, retry_failed=request.retry_failed)
    comparison = Comparison(
        recipe=recipe,
        dtype=dtype,
        device=device,
        topics=topics,
        benchmarks=benchmarks,
        jobs=jobs,
        run=run,
        cache=request.cache,
        looks=looks,
        attacks=attacks,
    )
    return comparison, folders


def _plan_topics(recipe: Recipe, variants: Sequence[VariantPlan], problems: Problems) -> list[TopicData]:
    """Return the corpora, where a row trains on them or an attack may read them."""
    trains = [variant.name for variant in variants if variant.training is not None]
    missing = recipe.variants().keys() - {variant.name for variant in variants} - {BASELINE}
    if trains and not recipe.topics:
        problems.add(
            UsageError(f"'{trains[0]}' has nothing to forget; give --forget [TOPIC=]SOURCE and --retain [TOPIC=]SOURCE.")
        )
    if not trains and not missing and not (recipe.attacks and recipe.topics):
        return []
    topics = [_read_topic(name, recipe, problems) for name in recipe.topics]
    return [topic for topic in topics if topic is not None]


def _model_folders(variants: Iterable[VariantPlan], problems: Problems) -> dict[str, Path]:
    """Return the folder of each model, by its source."""
    found = {source: problems.attempt(model_folder, source) for source in dict.fromkeys(v.model for v in variants)}
    return {source: folder for source, folder in found.items() if folder is not None}


def _read_topic(name: str, recipe: Recipe, problems: Problems) -> TopicData | None:
    topic = recipe.topics[name]
    forget = problems.attempt(corpus_of, topic.forget, topic.min_chars)
    if topic.retain is None:
        problems.add(UsageError(f"The topic '{name}' has no retain corpus; give --retain {name}=SOURCE."))
        return None
    retain = problems.attempt(corpus_of, topic.retain, topic.min_chars)
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


def corpus_of(source: str, min_chars: int = 0) -> Table:
    """Read a corpus with something in it; the encoder leaves out texts of at most `min_chars` characters.

    Raises:
        UsageError: it cannot be read, or nothing is left of it.
    """
    table = read_corpus(source)
    texts = (row["response"] if row.get("text") is None else row["text"] for row in table.rows)
    if not any(len(text) > min_chars for text in texts):
        raise UsageError(f"The corpus '{source}' has no text of more than {min_chars} characters; look at its column 'text'.")
    return table


def check_cuda() -> None:
    """Refuse a GPU that is not there."""
    from unlearnbench.models.restorable import resolve_device

    resolve_device("cuda")


def resolve_dtype(asked: str, device: Device) -> str:
    """Return the dtype of weights and computation; `auto` is bfloat16 on a GPU that has it, else float32."""
    if asked != "auto":
        return asked
    if device == "cpu" or (device == "auto" and shutil.which("nvidia-smi") is None):
        return "float32"  # known without importing torch
    import torch

    return "bfloat16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"
