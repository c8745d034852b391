"""Checks before a comparison: settings against the machine, methods and benchmarks against the model."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unlearnbench.data.chat_template import check_chat
from unlearnbench.data.tables import alternatives_of
from unlearnbench.data.topics import TopicData
from unlearnbench.errors import Problems, UsageError, unknown_name
from unlearnbench.models.capacity import check_vocabulary
from unlearnbench.models.folders import MERGE, base_source, base_weights, is_adapter
from unlearnbench.models.loading import check_weights, load_tokenizer
from unlearnbench.planning.estimates import Footprint, footprint
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.plan import BenchmarkPlan, JobPlan, VariantPlan
from unlearnbench.planning.skeletons import Skeletons
from unlearnbench.plugins.registry import guarded
from unlearnbench.records.recipe import Recipe
from unlearnbench.runs.folder import KeepDeltas, RunFolder
from unlearnbench.system.files import JsonCache
from unlearnbench.system.memory import allowed_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.training.method import UnlearningMethod

TRACKERS = ("tensorboard", "wandb", "mlflow")  # loggers that are packages of their own, and extras of ours


def check_parts(recipe: Recipe, benchmarks: Sequence[BenchmarkPlan], problems: Problems) -> None:
    """Check the parts that topics claim against those that there are."""
    have = [f"{plan.name}/{part}" for plan in benchmarks for part in plan.benchmark.parts()]
    scored = {plan.name for plan in benchmarks}
    for name, topic in recipe.topics.items():
        for part in topic.parts or ():
            if part.partition("/")[0] in scored and part not in have:
                problems.add(unknown_name(f"part of topic {name}", part, have))


def check_trainer(recipe: Recipe, variants: Sequence[VariantPlan], device: str, problems: Problems) -> None:
    """Check the recipe's `trainer` section against the budgets and this machine."""
    options = recipe.trainer
    for variant in variants:
        training, devices = variant.training, variant.processes(options.devices)
        if training is not None and training.lr_warm_up and training.lr_schedule is None:
            problems.add(
                UsageError(
                    f"{variant.name}.lr_warm_up needs a schedule to warm up to; add --set {variant.name}.lr_schedule=constant, "
                    "linear or cosine."
                )
            )
        if training is not None and training.batch_size % (training.accumulate * devices):
            problems.add(
                UsageError(
                    f"'{variant.name}' cannot cut a batch of {training.batch_size} into equal parts for accumulate "
                    f"{training.accumulate} and {devices} devices; choose a batch_size that both divide."
                )
            )
    if options.logger in TRACKERS and importlib.util.find_spec(options.logger) is None:
        extra = f"pip install 'unlearnbench[{options.logger}]'"
        problems.add(UsageError(f"trainer.logger is {options.logger}, which is not installed: `{extra}`, or use csv."))
    if options.devices > 1 and device != "cpu" and shutil.which("nvidia-smi") is not None:
        import torch

        if 0 < torch.cuda.device_count() < options.devices:
            there = torch.cuda.device_count()
            problems.add(UsageError(f"trainer.devices is {options.devices}; this machine has {there} GPUs."))


def check_models(folders: Mapping[str, Path], problems: Problems) -> dict[str, Path]:
    """Return those of the models whose weights fit their configs, read from the headers of their files."""
    return {source: folder for source, folder in folders.items() if problems.attempt(_fitting, folder)}


def _fitting(folder: Path) -> Literal[True]:
    check_weights(folder)
    return True


def check_adapters(recipe: Recipe, folders: Mapping[str, Path], memory: JsonCache, problems: Problems) -> None:
    """Refuse checkpoints that are adapters of another model than the one that is compared."""
    adapters = {n: folders[s] for n, s in recipe.checkpoints.items() if s in folders and is_adapter(folders[s])}
    if not adapters or recipe.model not in folders:
        return
    compared = base_weights(folders[recipe.model], memory)
    for name, folder in adapters.items():
        if base_weights(folder, memory) != compared:
            problems.add(
                UsageError(
                    f"The checkpoint '{name}' is an adapter that was trained on '{base_source(folder)}', which has other "
                    f"weights than the compared model, {recipe.model}; compare that one with --model, or merge the adapter "
                    f"yourself and give the whole model: {MERGE}."
                )
            )


def load_tokenizers(folders: Mapping[str, Path], problems: Problems) -> dict[str, PreTrainedTokenizerBase]:
    """Return the tokenizers that can be loaded, by the source of their model."""
    loaded = {source: problems.attempt(load_tokenizer, folder) for source, folder in folders.items()}
    return {source: tokenizer for source, tokenizer in loaded.items() if tokenizer is not None}


def check_benchmarks(
    benchmarks: Sequence[BenchmarkPlan], tokenizers: Mapping[str, PreTrainedTokenizerBase], due: set[str], problems: Problems
) -> None:
    """Let each benchmark that is to be scored report its problems: a missing chat template, a judge that does not answer."""
    for plan in (plan for plan in benchmarks if plan.name in due):
        with problems.noted(), guarded(plan.plugin.info, "in preflight"):  # somebody's check is no reason for a traceback
            for sentence in plan.benchmark.preflight(tokenizers):
                problems.add(UsageError(f"{plan.name}: {sentence}"))


def check_vocabularies(
    tokenizers: Mapping[str, PreTrainedTokenizerBase], folders: Mapping[str, Path], problems: Problems
) -> None:
    """Check each model against its tokenizer."""
    for source, tokenizer in tokenizers.items():
        if problem := check_vocabulary(tokenizer, folders[source]):
            problems.add(UsageError(f"{source} cannot be used: {problem}"))


def check_corpora(tokenizers: Mapping[str, PreTrainedTokenizerBase], topics: Sequence[TopicData], problems: Problems) -> None:
    """Check prompts and responses against the chat templates of the models that are trained on them."""
    tables = [table for topic in topics for table in (topic.forget, topic.retain)]
    paired = next((table for table in tables if any(row.get("text") is None for row in table.rows)), None)
    if paired is None:
        return
    for source, tokenizer in tokenizers.items():
        if problem := check_chat(tokenizer, ["user", "assistant"]):
            problems.add(UsageError(f"{source} cannot be trained on the prompts of '{paired.origin}': {problem}"))


def check_methods(
    variants: Sequence[VariantPlan], folders: Mapping[str, Path], topics: Sequence[TopicData], dtype: str, problems: Problems
) -> dict[str, Footprint]:
    """Build each method on the model's shape without its weights: wrong blocks, names and options are found now.

    So are forget corpora without the other answers that a method asks for.

    Returns:
        what each row needs, by its name; a row of which that cannot be told is left out.
    """
    found: dict[str, Footprint] = {}
    skeletons, complete = Skeletons(), cache(partial(_check_alternatives, topics))
    for variant in variants:
        if variant.model not in folders:
            continue
        shape = problems.attempt(skeletons.of, folders[variant.model])
        if shape is None:
            continue
        method = None
        if variant.plugin is not None and variant.training is not None:
            with problems.noted():
                method = _built(variant, shape, topics, complete)
        found[variant.name] = footprint(shape, method, variant.training, dtype)
    return found


def _check_alternatives(topics: Sequence[TopicData]) -> UsageError | None:
    """Return what is wrong with the forget corpora's other answers."""
    try:
        for topic in topics:
            for index in range(len(topic.forget.rows)):
                alternatives_of(topic.forget, index)
    except UsageError as error:
        return error
    return None


def _built(
    variant: VariantPlan, shape: PreTrainedModel, topics: Sequence[TopicData], alternatives: Callable[[], UsageError | None]
) -> UnlearningMethod | None:
    """Build the method on a model without weights, or return None for one that needs real weights: it is tried when its job
    runs.
    """
    assert variant.plugin is not None
    assert variant.training is not None
    from unlearnbench.training.lr_schedule import check_schedulable

    of_row = Problems()
    method = None
    try:
        method = variant.plugin.spec.factory(shape, **variant.options)
        if method.one_process and variant.training.accumulate > 1:
            of_row.add(UsageError("it must see a batch in one piece; set accumulate to 1 and choose a smaller batch_size."))
        if variant.training.lr_schedule is not None:
            of_row.attempt(check_schedulable, method)
        for sentence in method.preflight([topic.name for topic in topics]):
            of_row.add(UsageError(sentence))
        if method.alternatives and (problem := alternatives()) is not None:
            of_row.add(problem)
    except UsageError as error:
        of_row.add(error)
    except (Exception, SystemExit):  # whatever else a method raises costs its own row only, and later
        method = None
    of_row.each(lambda sentence: f"'{variant.name}' does not fit {variant.model}: {sentence}")
    of_row.settle()
    return method


def check_room(
    run: RunFolder,
    jobs: Sequence[JobPlan],
    footprints: Mapping[str, Footprint],
    keep: KeepDeltas,
    limits: Limits,
    problems: Problems,
) -> None:
    """Check that the disk has room for the deltas: with `none` they are removed job by job, with `best` only when all are
    there.
    """
    missing = [plan for plan in jobs if plan.due and run.read_manifest(run.delta_path_of(plan.job)) is None]
    deltas = [footprints[plan.job.variant].delta for plan in missing if plan.job.variant in footprints]
    needed = room_for(deltas, keep, limits)
    free = run.free_bytes()
    if needed > free:
        problems.add(
            UsageError(
                f"The deltas of this comparison take up to {needed / 1e6:,.1f} MB, and {run.root} has room for "
                f"{free / 1e6:,.1f} MB; choose another --out, or --keep-deltas none."
            )
        )


def room_for(deltas: Iterable[int], keep: KeepDeltas, limits: Limits) -> int:
    """Return the bytes that deltas of these sizes take on the disk at most: where none is kept, those of the jobs that run at a
    time.
    """
    return sum(nlargest(limits.jobs, deltas) if keep == "none" else deltas)


def check_memory(
    jobs: Sequence[JobPlan],
    footprints: Mapping[str, Footprint],
    processes: int,
    device: str,
    limits: Limits,
    problems: Problems,
    advice: str = "train an adapter, choose a smaller model or --dtype bfloat16, or leave the row out.",
) -> None:
    """Check the memory that each row needs at least: the model, gradients and the optimizer's state.

    Args:
        jobs: jobs of the comparison.
        footprints: footprints by row.
        processes: number of processes that train a job together, unless its method must see whole batches; on the CPU they
            share its memory.
        device: type of the device: `cpu` or `cuda`.
        limits: number of jobs that run at a time, and the host memory that each may hold.
        problems: problems, to which rows that are too large are added.
        advice: remedies for a row that is too large, as the end of a sentence.
    """
    if not footprints:
        return
    free, place = free_memory(device)
    sharing = {plan.job.variant: plan.variant.processes(processes) for plan in jobs if device == "cpu"}
    needs = {
        name: row_needs.least * (sharing.get(name, 1) if row_needs.trained else 1) for name, row_needs in footprints.items()
    }
    for name, needed in needs.items():
        holds = f"'{name}' needs at least {needed / 1e9:,.1f} GB of memory for weights, gradients and optimizer"
        if needed > free:
            problems.add(UsageError(f"{holds}, and {place} has {free / 1e9:,.1f} GB free; {advice}"))
        elif device == "cpu" and limits.bytes is not None and needed > limits.bytes:
            allowed = f"more than the {limits.bytes / 1e9:,.1f} GB of --job-memory"
            problems.add(UsageError(f"{holds}, {allowed}; allow more, or {advice}"))
    largest = nlargest(limits.jobs, (needs.get(plan.job.variant, 0) for plan in jobs if plan.due))
    if len(largest) > 1 and largest[0] <= free < sum(largest):
        problems.add(
            UsageError(
                f"{len(largest)} jobs at a time need at least {sum(largest) / 1e9:,.1f} GB of memory, and {place} has "
                f"{free / 1e9:,.1f} GB free; choose a smaller --jobs."
            )
        )


def free_memory(device: str) -> tuple[int, str]:
    """Return the free bytes of the device's memory, and its name."""
    if device == "cuda":
        import torch

        return torch.cuda.mem_get_info()[0], torch.cuda.get_device_name()
    import psutil

    free, allowed = psutil.virtual_memory().available, allowed_memory()
    return (free, "this machine") if allowed is None or free <= allowed else (allowed, "this container or control group")


def device_type(device: str) -> str:
    """Return `cpu` or `cuda`, whatever was given."""
    if device == "auto" and shutil.which("nvidia-smi") is None:
        return "cpu"
    import torch

    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
