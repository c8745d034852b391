"""Rows that are derived from another row: their weights are made of its change, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from unlearnbench.errors import CellError
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.noise import add_noise
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.cells import Cost
from unlearnbench.records.manifest import RANDOM_NOISE
from unlearnbench.runs.deltas import weights_hash

Tensors = Mapping[str, Tensor]
# by a derived row's method: (base, changed, seed) -> its own tensors, for the same names
MAKERS: dict[str, Callable[[Tensors, Tensors, int], dict[str, Tensor]]] = {RANDOM_NOISE: add_noise}


def derive(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> None:
    """Make a derived job's delta of the one that its source left, and keep it; the model is as before.

    Raises:
        CellError: its source left no delta.
        StorageError: the delta could not be kept.
    """
    assert plan.source is not None
    stored = context.run.read_delta(context.run.delta_path_of(plan.source))
    if stored is None:
        raise CellError(
            f"there is no delta of {plan.source.variant}, seed {plan.source.seed}, to be like: it failed, or the comparison "
            "ran without --keep-deltas all"
        )
    loaded.apply(stored[0])
    changed = loaded.delta()
    loaded.restore()
    base = {name: parameter.detach().cpu() for name, parameter in loaded.model.named_parameters() if name in changed}
    made = MAKERS[plan.variant.method](base, changed, plan.job.seed)
    manifest = {
        "weights": weights_hash(plan.variant.weights, context.dtype, made),
        "base": plan.variant.weights,
        "dtype": context.dtype,
        "job": plan.job.model_dump(),
        "cost": Cost(trained_parameters=sum(tensor.numel() for tensor in made.values())).model_dump(),
    }
    context.run.write_delta(context.run.delta_path_of(plan.job), made, manifest)
