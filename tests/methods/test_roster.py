"""What every gradient method of the roster has to satisfy, checked on each of them."""

from __future__ import annotations

import copy
import gc

import pytest
import torch
from formulas import Side
from roster import ROSTER, pair, started
from streams import train
from torch.nn.functional import pad
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from unlearnbench.tensors import IGNORE

KEEPS_A_COPY = {"task-vector"}  # of the weights that train: it has to know where it came from
every_method = pytest.mark.parametrize("name", ROSTER)


def exact_model():
    """A random GPT-2 in float64: nothing in it is rounded to float32, as Llama's norms are."""
    torch.manual_seed(0)
    shape = {"vocab_size": 2048, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4, "initializer_range": 0.2}
    return GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).double().eval()


def moved(tokenizer, name):
    """A method in float64 whose model has left its origin, and the model that it was."""
    model = exact_model()
    untouched = copy.deepcopy(model)
    factory, options, _ = ROSTER[name]
    method = started(factory(model, **options), tokenizer)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return method, model, untouched


def logits_of(model, stream):
    return model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits


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
