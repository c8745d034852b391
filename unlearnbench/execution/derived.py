"""Rows that are derived from another row: their weights are computed from its change, without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from unlearnbench.errors import CellError
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.noise import add_noise
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.manifest import RANDOM_NOISE

Tensors = Mapping[str, Tensor]
# by a derived row's method: (base, changed, seed) -> its own tensors, for the same names
MAKERS: dict[str, Callable[[Tensors, Tensors, int], dict[str, Tensor]]] = {RANDOM_NOISE: add_noise}


def derive(plan: JobPlan, loaded: LoadedModel, context: JobContext) -> dict[str, Tensor]:
    """Return a derived job's tensors, computed from the delta that its source left; the model is as before.

    Raises:
        CellError: its source left no delta.
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
    return MAKERS[plan.variant.method](base, changed, plan.job.seed)
