"""AdamW with what narrow weights need: a float32 master copy to step, so that small updates are not rounded away."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unlearnbench.errors import UsageError

FUSED_FROM = 2**24  # trained numbers


class AdamW(torch.optim.AdamW):
    """torch's AdamW that can step float32 copies of narrower weights.

    At a learning rate of 5e-5 a bfloat16 weight above 2^-6 does not move at all: half a unit in its last place is more.

    Args:
        parameters: what to train.
        lr: learning rate.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
        master_weights: keep a float32 copy of each narrower parameter, step it and round it back; costs 4 bytes a weight.
        rows: masks, broadcast over a parameter, of what may change of it; see `salient_rows`.

    Raises:
        UsageError: weight decay together with `rows`: it would move what must stay.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        master_weights: bool = False,
        rows: Mapping[nn.Parameter, Tensor] | None = None,
    ) -> None:
        if rows and weight_decay:
            raise UsageError("Weights that train only in some rows cannot decay; set weight_decay to 0, or salient to 1.")
        trained = list(parameters)
        super().__init__(trained, lr=lr, eps=eps, weight_decay=weight_decay, fused=_fused(trained))
        self._step_supports_amp_scaling = False  # no loss is ever scaled here; Lightning would refuse to clip gradients
        narrow = [p for group in self.param_groups for p in group["params"] if p.dtype.itemsize < torch.float32.itemsize]
        self._masters: dict[nn.Parameter, Tensor] = {p: p.detach().float() for p in narrow} if master_weights else {}
        self._rows = dict(rows or {})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for parameter, mask in self._rows.items():  # no gradient, no momentum, no step
            if parameter.grad is not None:
                parameter.grad.mul_(mask)
        dtypes = {parameter: parameter.dtype for parameter in self._masters}
        for parameter, master in self._masters.items():
            gradient, parameter.grad = parameter.grad, None
            parameter.data = master
            parameter.grad = None if gradient is None else gradient.float()
        super().step()
        self._after_step()
        for parameter, dtype in dtypes.items():
            parameter.grad = None
            self._masters[parameter] = parameter.data
            parameter.data = parameter.data.to(dtype)
        return loss

    def _after_step(self) -> None:
        """For what else happens to the weights of an update, while they are as wide as they are stepped."""


def _fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    """Whether one kernel steps each parameter: five times as fast on a CPU, and without two copies of the largest one.

    Its last bits differ. Of few numbers it would save little, and the sandbox's published figures are the plain step's.
    """
    large = sum(parameter.numel() for parameter in parameters) >= FUSED_FROM
    return True if large and all(p.device.type in ("cpu", "cuda") for p in parameters) else None


class ReferenceAdamW(AdamW):
    """AdamW as transformers 4 had it: epsilon is added to the root of the second moment before its bias correction.

    That equals torch's AdamW with eps / sqrt(1 - beta2^t) at step t, so the first steps are damped. Weights decay after the
    step, not before it. RMU's reference uses it.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: float,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        master_weights: bool = False,
    ) -> None:
        super().__init__(params, lr=lr, eps=eps, master_weights=master_weights)
        self._eps, self._weight_decay, self._steps = eps, weight_decay, 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        self._steps += 1
        for group in self.param_groups:
            group["eps"] = self._eps / math.sqrt(1 - group["betas"][1] ** self._steps)
        return super().step(closure)

    @torch.no_grad()
    def _after_step(self) -> None:
        if self._weight_decay:
            for group in self.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.mul_(1 - group["lr"] * self._weight_decay)
