from __future__ import annotations

import copy

import pytest
import torch

from unlearnbench import optimizers
from unlearnbench.optimizers import AdamW, ReferenceAdamW


def stepped(weight: torch.nn.Parameter, steps: int, **options) -> torch.nn.Parameter:
    optimizer = AdamW([weight], lr=5e-5, **options)
    for step in range(steps):
        optimizer.zero_grad()
        weight.grad = torch.full_like(weight, 1.0 + step)
        optimizer.step()
    return weight


def test_small_steps_are_lost_in_bfloat16_and_kept_by_a_master_copy():
    """At 0.03 half a unit in bfloat16's last place is 6.1e-5, more than the learning rate: no step arrives. A float32 copy
    that has taken 20 steps of 5e-5 has moved 1e-3, eight units: 0.03 -> 0.029."""
    start = torch.full((4,), 0.03)
    lost = stepped(torch.nn.Parameter(start.bfloat16()), 20)
    assert torch.equal(lost.detach(), start.bfloat16())
    kept = stepped(torch.nn.Parameter(start.bfloat16()), 20, master_weights=True)
    exact = stepped(torch.nn.Parameter(start.bfloat16().float()), 20)
    assert torch.equal(kept.detach(), exact.detach().bfloat16())
    assert float(kept.detach()[0]) == pytest.approx(0.029, abs=1e-4)
    assert kept.dtype == torch.bfloat16


def test_float32_weights_need_no_copy():
    plain, master = (torch.nn.Parameter(torch.linspace(-1, 1, 7)) for _ in range(2))
    assert torch.equal(stepped(plain, 5), stepped(master, 5, master_weights=True))
    assert not AdamW([plain], lr=1e-3, master_weights=True)._masters


def test_parameters_without_gradients_stay():
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    before = copy.deepcopy(weight)
    AdamW([weight], lr=1.0, master_weights=True).step()
    assert torch.equal(weight, before)
    assert weight.grad is None


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"master_weights": True}])
@pytest.mark.parametrize("factory", [AdamW, ReferenceAdamW])
def test_one_kernel_gives_the_same_weights_up_to_rounding(monkeypatch, factory, options):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(40, 30, generator=generator)
    gradients = [torch.randn(40, 30, generator=generator) for _ in range(5)]
    ends = []
    for least in (10**9, 1):
        monkeypatch.setattr(optimizers, "LARGE", least)
        weight = torch.nn.Parameter(start.clone())
        optimizer = factory([weight], lr=1e-2, **options)
        assert bool(optimizer.param_groups[0]["fused"]) == (least == 1)
        for gradient in gradients:
            weight.grad = gradient.clone()
            optimizer.step()
        ends.append(weight.detach())
    assert not torch.equal(ends[0], start)
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=2e-6)


def test_the_references_weights_decay_after_the_step_by_hand():
    """transformers 4 with lr .1, decay .5, no epsilon to speak of: the first step is -lr * g / |g|, then w loses lr * decay
    of what it is: (1 - .1) * (1 - .05) = .855. torch's decays first: 1 * .95 - .1 = .85."""
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    for weight, factory in zip(weights, (ReferenceAdamW, AdamW), strict=True):
        weight.grad = torch.full((3,), 2.0)
        factory([weight], lr=0.1, eps=1e-12, weight_decay=0.5).step()
    assert weights[0].tolist() == pytest.approx([0.855] * 3, rel=1e-6)
    assert weights[1].tolist() == pytest.approx([0.85] * 3, rel=1e-6)


def test_decay_reaches_a_master_copy():
    """Twenty decays by a factor of 1 - 5e-5, each too small for bfloat16, add up in the copy."""
    weight = torch.nn.Parameter(torch.full((3,), 2.0, dtype=torch.bfloat16))
    optimizer = ReferenceAdamW([weight], lr=5e-5, weight_decay=1.0, master_weights=True)
    for _ in range(20):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    (master,) = optimizer._masters.values()
    assert master.tolist() == pytest.approx([2 * (1 - 5e-5) ** 20] * 3, rel=1e-6)


def test_wide_weights_stay_wide():
    weight = torch.nn.Parameter(torch.full((3,), 1 / 3, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    AdamW([weight], lr=1e-3, master_weights=True).step()
    assert weight.dtype == torch.float64
    assert weight.tolist() == [1 / 3] * 3
