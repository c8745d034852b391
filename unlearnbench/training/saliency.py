"""SURE: only the rows of the weights that matter most to the forget texts are trained; meant for a larger learning rate.

Small changes of every weight are undone by rounding to 4 bits; large changes of a few rows are not.

Source: Zhang et al., "Catastrophic Failure of LLM Unlearning via Quantization", ICLR 2025, arXiv:2410.16454; reference code
    zzwjames/FailureLLMUnlearning: modules whose forget gradient's norm lies above a percentile.
Deviations: the gradient is that of the negative log-likelihood, whatever the method's forget loss; the unit is the row, the
    weights that one output neuron has; of an adapter the rows of lora_B, which are those of the weight it changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from unlearnbench.data.batches import Stream

if TYPE_CHECKING:
    from unlearnbench.training.method import UnlearningMethod

SalientShare = Annotated[float, Field(gt=0, le=1)]
"""The type of an option for `salient_rows`: the share of the weights' rows that train, above 0 to 1, which is all."""


def salient_rows(method: UnlearningMethod, share: float) -> dict[nn.Parameter, Tensor]:
    """Return which rows of the trained weights have the largest forget gradients, for `AdamW(..., rows=...)`.

    That is SURE (Zhang et al., arXiv:2410.16454): fewer, larger changes survive rounding to 4 bits.

    The gradient is the mean over one pass through the forget texts, or over the run's batches where they are fewer. It stands
    in float32 beside the weights for a moment.

    Args:
        method: the method, with its context and before its first update: call it in `configure_optimizers`.
        share: the share of all rows of all trained weights together; the paper's percentile of 90 is .1. 1 trains everything
            and computes nothing.

    Returns:
        for each weight that is restricted a bool mask, true on the rows to train: (..., rows, 1), or (1,) of a vector, which
        counts as one row.
    """
    if share == 1:
        return {}
    method.model.eval()  # dropout would choose by chance
    names = {parameter: name for name, parameter in method.model.named_parameters() if parameter.requires_grad}
    # lora_B starts at zero, so that lora_A has no gradient yet: it trains whole
    weights = [parameter for parameter, name in names.items() if "lora_A" not in name]
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for stream in _texts(method):
        with method.computation(), torch.enable_grad():
            loss = method.nll(method.transfer_batch_to_device(stream, method.device, 0))
            gradients = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient
    norms = [total.norm(dim=-1, keepdim=True) for total in sums]
    together = torch.cat([norm.flatten() for norm in norms])
    least = together.topk(max(round(share * len(together)), 1)).values[-1]
    return {weight: (norm >= least) & (norm > 0) for weight, norm in zip(weights, norms, strict=True)}


def _texts(method: UnlearningMethod) -> Iterator[Stream]:
    """Yield each forget text about once, in pieces as small as those that train; the same in every process."""
    context, forget = method.context, method.context.forget
    largest = max(len(corpus.examples) for corpus in forget.corpora)
    updates = min(context.steps, -(-largest // forget.batch_size) * len(forget.corpora))
    rows = forget.batch_size // context.accumulate
    for update in range(updates):
        whole = forget.update(update)
        for first in range(0, forget.batch_size, rows):
            piece = slice(first, first + rows)
            yield Stream(
                input_ids=whole["input_ids"][piece],
                attention_mask=whole["attention_mask"][piece],
                labels=whole["labels"][piece],
                topic=whole["topic"],
            )
