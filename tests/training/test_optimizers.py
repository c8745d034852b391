from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch

from unlearnbench.training import optimizers
from unlearnbench.training.optimizers import AdamW, ReferenceAdamW


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


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 5), torch.nn.Tanh())


def updated(model: torch.nn.Sequential, optimizer: AdamW, steps: int = 4, halves: int = 1) -> list[int]:
    """Train on random numbers, each batch in so many pieces; how many gradients there are when each weight has its own."""
    together: list[int] = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda _: together.append(sum(p.grad is not None for p in model.parameters()))
        )
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        pieces = [torch.randn(3, 5, generator=generator).to(model[0].weight.dtype) for _ in range(halves)]

        def closure(last: torch.Tensor = pieces[-1]) -> torch.Tensor:
            loss = model(last).float().square().sum()
            loss.backward()
            return loss

        for piece in pieces[:-1]:
            closure(piece)
        optimizer.step(closure)
        optimizer.zero_grad()
    return together


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("factory", [AdamW, ReferenceAdamW])
def test_steps_in_the_backward_pass_are_the_same_bit_for_bit(factory, dtype, halves):
    """With master copies and decay, and where a batch comes in two pieces: the gradients of the first wait for the second."""
    ends = []
    for in_backward in (False, True):
        model = network().to(dtype)
        optimizer = factory(model.parameters(), lr=1e-2, weight_decay=0.1, master_weights=True)
        optimizer.in_backward = in_backward
        together = updated(model, optimizer, halves=halves)
        ends.append([parameter.detach().clone() for parameter in model.parameters()])
        assert max(together) == (1 if in_backward and halves == 1 else 4)
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
    assert not torch.equal(ends[0][0], network()[0].weight.to(dtype))


def test_steps_in_the_backward_pass_leave_masked_rows_alone():
    model = network()
    before = copy.deepcopy(model)
    rows = {model[0].weight: torch.tensor([True] * 3 + [False] * 4).unsqueeze(1)}
    optimizer = AdamW(model.parameters(), lr=1e-2, rows=rows)
    optimizer.in_backward = True
    updated(model, optimizer)
    same = (model[0].weight == before[0].weight).all(dim=1)
    assert same.tolist() == [False] * 3 + [True] * 4


def test_a_model_does_not_keep_its_optimizer():
    """The next job gets the same model: a hook that stayed would step it again, and hold the moments."""
    model = network()
    optimizer = AdamW(model.parameters(), lr=1e-2)
    optimizer.in_backward = True
    updated(model, optimizer, steps=1)
    alive = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert alive() is None
    before = copy.deepcopy(model)
    model(torch.ones(1, 5)).sum().backward()
    assert torch.equal(model[0].weight, before[0].weight)
    assert model[0].weight.grad is not None


def test_two_backward_passes_cannot_both_step():
    model = network()
    optimizer = AdamW(model.parameters(), lr=1e-2)
    optimizer.in_backward = True

    def closure() -> None:
        for _ in range(2):
            model(torch.ones(1, 5)).sum().backward()

    with pytest.raises(RuntimeError, match="more than one backward pass; set `in_backward` of its optimizer to False"):
        optimizer.step(closure)
    assert len(optimizer.param_groups[0]["params"]) == 4
