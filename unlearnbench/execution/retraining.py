"""Retrain a model without the forget texts, and write it as an ordinary model folder, whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from unlearnbench.data.sources import public_name
from unlearnbench.errors import CellError, StorageError, UnlearnbenchError, reason_of
from unlearnbench.execution.context import job_context
from unlearnbench.execution.fit import fit
from unlearnbench.execution.provenance import environment, reset_peak
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.models.tensors import is_finite
from unlearnbench.planning.retraining import RetrainingPlan
from unlearnbench.plugins.registry import load_extensions
from unlearnbench.records.retraining import Retraining
from unlearnbench.reports.export import write_model
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.retrained import retrained_weights, write_retraining
from unlearnbench.system.files import JsonCache, whole_folder
from unlearnbench.system.process_state import restored_process_state
from unlearnbench.system.stop_signals import heed

if TYPE_CHECKING:
    from pathlib import Path

    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.records.cells import Cost


def retrain_model(plan: RetrainingPlan, reporter: Reporter) -> Retraining:
    """Train the model, write it, and return its record.

    Raises:
        CellError: the training failed; nothing was written.
        StorageError: the model cannot be written to the folder.
    """
    out = plan.request.out
    try:
        with whole_folder(out) as whole:
            loaded, cost = _trained(plan, whole, reporter)
            heed()  # a request to stop may have spoilt what was trained
            write_model(loaded, plan.folder, whole)
            record = _record(plan, whole, cost, environment(loaded.model.device))
            write_retraining(whole, record)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{out} cannot be written: {reason_of(error)}; nothing of the model was kept.") from error
    return record


def _trained(plan: RetrainingPlan, folder: Path, reporter: Reporter) -> tuple[LoadedModel, Cost]:
    """Return the trained model and its cost; training logs are written below the folder."""
    manager, problems = load_extensions()
    for problem in problems:
        reporter.warn(problem)
    comparison = replace(plan.comparison, run=RunFolder(folder))
    reset_peak()
    try:
        context = job_context(comparison, reporter, manager.hook)
        loaded = LoadedModel(plan.request.model, comparison.dtype, context.device)
        with restored_process_state():
            fitted = fit(plan.job, loaded, context)
        if not is_finite(list(fitted.delta.values())):
            raise FloatingPointError("the weights are not finite (NaN or infinity)")
    except UnlearnbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise CellError(
            f"The retraining failed, and nothing was written: {type(error).__name__}: {reason_of(error)}."
        ) from error
    seen = fitted.cost.tokens
    return loaded, fitted.cost.model_copy(update={"tokens": None if seen is None else seen // 2})  # the other side is a copy


def _record(plan: RetrainingPlan, folder: Path, cost: Cost, where: dict[str, object]) -> Retraining:
    return Retraining(
        model=public_name(plan.request.model),
        corpora=list(plan.corpora),
        recipe=plan.recipe,
        identity=plan.job.job.identity,
        weights=retrained_weights(folder, JsonCache(plan.request.cache / "memory.json")),
        cost=cost,
        environment=where,
        written=datetime.now(UTC).isoformat(timespec="seconds"),
    )
