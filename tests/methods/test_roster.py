"""What every gradient method of the roster has to satisfy, checked on each of them."""

from __future__ import annotations

import copy
import gc
import inspect

import pytest
import torch
from helpers.formulas import Side, cross_entropy, divergence
from helpers.roster import ROSTER, logits_of, moved, pair, started
from helpers.streams import train
from torch.nn.functional import pad
from transformers import PreTrainedModel

from unlearnbench.data.batches import IGNORE
from unlearnbench.errors import UsageError
from unlearnbench.training.saliency import salient_rows
from unlearnbench_methods.fine_tune_retain import FineTuneRetain


def has(factory, option: str) -> bool:
    return option in inspect.signature(factory).parameters


KEEPS_A_COPY = {"task-vector"}  # of the weights that train: it has to know where it came from
every_method = pytest.mark.parametrize("name", ROSTER)


def formula_of(method, name, model, frozen, untouched, batch):
    """The formula's value on whole logits of three models; of a preference, the preferred answers are the third side."""
    streams = [batch["forget"], batch["retain"]]
    if name == "idk-dpo":
        streams.append(method.answers(batch["forget"])[0])
    elif method.alternatives:
        streams.append(batch["forget"]["alternative"])
    sides = []
    for stream in streams:
        with torch.no_grad():
            constant, before = logits_of(frozen, stream), logits_of(untouched, stream)
        sides.append(Side(logits_of(model, stream), constant, before, stream["labels"]))
    return ROSTER[name][2](*sides)


@every_method
def test_loss_and_gradient_are_the_formulas(name, tokenizer):
    """Value and every weight's gradient, in float64, against the formula written out on whole logits."""
    method, model, untouched = moved(tokenizer, name)
    plain = copy.deepcopy(model)
    batch = pair(method)
    loss = method.training_step(batch, 0)
    loss.backward()
    expected = formula_of(method, name, plain, copy.deepcopy(plain), untouched, batch)
    expected.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-9)
    for (which, ours), theirs in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-6, atol=1e-9, msg=lambda text, which=which: f"{which}: {text}"
        )


@pytest.mark.parametrize("name", [name for name, (factory, _, _) in ROSTER.items() if has(factory, "retain")])
def test_the_divergence_takes_the_place_of_the_retain_loss(name, tokenizer):
    """The same method with `retain=kl` and with `nll`: their values and gradients differ by alpha (KL - CE), alpha = 2."""
    losses, slopes = [], []
    for kind in ("kl", "nll"):
        method, model, untouched = moved(tokenizer, name, retain=kind)
        loss = method.training_step(pair(method), 0)
        loss.backward()
        losses.append(float(loss.detach()))
        slopes.append([parameter.grad for parameter in model.parameters()])
    plain = copy.deepcopy(model)
    plain.zero_grad()
    stream = pair(method)["retain"]
    with torch.no_grad():
        before = logits_of(untouched, stream)
    side = Side(logits_of(plain, stream), before, before, stream["labels"])
    expected = 2.0 * (divergence(side) - cross_entropy(side))
    expected.backward()
    assert losses[0] - losses[1] == pytest.approx(float(expected.detach()), rel=1e-9)
    for kl, nll, both in zip(*slopes, plain.parameters(), strict=True):
        torch.testing.assert_close(kl - nll, both.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", [name for name, (factory, _, _) in ROSTER.items() if has(factory, "salient")])
def test_only_salient_rows_train(name, tiny_model, tokenizer):
    """With a tenth of the rows: what the masks leave out stays bit for bit, and what they let through moves."""
    factory, options, _ = ROSTER[name]
    method = started(factory(tiny_model, **options, lr=1e-3, salient=0.1), tokenizer)
    rows = salient_rows(method, 0.1)
    before = {parameter: parameter.detach().clone() for parameter in rows}
    train(method, 2)
    moved_at = {parameter: (parameter.detach() != start) for parameter, start in before.items()}
    assert not any(bool((where & ~rows[parameter]).any()) for parameter, where in moved_at.items())
    assert any(bool(where.any()) for where in moved_at.values())


@every_method
def test_gradient_is_that_of_finite_differences(name, tokenizer):
    """The slope along a random direction, by central differences of the formula with a step of 1e-6."""
    method, model, untouched = moved(tokenizer, name)
    frozen = copy.deepcopy(model)
    batch = pair(method)
    method.training_step(batch, 0).backward()
    generator = torch.Generator().manual_seed(2)
    weights = [p for p in model.parameters() if p.grad is not None]
    along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in weights]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(weights, along, strict=True))
    values = []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, direction in zip(weights, along, strict=True):
                parameter.add_(sign * 1e-6 * direction)
            values.append(float(formula_of(method, name, model, frozen, untouched, batch)))
    assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-7)


@every_method
def test_padding_does_not_count(name, tokenizer):
    method, _, _ = moved(tokenizer, name)
    batch = pair(method)
    with torch.no_grad():
        before = float(method.training_step(batch, 0))
        for stream in [*batch.values(), batch["forget"]["alternative"]]:
            for key, filler in (("input_ids", 7), ("attention_mask", 0), ("labels", IGNORE)):
                stream[key] = pad(stream[key], (0, 5), value=filler)
        assert float(method.training_step(batch, 0)) == pytest.approx(before, rel=1e-9)


def alive() -> list:
    """Every model and tensor; by type, since `isinstance` wakes torch's deprecated names."""
    gc.collect()
    return [o for o in gc.get_objects() if issubclass(type(o), PreTrainedModel | torch.Tensor)]


@every_method
def test_one_model_in_memory(name, tiny_model, tokenizer):
    """After an update nothing is left that has the size of a second model beside weights, gradients and Adam's moments.

    What is kept of the untouched model counts: its answers to three batches, and its head where that is trained.
    """
    before = {id(o) for o in alive()}
    factory, options, _ = ROSTER[name]
    method = started(factory(tiny_model, **options), tokenizer)
    optimizer = method.configure_optimizers()
    train(method, 2, optimizer)
    held = [o for o in alive() if id(o) not in before]
    assert not [o for o in held if isinstance(o, PreTrainedModel)]
    held += [p.grad for p in tiny_model.parameters()]
    distinct = {t.data_ptr(): t.nbytes for t in held if t is not None}
    weights = sum(p.nbytes for p in tiny_model.parameters())
    copies = 3 + (name in KEEPS_A_COPY)  # gradients and two moments, in multiples of the weights
    assert sum(distinct.values()) < (copies + 0.9) * weights  # a copy of the head is .6


@every_method
def test_same_seed_same_weights(name, tokenizer):
    """Two runs end bit for bit in the same place, and somewhere else than they began."""
    from conftest import tiny_llama

    ends = []
    for _ in range(2):
        torch.manual_seed(3)
        model = tiny_llama()
        factory, options, _ = ROSTER[name]
        train(started(factory(model, **options, lr=1e-3), tokenizer), 2)
        ends.append(copy.deepcopy(model.state_dict()))
    start = tiny_llama().state_dict()
    assert all(torch.equal(tensor, ends[1][which]) for which, tensor in ends[0].items())
    assert not all(torch.equal(tensor, start[which]) for which, tensor in ends[0].items())


def test_rows_that_stay_cannot_decay(tiny_model):
    """fine-tune-retain refuses both before anything is trained."""
    with pytest.raises(UsageError, match="cannot decay; set weight_decay to 0, or salient to 1"):
        FineTuneRetain(tiny_model, salient=0.1, weight_decay=0.01)
