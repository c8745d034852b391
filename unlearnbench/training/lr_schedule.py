"""A learning-rate schedule for any method with an optimizer: the shapes are transformers', Lightning takes the steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch.optim import Optimizer

from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig

    from unlearnbench.training.method import UnlearningMethod

SHAPES: dict[str, str] = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


def check_schedulable(method: UnlearningMethod) -> None:
    """Refuse a method whose weights no optimizer of Lightning's steps.

    Raises:
        UsageError: with the options to leave out.
    """
    if not method.automatic_optimization:
        raise UsageError("it has no learning rate that could follow a schedule; leave lr_schedule and lr_warm_up out.")


def follow_schedule(method: UnlearningMethod, shape: str, *, warm_up: float, steps: int) -> None:
    """Let a method's learning rate follow a schedule, in place of one that it brings itself.

    Args:
        method: method whose learning rate follows the schedule, before its fit.
        shape: shape of the learning rate after the warm-up, a key of `SHAPES`.
        warm_up: share of the updates in which the rate rises from 0, in [0, 1); rounded up to whole updates.
        steps: optimizer updates in total.

    Raises:
        UsageError: see `check_schedulable`.
    """
    check_schedulable(method)
    configure = method.configure_optimizers
    # on this one object: a method's class says what it does where nobody asks for a schedule
    method.configure_optimizers = lambda: scheduled(configure(), shape, warm_up=warm_up, steps=steps)


def scheduled(configured: Any, shape: str, *, warm_up: float, steps: int) -> OptimizerLRSchedulerConfig:
    """Return the value of `configure_optimizers` with this schedule in place of any of its own; see `follow_schedule`.

    Args:
        configured: one optimizer, in any form that Lightning takes.
        shape: shape of the learning rate after the warm-up.
        warm_up: share of the updates that warm up, in [0, 1).
        steps: optimizer updates in total.

    Raises:
        UsageError: there is not exactly one optimizer.
    """
    from transformers import get_scheduler

    match configured:
        case Optimizer() as optimizer:
            pass
        case {"optimizer": Optimizer() as optimizer}:
            pass
        case [Optimizer() as optimizer] | [[Optimizer() as optimizer], _]:
            pass
        case _:
            raise UsageError("lr_schedule is for methods with one optimizer; leave lr_schedule and lr_warm_up out.")
    warm_up_steps = math.ceil(warm_up * steps)
    schedule = get_scheduler(SHAPES[shape], optimizer, num_warmup_steps=warm_up_steps, num_training_steps=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
