"""SSD: shrink the weights that matter far more to the forget texts than to the retain texts; nothing is trained.

Source: Foster, Schoepf and Brintrup, "Fast Machine Unlearning without Retraining through Selective Synaptic Dampening",
    AAAI 2024, arXiv:2308.07707; reference code if-loops/selective-synaptic-dampening, src/ssd.py; settings for language
    models: Li et al., arXiv:2403.03218.
    I = mean over batches of (gradient of the batch's mean loss)^2; select I_forget > alpha I_reference;
    weight *= min((lambda I_reference / I_forget)^exponent, 1).
Deviations:
    - The loss is the language model's negative log-likelihood, as in the WMDP paper.
    - The reference importance is that of the retain texts (`over="retain"`), as the WMDP paper has it; `over="all"` is the
      original's, both corpora together. Then I_forget / I_all is at most 2 here, and an alpha of 2 or more is refused.
    - Embeddings, output head and norms are left alone: a token that only forget texts contain would be zeroed.
    - Importances are gathered in float32 and in host memory, each gradient as soon as it is there; what was never seen is
      never selected.
    - The ratio of importances is kept, so that a grid over alpha and lambda costs one pass, which counts as each row's cost.
Streams: forget and retain, in the order of the corpora; `steps` batches of each, each in one piece: the square of a mean is
not the mean of squares. No optimizer.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from unlearnbench.api import (
    Log,
    MethodSpec,
    Training,
    UnlearnBatch,
    UnlearningMethod,
    UsageError,
    hookimpl,
    train_only,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GUARDED = r"embed|lm_head|norm|ln_|wte|wpe"
MOST_OVER_ALL = 2  # I_all = (I_forget + I_retain) / 2, so I_forget / I_all is at most 2


class SSD(UnlearningMethod):
    """Selective synaptic dampening. Defaults: the original's.

    Args:
        model: a language model.
        alpha: threshold of selection: a weight is selected where its forget importance exceeds alpha times its reference
            importance.
        dampening: lambda; a selected weight is multiplied by (lambda * reference / forget importance), at most 1.
        exponent: exponent of that factor.
        over: texts of the reference importance: `retain` texts, or `all`, forget and retain together.
        exclude: regular expression for parameters that are never changed.
    """

    one_process: ClassVar[bool] = True

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        alpha: NonNegativeFloat = 10.0,
        dampening: NonNegativeFloat = 1.0,
        exponent: PositiveFloat = 1.0,
        over: Literal["retain", "all"] = "retain",
        exclude: str = GUARDED,
    ) -> None:
        super().__init__(model)
        self.save_hyperparameters(ignore=["model"])
        if over == "all" and alpha >= MOST_OVER_ALL:
            raise UsageError(
                f"With ssd.over=all no weight matters more than {MOST_OVER_ALL} times as much to the forget texts, so "
                f"alpha={alpha:g} selects nothing; set ssd.alpha below {MOST_OVER_ALL}, or ssd.over=retain."
            )
        self.edited = all_but(model, exclude)
        train_only(model, self.edited)
        self.alpha, self.dampening, self.exponent, self.over = alpha, dampening, exponent, over
        self.automatic_optimization = False
        self.importance: dict[str, dict[str, Tensor]] = {"forget": {}, "retain": {}}
        self.ratio: dict[str, Tensor] | None = None
        self._started, self._tokens = 0.0, 0

    def on_fit_start(self) -> None:
        self.model.eval()
        self.ratio = self.context.recall(*self._key())
        self._started = time.perf_counter()

    def training_step(self, batch: UnlearnBatch, batch_idx: int) -> None:
        if self.ratio is not None:
            return
        self._tokens += sum(int(batch[side]["attention_mask"].sum()) for side in ("forget", "retain"))
        for side in ("forget", "retain"):
            sums = self.importance[side]
            handles = [
                parameter.register_post_accumulate_grad_hook(functools.partial(add_square, sums, name))
                for name, parameter in self.edited.items()
            ]
            try:
                self.manual_backward(self.nll(batch[side]))
            finally:
                for handle in handles:
                    handle.remove()

    def configure_optimizers(self) -> None:
        return None

    def on_train_end(self) -> None:
        if self.ratio is None:
            forget, retain = self.importance["forget"], self.importance["retain"]
            self.ratio = {}
            for name in list(forget):  # tensor by tensor, so that three full sets never stand in memory
                forget_sum, other = forget.pop(name), retain.pop(name)
                self.ratio[name] = importance_ratio(forget_sum, other if self.over == "retain" else (forget_sum + other) / 2)
            seconds = time.perf_counter() - self._started
            self.context.keep(self.ratio, *self._key(), seconds=seconds, tokens=self._tokens)
        dampen(self.edited, self.ratio, alpha=self.alpha, dampening=self.dampening, exponent=self.exponent)

    def _key(self) -> tuple[str, ...]:
        """Return everything the ratio depends on besides model, corpora and budget."""
        return ("ssd ratio", self.over, *self.edited)


def all_but(model: nn.Module, exclude: str) -> dict[str, nn.Parameter]:
    """Return every parameter whose name does not match a pattern; shared ones count once, under their first name.

    Raises:
        UsageError: the pattern is no regular expression, or leaves no parameter.
    """
    try:
        expression = re.compile(exclude)
    except re.error as error:
        raise UsageError(f"'{exclude}' is not a valid regular expression: {error}.") from error
    found = {name: parameter for name, parameter in model.named_parameters() if not expression.search(name)}
    if not found:
        raise UsageError(f"'{exclude}' leaves no parameter of {type(model).__name__} to change.")
    return found


@torch.no_grad()
def add_square(sums: dict[str, Tensor], name: str, parameter: nn.Parameter) -> None:
    """Add the square of a finished gradient to a sum in host memory, float32, and let go of the gradient.

    Called for each parameter as soon as its gradient is there, so that no two whole gradients stand on the device.
    """
    assert parameter.grad is not None
    gradient = parameter.grad.to("cpu").float()
    parameter.grad = None
    if name in sums:
        sums[name].addcmul_(gradient, gradient)
    else:
        sums[name] = gradient.square()


def importance_ratio(forget: Tensor, reference: Tensor) -> Tensor:
    """Return the forget importance over the reference importance, elementwise, float32.

    Infinite where only forget texts use the weight, 0 where nothing does.
    """
    return torch.where(forget > 0, forget / reference, torch.zeros_like(forget))


@torch.no_grad()
def dampen(
    parameters: Mapping[str, nn.Parameter],
    ratio: Mapping[str, Tensor],
    *,
    alpha: float,
    dampening: float,
    exponent: float = 1.0,
) -> int:
    """Shrink the selected weights in place: never amplified, signs kept, the others bit-identical.

    Returns:
        how many weights were selected.
    """
    selected = 0
    for name, quotient in ratio.items():
        weight = parameters[name]
        quotient = quotient.to(weight.device)
        chosen = quotient > alpha
        count = int(chosen.sum())
        if count:  # in place and whole: several times quicker than picking the chosen ones out
            factor = (dampening / quotient).pow_(exponent).clamp_(max=1.0).masked_fill_(~chosen, 1.0)
            weight.mul_(factor) if weight.dtype == torch.float32 else weight.copy_(weight.float() * factor)
        selected += count
    return selected


@hookimpl
def unlearnbench_methods() -> list[MethodSpec]:
    return [
        MethodSpec(
            name="ssd",
            factory=SSD,
            summary="shrink weights that matter to forget texts and not to retain texts",
            source="arXiv:2308.07707",
            training=Training(steps=150, batch_size=4, max_length=512, order="file"),
            space={"alpha": Log(0.1, 50.0), "dampening": Log(0.01, 4.0)},  # the WMDP paper: .1 to 5; the original: 10 and 50
        )
    ]
