"""The control random-noise: what a row's weights would be had it changed them as much, but at random."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from unlearnbench.errors import CellError
from unlearnbench.execution.context import JobContext
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.plan import JobPlan
from unlearnbench.records.cells import Cost
from unlearnbench.runs.deltas import weights_hash


def write_noise(plan: JobPlan, like: JobPlan, context: JobContext) -> None:
    """Leave a control's delta where its job will find it.

    Args:
        plan: of the control.
        like: of the row with the same seed whose delta says which tensors change and by how much.
        context: where deltas are kept.

    Raises:
        CellError: there is no such delta.
    """
    folder = context.run.delta_path(plan.job.variant, plan.job.seed, plan.job.identity)
    if context.run.read_delta(folder) is not None:
        return
    stored = context.run.read_delta(context.run.delta_path(like.job.variant, like.job.seed, like.job.identity))
    if stored is None:
        raise CellError(
            f"there is no delta of {like.job.variant}, seed {like.job.seed}, to be like: it failed, or the comparison ran "
            "without --keep-deltas all"
        )
    loaded = LoadedModel(plan.variant.model, context.dtype, context.device)
    loaded.apply(stored[0])
    changed = loaded.delta()
    loaded.restore()
    base = {name: parameter.detach().cpu() for name, parameter in loaded.model.named_parameters() if name in changed}
    noisy = add_noise(base, changed, plan.job.seed)
    manifest = {
        "weights": weights_hash(plan.variant.weights, context.dtype, noisy),
        "base": plan.variant.weights,
        "dtype": context.dtype,
        "job": plan.job.model_dump(),
        "cost": Cost(trained_parameters=sum(tensor.numel() for tensor in noisy.values())).model_dump(),
    }
    context.run.write_delta(folder, noisy, manifest)


def add_noise(base: Mapping[str, Tensor], changed: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """The base's tensors plus Gaussian noise that has, tensor by tensor, the norm of the change.

    Args:
        base: by name, any float dtype.
        changed: the same tensors as another row left them.
        seed: with a tensor's name it decides the noise, whatever other tensors there are.

    Returns:
        The noisy tensors in the dtype of the base; the norms are equal up to its rounding.
    """
    noisy: dict[str, Tensor] = {}
    for name, tensor in sorted(changed.items()):
        start = base[name].float()
        number = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8], "big", signed=True)
        noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(number))
        size = (tensor.float() - start).norm() / noise.norm()
        noisy[name] = (start + size * noise).to(base[name].dtype).contiguous()
    return noisy
