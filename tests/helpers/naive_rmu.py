"""RMU as plainly as its definition reads: two whole models, every block run, every gradient taken. The oracle and the rival.

L = MSE(h_l(theta; x_f), c u) + alpha MSE(h_l(theta; x_r), h_l(theta_0; x_r)); MSE over all positions and coordinates.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPS = 1e-6


class NaiveRMU:
    """A deep copy as the frozen model; hooks read the block's output off whole forwards."""

    def __init__(
        self, model, *, layer: int, names: list[str], controls: Mapping[str, Tensor], alphas: Mapping[str, float], lr: float
    ):
        self.updated, self.frozen = model, copy.deepcopy(model)
        self.layer, self.controls, self.alphas = layer, controls, alphas
        named = dict(model.named_parameters())
        self.optimizer = TransformersAdamW([named[name] for name in names], lr)

    def update(self, batch: Mapping[str, Mapping[str, Tensor]]) -> tuple[float, float]:
        """One update; the forget and the retain loss."""
        topic = batch["forget"]["topic"]
        steered = self._activations(self.updated, batch["forget"])
        forget = (steered - self.controls[topic]).square().float().mean()
        held = self._activations(self.updated, batch["retain"])
        with torch.no_grad():
            kept = self._activations(self.frozen, batch["retain"])
        retain = (held - kept).square().float().mean()
        self.optimizer.zero_grad()
        (forget + self.alphas[topic] * retain).backward()
        self.optimizer.step()
        return float(forget.detach()), float(retain.detach())

    def _activations(self, model, stream) -> Tensor:
        caught = []
        blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
        handle = blocks[self.layer].register_forward_hook(
            lambda _module, _arguments, output: caught.append(output if isinstance(output, Tensor) else output[0])
        )
        model(input_ids=stream["input_ids"], attention_mask=stream["attention_mask"], use_cache=False)
        handle.remove()
        return caught[0]


class TransformersAdamW:
    """AdamW as transformers 4 defines it: epsilon joins the root of the second moment before bias correction."""

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float):
        self.parameters, self.lr, self.steps = parameters, lr, 0
        self.first = [torch.zeros_like(p) for p in parameters]
        self.second = [torch.zeros_like(p) for p in parameters]

    def zero_grad(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        self.steps += 1
        size = self.lr * math.sqrt(1 - BETAS[1] ** self.steps) / (1 - BETAS[0] ** self.steps)
        for parameter, first, second in zip(self.parameters, self.first, self.second, strict=True):
            first.mul_(BETAS[0]).add_(parameter.grad, alpha=1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(parameter.grad, parameter.grad, value=1 - BETAS[1])
            parameter.addcdiv_(first, second.sqrt().add_(EPS), value=-size)
