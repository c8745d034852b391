from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.streams import batch, prepare, train
from helpers.whole_forward import activations_at

from unlearnbench.errors import UsageError
from unlearnbench.training.representations import displacement, worst_case
from unlearnbench_methods.rr import RR, rerouting


def ready(model, tokenizer, **options) -> RR:
    return prepare(RR(model, **{"targets": [1, 3], "lr": 1e-2, "rank": 4, **options}), tokenizer)


def logged(method: RR) -> dict[str, float]:
    values: dict[str, float] = {}
    method.log_dict = lambda given, **_: values.update({name: float(value.detach()) for name, value in given.items()})
    return values


def test_terms_by_hand():
    """Two blocks, one sequence of three positions, the last one padding. Block 0: (1, 0) against (1, 0) has cosine 1,
    (0, 2) against (1, 1) has 1/sqrt 2: their mean is .8536. Block 1: (-1, 0) against (1, 0) is opposite, 0 after the relu,
    (0, 3) against (1, 0) orthogonal: 0. The mean over blocks is .4268.
    Distances, block 0: 0 and |(-1, 1)| = sqrt 2, mean .7071; block 1: 2 and |(-1, 3)| = sqrt 10, mean 2.5811; both: 1.6441."""
    counted = torch.tensor([[True, True, False]])
    frozen = [torch.tensor([[[1.0, 0], [1, 1], [9, 9]]]), torch.tensor([[[1.0, 0], [1, 0], [9, 9]]])]
    updated = [torch.tensor([[[1.0, 0], [0, 2], [7, 0]]]), torch.tensor([[[-1.0, 0], [0, 3], [7, 0]]])]
    assert float(rerouting(updated, frozen, counted)) == pytest.approx((1 + 1 / math.sqrt(2)) / 4)
    assert float(displacement(updated, frozen, counted)) == pytest.approx((math.sqrt(2) / 2 + (2 + math.sqrt(10)) / 2) / 2)


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_at_the_start_nothing_has_moved_and_the_slope_is_rounding(tiny_model, tokenizer, adapter):
    """Agreement 1, displacement exactly 0; the first update's gradient is what rounding leaves of zero."""
    method = ready(tiny_model.double(), tokenizer, adapter=adapter)
    values = logged(method)
    loss = method.training_step(batch(method), 0)
    assert values["retain/bio"] == 0.0
    assert values["forget/bio"] == pytest.approx(1.0, abs=1e-6)
    assert float(loss.detach()) == pytest.approx(10.0, rel=1e-6)
    loss.backward()
    assert max(float(p.grad.abs().max()) for p in method.trainable() if p.grad is not None) < 1e-5


def test_coefficients_meet_at_the_end(tiny_model, tokenizer):
    """8 updates: c_s = 10 (1 - k / 16), c_r = 10 k / 16; at update 4 they are 7.5 and 2.5."""
    method = ready(tiny_model, tokenizer)
    train(method, 2)
    values = logged(method)
    loss = float(method.training_step(batch(method, 4), 4).detach())
    assert loss == pytest.approx(7.5 * values["forget/bio"] + 2.5 * values["retain/bio"], rel=1e-5)
    assert method.progress(8) == 0.5


@pytest.mark.parametrize(("adapter", "lr"), [("none", 1e-2), ("lora", 5e-2)])
def test_forget_representations_turn_away(tiny_model, tokenizer, adapter, lr):
    """Those of either topic; the first update already leaves the place where the slope is zero."""
    method = prepare(RR(tiny_model, targets=[1, 3], rank=4, adapter=adapter, lr=lr), tokenizer, steps=30)
    values = logged(method)
    train(method, 30)
    for step in (0, 1):
        method.training_step(batch(method, step), 7)
    assert values["forget/bio"] < 0.85
    assert values["forget/cyber"] < 0.85


def test_against_two_whole_models(tiny_model, tokenizer):
    """Loss and gradients of every matrix against hidden states of whole forwards and a frozen copy."""
    method = ready(tiny_model, tokenizer, adapter="none", layers=[1, 2, 3])
    frozen = copy.deepcopy(tiny_model).requires_grad_(False)
    with torch.no_grad():
        for parameter in method.trainable():
            parameter.mul_(1.1)
    pair = batch(method)

    def hidden(model, stream, blocks):
        states = model(stream["input_ids"], attention_mask=stream["attention_mask"], output_hidden_states=True).hidden_states
        return [states[block + 1] for block in blocks]

    own = {side: pair[side]["labels"] != -100 for side in pair}
    forget = rerouting(hidden(tiny_model, pair["forget"], [1, 3]), hidden(frozen, pair["forget"], [1, 3]), own["forget"])
    retain = displacement(
        hidden(tiny_model, pair["retain"], [1, 2, 3]), hidden(frozen, pair["retain"], [1, 2, 3]), own["retain"]
    )
    expected = 10 * ((1 - 4 / 16) * forget + 4 / 16 * retain)
    expected.backward()
    gradients = {name: p.grad.clone() for name, p in tiny_model.named_parameters() if p.grad is not None}
    tiny_model.zero_grad()
    loss = method.training_step(pair, 4)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    now = {name: p.grad for name, p in tiny_model.named_parameters() if p.grad is not None}
    assert now.keys() == gradients.keys()
    for name, gradient in now.items():
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-3, atol=1e-5)


def test_padding_does_not_count(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, adapter="none")
    with torch.no_grad():
        method.keep_original()
        for parameter in method.trainable():
            parameter.mul_(1.1)
    pair = batch(method)
    loss = float(method.training_step(pair, 4).detach())
    for side in pair.values():
        for key, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
            side[key] = torch.nn.functional.pad(side[key], (0, 5), value=filler)
    assert float(method.training_step(pair, 4).detach()) == pytest.approx(loss, rel=1e-5)


def test_gradient_against_finite_differences(tiny_model, tokenizer):
    """Central differences along a random direction of all adapted matrices; float64, but for the family's norms."""
    method = ready(tiny_model.double(), tokenizer, adapter="none")
    with torch.no_grad():
        for parameter in method.trainable():
            parameter.mul_(1.1)
    pair = batch(method)
    method.training_step(pair, 4).backward()
    directions = [torch.randn_like(parameter) for parameter in method.trainable()]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(method.trainable(), directions, strict=True))
    values = []
    for step in (1e-3, -2e-3):
        with torch.no_grad():
            for parameter, direction in zip(method.trainable(), directions, strict=True):
                parameter.add_(direction, alpha=step)
        values.append(float(method.training_step(pair, 4).detach()))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-2)


def test_only_adapted_matrices_change_and_the_frozen_model_is_the_adapter_switched_off(tiny_model, tokenizer):
    before = copy.deepcopy(tiny_model.state_dict())
    method = ready(tiny_model, tokenizer, layers=[1, 2, 3], parameters=r"(q_proj|down_proj)\.weight$")
    stream = method.context.retain[0]
    with torch.no_grad():
        start = activations_at(tiny_model, 3, stream)
    train(method, 3)
    with method.frozen_model():
        assert torch.equal(activations_at(tiny_model, 3, stream), start)
    method.finish()
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"model.layers.{block}.{name}.weight" for block in (1, 2, 3) for name in ("self_attn.q_proj", "mlp.down_proj")
    }


def test_the_adversary_makes_the_loss_large_within_its_radius(tiny_model, tokenizer):
    """After some updates, when representations have turned away, a perturbation of at most a tenth of each position's norm
    turns them back in part: the loss rises, real positions alone are touched, none by more than the radius."""
    method = ready(tiny_model, tokenizer, layers=[1, 2, 3], adapter="none")
    train(method, 8)
    stream = batch(method)["forget"]
    real = stream["attention_mask"].bool()
    split = method.turned.split(stream)
    frozen = method.turned.frozen(split)

    def agreement(split) -> torch.Tensor:
        return rerouting(method.turned.updated(split), frozen, real)

    attacked = worst_case(split, agreement, real, steps=6, radius=0.1)
    assert float(agreement(attacked).detach()) > float(agreement(split).detach()) + 0.01
    moved = (attacked.hidden - split.hidden).norm(dim=-1)
    assert (moved <= 0.1001 * split.hidden.norm(dim=-1)).all()
    assert torch.count_nonzero(moved[~real]) == 0
    assert worst_case(split, agreement, real, steps=0, radius=0.1) is split


def test_at_its_maximum_the_adversary_stays(tiny_model, tokenizer):
    """At the start the agreement is 1, which nothing exceeds by more than rounding."""
    method = ready(tiny_model, tokenizer, lat_steps=3)
    values = logged(method)
    method.training_step(batch(method), 0)
    assert values["forget/bio"] == pytest.approx(1.0, abs=1e-5)


def test_refusals(tiny_model):
    with pytest.raises(UsageError, match="no block 9"):
        RR(tiny_model, targets=[2, 9])
    with pytest.raises(UsageError, match="at least one in targets"):
        RR(tiny_model, targets=[])
    with pytest.raises(UsageError, match="adapts blocks from the first of its targets"):
        RR(tiny_model, targets=[1], layers=[2])
