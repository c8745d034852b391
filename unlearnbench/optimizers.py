"""AdamW with what narrow weights need: a float32 master copy to step, so that small updates are not rounded away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class AdamW(torch.optim.AdamW):
    """torch's AdamW that can step float32 copies of narrower weights.

    At a learning rate of 5e-5 a bfloat16 weight above 2^-6 does not move at all: half a unit in its last place is more.

    Args:
        parameters: what to train.
        lr: learning rate.
        eps: added to the root of the second moment.
        weight_decay: decoupled.
        master_weights: keep a float32 copy of each narrower parameter, step it and round it back; costs 4 bytes a weight.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        master_weights: bool = False,
    ) -> None:
        super().__init__(list(parameters), lr=lr, eps=eps, weight_decay=weight_decay)
        narrow = [p for group in self.param_groups for p in group["params"] if p.dtype != torch.float32]
        self._masters: dict[nn.Parameter, Tensor] = {p: p.detach().float() for p in narrow} if master_weights else {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        dtypes = {parameter: parameter.dtype for parameter in self._masters}
        for parameter, master in self._masters.items():
            gradient, parameter.grad = parameter.grad, None
            parameter.data = master
            parameter.grad = None if gradient is None else gradient.float()
        super().step()
        for parameter, dtype in dtypes.items():
            parameter.grad = None
            self._masters[parameter] = parameter.data
            parameter.data = parameter.data.to(dtype)
        return loss
