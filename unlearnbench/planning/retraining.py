"""The plan of a retraining without the forget texts: everything that can be checked before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unlearnbench import __version__
from unlearnbench.data.sources import public_name
from unlearnbench.data.tables import Table
from unlearnbench.data.topics import TopicData
from unlearnbench.errors import Problems, UsageError
from unlearnbench.models.folders import model_folder, weights_identity
from unlearnbench.planning.checks import (
    check_corpora,
    check_memory,
    check_methods,
    check_models,
    check_trainer,
    check_vocabularies,
    device_type,
    load_tokenizers,
)
from unlearnbench.planning.comparison import Comparison
from unlearnbench.planning.estimates import Footprint
from unlearnbench.planning.limits import Limits
from unlearnbench.planning.plan import JobPlan, VariantPlan
from unlearnbench.planning.preflight import check_cuda, corpus_of, resolve_dtype
from unlearnbench.planning.retraining_recipe import METHOD, ROW, RetrainingRequest, retraining_recipe
from unlearnbench.planning.rows import plan_variants
from unlearnbench.planning.settings import read_settings
from unlearnbench.plugins.fingerprint import training_hash
from unlearnbench.records.cells import Job
from unlearnbench.records.recipe import Recipe, TrainerOptions
from unlearnbench.records.retraining import RETRAINING_FILE, RetainCorpus, Retraining
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.retrained import read_retraining
from unlearnbench.system.files import JsonCache, check_folder, content_hash

ADVICE = "choose a smaller model or --dtype bfloat16."


@dataclass(frozen=True, kw_only=True)
class RetrainingPlan:
    """A checked retraining; its texts are read, and nothing is computed or written.

    Attributes:
        request: the request.
        comparison: the training as a comparison of one job and no benchmark; its folder is that of the model.
        folder: folder of the untaught model.
        corpora: retain corpora, in the order in which they are joined.
        recipe: everything that may change the weights, by name.
        footprint: memory and disk that the training takes, in bytes; None where there is no estimate, as for a model that is
            there already.
        finished: record of the model, where it is there already; else None.
    """

    request: RetrainingRequest
    comparison: Comparison
    folder: Path
    corpora: Sequence[RetainCorpus]
    recipe: dict[str, Any]
    footprint: Footprint | None
    finished: Retraining | None

    @property
    def job(self) -> JobPlan:
        """The job."""
        return self.comparison.jobs[0]

    @property
    def updates(self) -> int:
        """The number of optimizer updates."""
        return self.recipe["steps"]

    @property
    def texts(self) -> int:
        """The number of texts in an epoch."""
        return sum(corpus.rows for corpus in self.corpora)

    @property
    def most_tokens(self) -> int:
        """The largest number of tokens that training can see; most texts are shorter than `max_length`."""
        return self.updates * self.recipe["batch_size"] * self.recipe["max_length"]


def plan_retraining(request: RetrainingRequest, problems: Problems | None = None) -> RetrainingPlan:
    """Check a retraining and plan it; nothing is computed or written.

    Args:
        request: the request.
        problems: problems found before, which are reported together with those found here.

    Raises:
        UsageError: the request cannot be met, with every problem listed; or the folder holds something else.
    """
    problems = problems if problems is not None else Problems()
    memory = JsonCache(request.cache / "memory.json")
    _check_numbers(request, problems)
    problems.attempt(check_folder, request.out)
    if request.device == "cuda":
        problems.attempt(check_cuda)
    tables = _read_corpora(request, problems)
    folder = problems.attempt(model_folder, request.model)
    recipe = retraining_recipe(request, sum(len(table.rows) for table in tables), problems)
    recipe = read_settings(recipe, memory, {})
    variants = plan_variants(recipe, memory, {}, problems)
    variant = next((variant for variant in variants if variant.name == ROW), None)
    if variant is None or folder is None or not tables or problems:
        problems.settle()
    assert variant is not None
    assert folder is not None
    variant = replace(variant, weights=weights_identity(folder, memory))
    topic = _joined(tables)
    dtype = resolve_dtype(request.dtype, request.device)
    decides = _decides(request, variant, tables, dtype, recipe.trainer)
    job = Job(variant=ROW, method=METHOD, seed=request.seed, identity=content_hash(decides))
    plan = JobPlan(job=job, variant=variant, cells={})
    finished = _finished(request.out, decides, memory)
    footprint = None if finished else _checked(request, recipe, plan, folder, topic, dtype, problems)
    comparison = Comparison(
        recipe=recipe,
        dtype=dtype,
        device=request.device,
        topics=[topic],
        benchmarks=[],
        jobs=[plan],
        run=RunFolder(request.out),
        cache=request.cache,
    )
    return RetrainingPlan(
        request=request,
        comparison=comparison,
        folder=folder,
        corpora=[_corpus(table) for table in tables],
        recipe=decides,
        footprint=footprint,
        finished=finished,
    )


def _check_numbers(request: RetrainingRequest, problems: Problems) -> None:
    """Check the numbers that are no options of the method."""
    if request.epochs < 1:
        problems.add(UsageError(f"--epochs takes a whole number of at least 1; got {request.epochs}."))
    if not 0 <= request.seed < 2**32:
        problems.add(UsageError(f"--seed takes a whole number from 0 to 4294967295; got {request.seed}."))
    if request.batch_size < 1:
        problems.add(UsageError(f"--batch-size takes a whole number of at least 1; got {request.batch_size}."))


def _read_corpora(request: RetrainingRequest, problems: Problems) -> list[Table]:
    """Read the retain texts, each source once."""
    sources = list(dict.fromkeys(request.retain))
    if not sources:
        problems.add(UsageError("There are no texts to train on; give --retain SOURCE, the texts without those to forget."))
    tables = [problems.attempt(corpus_of, source) for source in sources]
    return [table for table in tables if table is not None]


def _joined(tables: Sequence[Table]) -> TopicData:
    """Return all retain texts as the corpus of one topic, so that an epoch is a pass over all of them.

    The method's batches have a forget side, too, which it ignores: it gets the same texts.
    """
    table = tables[0]
    if len(tables) > 1:
        rows = [row for each in tables for row in each.rows]
        table = Table(rows=rows, origin=" and ".join(each.origin for each in tables), where=lambda index: f"text {index + 1}")
    return TopicData(name="retain", forget=table, retain=table, max_length=None, retain_max_length=None, min_chars=0)


def _decides(
    request: RetrainingRequest, variant: VariantPlan, tables: Sequence[Table], dtype: str, trainer: TrainerOptions
) -> dict[str, Any]:
    """Return everything that may change the weights, by name, as JSON values."""
    assert variant.plugin is not None
    assert variant.training is not None
    return {
        "base_weights": variant.weights,
        "corpora": [table.digest for table in tables],
        "epochs": request.epochs,
        **variant.options,
        **vars(variant.training),
        "seed": request.seed,
        "dtype": dtype,
        "trainer": trainer.identity(),
        "method": variant.method,
        "method_source": variant.plugin.source_hash,
        "training_source": training_hash(),
        "unlearnbench": __version__,
    }


def _finished(out: Path, decides: dict[str, Any], memory: JsonCache) -> Retraining | None:
    """Return the record of the planned model where it is there already; None where the folder is free.

    Raises:
        UsageError: the folder holds anything else.
    """
    if not out.is_dir() or not any(out.iterdir()):
        return None
    record = read_retraining(out, memory)
    if record is None:
        damaged = f"its {RETRAINING_FILE} is damaged or belongs to other weights" if (out / RETRAINING_FILE).exists() else ""
        raise UsageError(f"{out} is not empty{damaged and f', and {damaged}'}; name a folder that does not exist.")
    if record.identity == content_hash(decides):
        return record
    names = [name for name in {**record.recipe, **decides} if record.recipe.get(name) != decides.get(name)]
    raise UsageError(f"{out} holds a model that was retrained otherwise (other {', '.join(names)}); name another folder.")


def _checked(
    request: RetrainingRequest,
    recipe: Recipe,
    plan: JobPlan,
    folder: Path,
    topic: TopicData,
    dtype: str,
    problems: Problems,
) -> Footprint | None:
    """Check the model, its tokenizer and this machine, as for a row of a comparison; return the training's footprint."""
    check_trainer(recipe, [plan.variant], request.device, problems)
    models = check_models({request.model: folder}, problems)
    tokenizers = load_tokenizers(models, problems)
    check_vocabularies(tokenizers, models, problems)
    check_corpora(tokenizers, [topic], problems)
    footprints = check_methods([plan.variant], models, [topic], dtype, problems)
    check_memory([plan], footprints, 1, device_type(request.device), Limits(), problems, ADVICE)
    footprint = footprints.get(ROW)
    free = RunFolder(request.out).free_bytes()
    if footprint is not None and footprint.weights > free:
        needed = f"The model takes {footprint.weights / 1e6:,.1f} MB, and {request.out} has room for {free / 1e6:,.1f} MB"
        problems.add(UsageError(f"{needed}; name another folder."))
    problems.settle()
    return footprint


def _corpus(table: Table) -> RetainCorpus:
    return RetainCorpus(source=public_name(table.origin), rows=len(table.rows), digest=table.digest, revision=table.revision)
