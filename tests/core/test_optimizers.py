from __future__ import annotations

import copy

import pytest
import torch

from unlearnbench.optimizers import AdamW


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
