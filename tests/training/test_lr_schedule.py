"""One learning-rate schedule for every method with an optimizer, with Lightning's real trainer."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.streams import fit, schedules
from lightning.pytorch import Callback
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from unlearnbench.errors import UsageError
from unlearnbench.training.lr_schedule import follow_schedule, scheduled
from unlearnbench_methods.grad_diff import GradDiff
from unlearnbench_methods.llmu import LLMU
from unlearnbench_methods.ssd import SSD
from unlearnbench_methods.tar import TAR

LR = 1e-3


class Rates(Callback):
    """The learning rate of each update."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"] / LR)


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"vocab_size": 2048, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**shape))


def rates(method, steps: int, shape=None, warm_up: float = 0.0, **options) -> list[float]:
    if shape is not None:
        follow_schedule(method, shape, warm_up=warm_up, steps=steps)
    watch = Rates()
    forget, retain = schedules(steps * options.get("accumulate_grad_batches", 1), side=method.padding_side)
    fit(method, forget, retain, callbacks=[watch], **options)
    return watch.rates


def test_without_a_schedule_nothing_moves():
    assert rates(GradDiff(model(), lr=LR), 4) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "warm_up", "expected"),
    [
        ("constant", 0.5, [0, 0.5, 1, 1]),
        ("constant", 0.3, [0, 0.5, 1, 1]),  # 1.2 updates are 2
        ("linear", 0.0, [1, 0.75, 0.5, 0.25]),
        ("linear", 0.25, [0, 1, 2 / 3, 1 / 3]),
        ("cosine", 0.0, [(1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]),
    ],
)
def test_rates_by_hand(shape, warm_up, expected):
    assert rates(GradDiff(model(), lr=LR), 4, shape, warm_up) == pytest.approx(expected)


def test_pieces_of_a_batch_are_one_update():
    assert rates(GradDiff(model(), lr=LR), 3, "linear", accumulate_grad_batches=2) == pytest.approx([1, 2 / 3, 1 / 3])


def test_it_takes_the_place_of_a_methods_own(tokenizer):
    """TAR warms up by itself; its own factor of the first update, 1/33, must not stay in the base rate."""
    tar = TAR(model(), lr=LR)
    configured = scheduled(tar.configure_optimizers(), "linear", warm_up=0.0, steps=4)
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    found = []
    for _ in range(4):
        found.append(optimizer.param_groups[0]["lr"] / LR)
        optimizer.step()
        schedule.step()
    assert found == pytest.approx([1, 0.75, 0.5, 0.25])
    assert rates(LLMU(model(), lr=LR, answers=1, normal_weight=0, random_weight=0), 3, "constant") == [1, 1, 1]


def test_every_form_of_one_optimizer():
    weight = torch.nn.Parameter(torch.zeros(1))
    for form in (lambda o: o, lambda o: [o], lambda o: {"optimizer": o}, lambda o: ([o], [])):
        optimizer = torch.optim.SGD([weight], lr=LR)
        assert scheduled(form(optimizer), "cosine", warm_up=0.0, steps=2)["optimizer"] is optimizer
    for several in (None, [torch.optim.SGD([weight], lr=LR), torch.optim.SGD([weight], lr=LR)]):
        with pytest.raises(UsageError, match="one optimizer"):
            scheduled(several, "cosine", warm_up=0.0, steps=2)


def test_a_method_that_takes_no_steps_is_refused():
    with pytest.raises(UsageError, match="leave lr_schedule and lr_warm_up out"):
        follow_schedule(SSD(model()), "linear", warm_up=0.0, steps=2)


def test_clipping_sees_all_gradients():
    """AdamW steps within the backward pass, before anybody could clip; asked to clip it waits, and the update is smaller."""
    norms, moved = [], []

    class Norms(Callback):
        def on_train_batch_end(self, trainer, *_):
            norms.append(trainer.optimizers[0].in_backward)

    for clip in (None, 1e-9):
        start = model()
        before = [parameter.detach().clone() for parameter in start.parameters()]
        forget, retain = schedules(1)
        fit(GradDiff(start, lr=LR), forget, retain, callbacks=[Norms()], gradient_clip_val=clip)
        after = map(Tensor.detach, start.parameters())
        moved.append(sum(float((a - b).abs().sum()) for a, b in zip(before, after, strict=True)))
    assert norms == [True, False]
    assert 0 < moved[1] < 0.2 * moved[0]
