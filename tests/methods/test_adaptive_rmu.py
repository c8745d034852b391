from __future__ import annotations

import copy
import statistics

import pytest
import torch
from helpers.naive_rmu import NaiveRMU
from helpers.streams import TOPICS, batch, fit, prepare, schedules, train
from helpers.whole_forward import activations_at

from unlearnbench.errors import UsageError
from unlearnbench_methods.adaptive_rmu import AdaptiveRMU
from unlearnbench_methods.rmu import RMU

LAYER = 3
OPTIONS = {"layer": LAYER, "alpha": 5.0, "lr": 1e-2}


def ready(model, tokenizer, **options) -> AdaptiveRMU:
    torch.manual_seed(0)
    return prepare(AdaptiveRMU(model, **{**OPTIONS, **options}), tokenizer)


def test_the_target_is_a_multiple_of_the_mean_norm_by_hand(tiny_model, tokenizer, monkeypatch):
    """Two sequences, three real tokens of norms 5 (3 and 4 across), 3 and 6 and one padded of norm 100: the mean is
    (5 + 3 + 6) / 3 = 14/3, and with s = 5 the target is 70/3 long."""
    method = ready(tiny_model, tokenizer)
    hidden = torch.zeros(2, 2, 32)
    hidden[0, 0, 0], hidden[0, 1, 0], hidden[0, 1, 1] = 100.0, 3.0, 4.0
    hidden[1, 0, 5], hidden[1, 1, 7] = 3.0, -6.0
    monkeypatch.setattr(method.outputs, "frozen", lambda _split: [hidden])
    stream = {
        "input_ids": torch.tensor([[0, 5], [6, 7]]),
        "attention_mask": torch.tensor([[0, 1], [1, 1]]),
        "labels": torch.tensor([[-100, 5], [6, 7]]),
        "topic": "bio",
    }
    assert method.mean_norm(stream) == pytest.approx(14 / 3)
    assert 5 * method.mean_norm(stream) == pytest.approx(70 / 3)


def test_each_topic_is_measured_on_its_first_batch_of_the_untouched_model(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, scale=2.0)
    for number, topic in enumerate(TOPICS):
        stream = method.context.forget[number]
        assert stream["topic"] == topic
        with torch.no_grad():
            whole = tiny_model(stream["input_ids"], attention_mask=stream["attention_mask"], output_hidden_states=True)
        norms = whole.hidden_states[LAYER + 1][stream["attention_mask"].bool()].norm(dim=1).tolist()
        assert method.coefficients[topic] == pytest.approx(2 * statistics.fmean(norms), rel=1e-5)
        assert float(method.controls[topic].norm()) == pytest.approx(method.coefficients[topic], rel=1e-5)
    before = dict(method.coefficients)
    train(method, 4)
    assert method.coefficients == before


def test_with_the_measured_coefficient_it_is_rmu(tiny_model, tokenizer):
    """The limit: given the same c, the same losses and the same weights, bit for bit."""
    other = copy.deepcopy(tiny_model)
    ours = ready(tiny_model, tokenizer)
    torch.manual_seed(0)
    theirs = prepare(RMU(other, coefficient=list(ours.coefficients.values()), **OPTIONS), tokenizer)
    assert all(torch.equal(ours.controls[topic], theirs.controls[topic]) for topic in TOPICS)
    train(ours, 4)
    train(theirs, 4)
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in tiny_model.state_dict().items())


def test_against_the_naive_loop(tiny_model):
    """One model, split, through a real trainer, against two whole models: losses, trained weights, and nothing else."""
    forget, retain = schedules(8)
    theirs, start = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model.state_dict())
    losses: list = []
    ours = fit(AdaptiveRMU(tiny_model, **OPTIONS), forget, retain, losses)
    naive = NaiveRMU(
        theirs, layer=LAYER, names=list(ours.trained), controls=ours.controls, alphas=ours.alphas, lr=OPTIONS["lr"]
    )
    for step in range(8):
        expected = naive.update({"forget": forget[step], "retain": retain[step]})
        assert losses[step][0] == pytest.approx(expected[0], rel=1e-5)
    for name, tensor in tiny_model.state_dict().items():
        if name in ours.trained:
            torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=0, atol=1e-4)
            assert not torch.equal(tensor, start[name])
        else:
            assert torch.equal(tensor, start[name])


def test_padding_measures_nothing_and_counts_only_unmasked(tiny_model, tokenizer):
    def padded(extra: int, masked: bool) -> tuple[float, float]:
        method = ready(copy.deepcopy(tiny_model), tokenizer, masked=masked)
        pair = batch(method)
        for side in pair.values():
            for key, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
                side[key] = torch.nn.functional.pad(side[key], (extra, 0), value=filler)
        return method.mean_norm(pair["forget"]), float(method.training_step(pair, 0).detach())

    for masked in (True, False):
        (norm, loss), (same_norm, other_loss) = padded(0, masked), padded(5, masked)
        assert same_norm == pytest.approx(norm, rel=1e-5)
        assert (other_loss == pytest.approx(loss, rel=1e-5)) is masked


def test_gradient_against_finite_differences(tiny_model, tokenizer):
    """Central differences along a random direction of the three matrices; float64, but for the family's norms."""
    method = ready(tiny_model.double(), tokenizer)
    pair = batch(method)
    with torch.no_grad():  # away from the start, so that the retain term counts
        for parameter in method.trained.values():
            parameter.mul_(1.1)
    method.training_step(pair, 0).backward()
    directions = [torch.randn_like(parameter) for parameter in method.trained.values()]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(method.trained.values(), directions, strict=True))
    values = []
    for step in (1e-3, -2e-3):
        with torch.no_grad():
            for parameter, direction in zip(method.trained.values(), directions, strict=True):
                parameter.add_(direction, alpha=step)
        values.append(float(method.training_step(pair, 0).detach()))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-3, rel=1e-2)


def test_adapter_trains_factors_of_the_chosen_matrices(tiny_model, tokenizer):
    before = copy.deepcopy(tiny_model.state_dict())
    method = ready(tiny_model, tokenizer, adapter="lora", rank=2)
    stream = method.context.retain[0]
    with torch.no_grad():
        start = activations_at(tiny_model, LAYER, stream)
    train(method, 4)
    with method.frozen_model():
        assert torch.equal(activations_at(tiny_model, LAYER, stream), start)
    method.finish()
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"model.layers.{block}.mlp.down_proj.weight" for block in (1, 2, 3)}


def test_refusals(tiny_model, tokenizer):
    with pytest.raises(UsageError, match="trains blocks up to `layer`, which is 3; got layers"):
        AdaptiveRMU(tiny_model, layer=3, layers=[4])
    with pytest.raises(UsageError, match="no block 9"):
        AdaptiveRMU(tiny_model, layer=9)
    with pytest.raises(UsageError, match=r"adaptive-rmu\.alpha needs one number or 2"):
        ready(tiny_model, tokenizer, alpha=[1.0, 2.0, 3.0])
