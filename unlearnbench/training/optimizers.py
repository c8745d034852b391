"""AdamW for narrow weights: it steps a float32 master copy, so that small updates are not rounded away."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from unlearnbench.errors import UsageError

LARGE = 2**24  # trained numbers


class AdamW(torch.optim.AdamW):
    """torch's AdamW that can step float32 copies of narrower weights.

    At a learning rate of 5e-5 a bfloat16 weight above 2^-6 does not move at all: half a unit in its last place is more.

    Attributes:
        in_backward: True lets `step` with a closure step each parameter as soon as the closure's backward pass has its whole
            gradient, and free that, so that a full set of gradients need not stand in memory; the numbers are the same. Leave
            it off to read or change the gradients in between.

    Args:
        parameters: the parameters to train, `self.trainable()`.
        lr: the learning rate.
        eps: the number that is added to the root of the second moment.
        weight_decay: the decoupled weight decay.
        master_weights: true to step a float32 copy of each narrower parameter and round it back; costs 4 bytes a weight.
        rows: bool masks, broadcast over a parameter, of what may change of it; see `salient_rows`.

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
        self.in_backward = False

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad(), self._stepping() if self.in_backward else contextlib.nullcontext():
                loss = closure()
        self._step([parameter for group in self.param_groups for parameter in group["params"]])
        return loss

    @contextmanager
    def _stepping(self) -> Generator[None]:
        """Step parameters within the backward pass. The hooks are gone afterwards: the model may outlive its optimizer."""
        stepped: set[nn.Parameter] = set()

        def whole(parameter: Tensor) -> None:
            assert isinstance(parameter, nn.Parameter)
            if parameter in stepped:
                raise RuntimeError("an update has more than one backward pass; set `in_backward` of its optimizer to False")
            stepped.add(parameter)
            with torch.no_grad(), self._alone(parameter):
                self._step([parameter])
            parameter.grad = None

        hooks = [p.register_post_accumulate_grad_hook(whole) for group in self.param_groups for p in group["params"]]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @contextmanager
    def _alone(self, parameter: nn.Parameter) -> Generator[None]:
        """Step as if the optimizer had this parameter only."""
        everything = [group["params"] for group in self.param_groups]
        for group, all_of_it in zip(self.param_groups, everything, strict=True):
            group["params"] = [p for p in all_of_it if p is parameter]
        try:
            yield
        finally:
            for group, all_of_it in zip(self.param_groups, everything, strict=True):
                group["params"] = all_of_it

    def _step(self, parameters: Sequence[nn.Parameter]) -> None:
        """Step those of the parameters that have a gradient."""
        ready = [parameter for parameter in parameters if parameter.grad is not None]
        for parameter in ready:
            if (mask := self._rows.get(parameter)) is not None and parameter.grad is not None:
                parameter.grad.mul_(mask)  # no gradient, no momentum, no step
        narrow = [(parameter, parameter.dtype) for parameter in ready if parameter in self._masters]
        for parameter, _ in narrow:
            gradient, parameter.grad = parameter.grad, None
            parameter.data = self._masters[parameter]
            parameter.grad = None if gradient is None else gradient.float()
        super().step()
        self._after_step()
        for parameter, dtype in narrow:
            parameter.grad = None
            self._masters[parameter] = parameter.data
            parameter.data = parameter.data.to(dtype)

    def _after_step(self) -> None:
        """Apply further changes of an update to the weights, while they are as wide as they are stepped."""


def is_large(parameters: Sequence[nn.Parameter]) -> bool:
    """Return whether so many numbers train that their gradients and moments are most of the memory, and stepping them takes
    long.
    """
    return sum(parameter.numel() for parameter in parameters) >= LARGE


def _fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    """Return whether one kernel steps each parameter: five times as fast on a CPU, and without two copies of the largest one.

    Its last bits differ. Of few numbers it would save little, and the sandbox's published figures are the plain step's.
    """
    return True if is_large(parameters) and all(p.device.type in ("cpu", "cuda") for p in parameters) else None


class ReferenceAdamW(AdamW):
    """AdamW as transformers 4 had it: epsilon is added to the root of the second moment before its bias correction.

    That equals torch's AdamW with eps / sqrt(1 - beta2^t) at step t, so the first steps are damped. Weights decay after the
    step, not before it. RMU's reference implementation uses it.

    Args:
        parameters: the parameters to train, `self.trainable()`.
        lr: the learning rate.
        eps: the number that is added to the root of the second moment, before the correction.
        weight_decay: the decoupled weight decay.
        master_weights: true to step a float32 copy of each narrower parameter and round it back; costs 4 bytes a weight.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        master_weights: bool = False,
    ) -> None:
        super().__init__(parameters, lr=lr, eps=eps, master_weights=master_weights)
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
