from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.streams import TOPICS, batch, live_bytes, prepare, train
from torch import nn

from unlearnbench.data.batches import IGNORE
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.models.tensors import next_tokens
from unlearnbench.training.optimizers import AdamW
from unlearnbench_methods.tar import TAR, token_vectors, with_gradient

OPTIONS = {"mapping_steps": 0, "inner_steps": 4, "inner_every": 2, "lr": 1e-3, "adversary_rates": [1e-2], "warm_up": 0}


def ready(model, tokenizer, **options) -> TAR:
    torch.manual_seed(0)
    return prepare(TAR(model, **{**OPTIONS, **options}), tokenizer)


def entropy_of(model, stream) -> torch.Tensor:
    logits = model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits
    logs = logits.log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1)
    predicting = next_tokens(stream["labels"])[0]
    return torch.stack([row[own].mean() for row, own in zip(entropy, predicting, strict=True)]).mean()


def test_a_gradient_from_elsewhere_by_hand():
    """w = (3, -1) with the gradient (2, 5) put in: the value is 0, one SGD step of .1 goes to (2.8, -1.5)."""
    weight = nn.Parameter(torch.tensor([3.0, -1.0]))
    loss = with_gradient({"w": weight}, {"w": torch.tensor([2.0, 5.0])})
    assert float(loss.detach()) == 0.0
    loss.backward()
    torch.optim.SGD([weight], lr=0.1).step()
    assert weight.tolist() == pytest.approx([2.8, -1.5])


def test_entropy_of_a_uniform_model_is_the_logarithm_of_the_vocabulary(tiny_model, tokenizer):
    """All logits 0: ln 2048 = 7.6246 nats, whatever the padding."""
    method = ready(tiny_model, tokenizer)
    stream = batch(method)["forget"]
    with torch.no_grad():
        expected = float(entropy_of(tiny_model, stream))
        assert float(method.entropy(stream)) == pytest.approx(expected, rel=1e-5)
        tiny_model.lm_head.weight.zero_()
        assert float(method.entropy(stream)) == pytest.approx(math.log(2048), rel=1e-6)


def test_the_simulated_adversary_against_a_plain_loop(tiny_model, tokenizer):
    """4 AdamW steps on a deep copy; gradients of -H on held-out texts after the 2nd and the 4th, weighted exp(-2 / 16) and 1.
    The model's own weights and gradients are untouched, bit for bit."""
    method = ready(tiny_model, tokenizer)
    held_out = batch(method)["forget"]
    before = copy.deepcopy(tiny_model.state_dict())
    sums, entropy = method.tampering(held_out, 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())
    attacked = copy.deepcopy(tiny_model)
    optimizer = AdamW(attacked.parameters(), lr=1e-2)
    expected = {name: torch.zeros_like(parameter) for name, parameter in attacked.named_parameters()}
    for inner in range(4):
        stream = method._attack_on(0, inner)
        optimizer.zero_grad()
        logits = attacked(stream["input_ids"], attention_mask=stream["attention_mask"]).logits
        logs = logits[:, :-1].log_softmax(-1)
        own = stream["labels"][:, 1:]
        nll = -logs.gather(2, own.clamp_min(0)[..., None])[..., 0]
        torch.stack([row[mask].mean() for row, mask in zip(nll, own != IGNORE, strict=True)]).mean().backward()
        optimizer.step()
        if inner % 2:
            optimizer.zero_grad()
            last = entropy_of(attacked, held_out)
            (-last).backward()
            for name, parameter in attacked.named_parameters():
                expected[name] += math.exp(0.0625 * (inner - 3)) * parameter.grad
    assert float(entropy) == pytest.approx(float(last.detach()), rel=1e-3)
    for name, total in sums.items():
        assert float((total - expected[name]).norm()) <= 0.02 * float(expected[name].norm()) + 1e-6


def test_the_adversary_never_sees_what_is_held_out(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer)

    def texts(stream) -> set[tuple[int, ...]]:
        return {
            tuple(ids[mask.bool()].tolist()) for ids, mask in zip(stream["input_ids"], stream["attention_mask"], strict=True)
        }

    held = {topic: set() for topic in TOPICS}
    seen = {topic: set() for topic in TOPICS}
    for step in range(8):
        stream = method.context.forget[step]
        held[stream["topic"]] |= texts(stream)
        for inner in range(4):
            attack = method._attack_on(step, inner)
            assert attack["topic"] == stream["topic"]
            seen[attack["topic"]] |= texts(attack)
    for topic in TOPICS:
        assert held[topic]
        assert len(seen[topic]) > 4
        assert not held[topic] & seen[topic]


def test_the_loss_at_the_start_is_the_retain_loss(tiny_model, tokenizer):
    """Nothing has moved, and the tamper-resistance term has a gradient but no value; without its weight there is none."""
    values: dict[str, float] = {}
    method = ready(tiny_model, tokenizer)
    method.log_dict = lambda given, **_: values.update({name: float(value.detach()) for name, value in given.items()})
    pair = batch(method)
    loss = method.training_step(pair, 0)
    with torch.no_grad():
        assert float(loss.detach()) == pytest.approx(float(method.nll(pair["retain"])), rel=1e-6)
    assert values["displacement"] == 0.0
    loss.backward()
    with_term = {name: parameter.grad.clone() for name, parameter in tiny_model.named_parameters()}
    tiny_model.zero_grad()
    method.nll(pair["retain"]).backward()
    sums, _ = method.tampering(pair["forget"], 0)
    for name, parameter in tiny_model.named_parameters():
        torch.testing.assert_close(with_term[name], parameter.grad + 4.0 * sums[name], rtol=1e-3, atol=1e-5)


def test_vectors_belong_to_tokens():
    """The same token has the same vector at every place and in every batch, another one another, seeded."""
    first = token_vectors(torch.tensor([[5, 9, 5]]), 16, seed=3)
    second = token_vectors(torch.tensor([[9], [2]]), 16, seed=3)
    assert torch.equal(first[0, 0], first[0, 2])
    assert torch.equal(first[0, 1], second[0, 0])
    assert not torch.equal(first[0, 0], first[0, 1])
    assert not torch.equal(token_vectors(torch.tensor([[5]]), 16, seed=4)[0, 0], first[0, 0])


def test_random_mapping_by_hand(tiny_model, tokenizer, monkeypatch):
    """Two blocks, two counted tokens whose vectors are (1, 0, ...). States (2, 0, ...) and (0, 5, ...) have |cos| 1 and 0,
    those of the other block, (-3, 0, ...) and (1, 1, 0, ...), 1 and .7071: 1 - |cos| is (0 + 1 + 0 + .2929) / 4 on average."""
    method = ready(tiny_model, tokenizer)
    one, two = torch.zeros(1, 2, 8), torch.zeros(1, 2, 8)
    one[0, 0, 0], one[0, 1, 1] = 2.0, 5.0
    two[0, 0, 0], two[0, 1, 0], two[0, 1, 1] = -3.0, 1.0, 1.0
    monkeypatch.setattr(method, "_states", lambda _stream: ([one, two], two))
    monkeypatch.setattr("unlearnbench_methods.tar.token_vectors", lambda ids, width, seed: torch.eye(8)[0].expand(1, 2, 8))
    stream = {"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([[5, 6]])}
    assert float(method.random_mapping(stream)) == pytest.approx((2 - 2**-0.5) / 4, rel=1e-6)


def test_the_loss_after_a_move_by_whole_states(tiny_model, tokenizer):
    """Away from the start: retain_weight times the loss and the mean distance of all blocks' outputs, the last one's normed."""
    frozen = copy.deepcopy(tiny_model)
    method = ready(tiny_model, tokenizer, retain_weight=0.5, tamper_weight=2.0)
    train(method, 2)
    pair = batch(method)
    stream = pair["retain"]
    states = []
    for model in (tiny_model, frozen):
        with torch.no_grad():
            out = model(stream["input_ids"], attention_mask=stream["attention_mask"], output_hidden_states=True)
        states.append(torch.stack(out.hidden_states[1:]))  # (L, B, T, D)
    far = (states[0] - states[1]).norm(dim=-1)
    counted = stream["labels"] != IGNORE
    distance = torch.stack([far[:, row, own].mean() for row, own in enumerate(counted)]).mean()
    assert distance > 1e-3
    with torch.no_grad():
        expected = 0.5 * (float(method.nll(stream)) + float(distance))
    assert float(method.training_step(pair, 0).detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_random_mapping_turns_states_towards_the_vectors(tiny_model, tokenizer, adapter):
    method = ready(tiny_model, tokenizer, mapping_steps=6, adapter=adapter, rank=4, lr=1e-2)
    stream = batch(method)["forget"]
    with torch.no_grad():
        start = float(method.random_mapping(stream))
    assert 0 < start < 1
    train(method, 6)
    with torch.no_grad():
        assert float(method.random_mapping(stream)) < start


def test_after_updates_an_attacked_model_is_less_sure_of_held_out_texts(tiny_model, tokenizer):
    """What the method is for: the entropy after the same attack is higher than it was before; two topics."""
    method = ready(tiny_model, tokenizer, lr=3e-3)
    pairs = [batch(method, step) for step in (0, 1)]
    before = [float(method.tampering(pair["forget"], step)[1]) for step, pair in enumerate(pairs)]
    train(method, 8)
    after = [float(method.tampering(pair["forget"], step)[1]) for step, pair in enumerate(pairs)]
    assert [new > old for new, old in zip(after, before, strict=True)] == [True, True]


def test_padding_does_not_count(tiny_model, tokenizer):
    losses = []
    for extra in (0, 5):
        method = ready(copy.deepcopy(tiny_model), tokenizer, mapping_steps=1)
        pair = batch(method)
        for side in pair.values():
            for key, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
                side[key] = torch.nn.functional.pad(side[key], (0, extra), value=filler)
        mapping = float(method.training_step(pair, 0).detach())
        losses.append((mapping, float(method.training_step(pair, 1).detach()), float(method.entropy(pair["forget"]).detach())))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_gradient_of_the_mapping_against_finite_differences(tiny_model, tokenizer):
    """A central difference along the gradient is its length."""
    method = ready(tiny_model, tokenizer, mapping_steps=1)
    pair = batch(method)
    method.training_step(pair, 0).backward()
    gradients = [parameter.grad.clone() for parameter in method.trainable()]
    length = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    values = []
    for step in (1e-2, -2e-2):
        with torch.no_grad():
            for parameter, gradient in zip(method.trainable(), gradients, strict=True):
                parameter.add_(gradient, alpha=step / length)
        values.append(float(method.training_step(pair, 0).detach()))
    assert (values[0] - values[1]) / 2e-2 == pytest.approx(length, rel=2e-2)


def test_the_learning_rate_warms_up(tiny_model, tokenizer):
    """3 updates of warm-up: 1/4, 2/4, 3/4, then whole."""
    configured = ready(tiny_model, tokenizer, warm_up=3).configure_optimizers()
    rates = []
    for _ in range(5):
        rates.append(configured["optimizer"].param_groups[0]["lr"] / 1e-3)
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_states_are_the_models_hidden_states_and_no_hook_stays(tiny_model, tokenizer):
    """transformers' own `output_hidden_states` gives the same, and leaves a hook on every block."""
    method = ready(tiny_model, tokenizer)
    stream = batch(method)["forget"]
    inputs = {"input_ids": stream["input_ids"], "attention_mask": stream["attention_mask"]}
    states, final = method._states(stream)
    assert not any(module._forward_hooks for module in tiny_model.modules())
    expected = copy.deepcopy(tiny_model).model(**inputs, use_cache=False, output_hidden_states=True)
    assert len(states) == len(expected.hidden_states) - 1
    assert all(torch.equal(own, other) for own, other in zip(states, expected.hidden_states[1:], strict=True))
    assert torch.equal(final, expected.last_hidden_state)


def test_no_untouched_model_stands_beside_the_one_that_trains(tiny_folder, tokenizer):
    """The original weights are read when they are wanted. Between updates two moments are there besides the model; while the
    adversary attacks also the weights from before the attack, its two moments, the sum of gradients and the last ones: seven.
    The numbers are those of a copy in memory, bit for bit."""
    calls, seen = 0, []

    class Weighed(TAR):
        def _slopes(self, loss, named):
            nonlocal calls
            calls, slopes = calls + 1, super()._slopes(loss, named)
            if calls % 6 == 0:  # the last of an update: to count the bytes takes longer than all else
                seen.append(live_bytes() - before)
            return slopes

    loaded = LoadedModel(str(tiny_folder), "float32", torch.device("cpu"))
    torch.manual_seed(0)
    method = loaded.build(lambda model: Weighed(model, **OPTIONS))
    before = live_bytes()
    model = sum(parameter.nbytes for parameter in method.model.parameters())
    train(prepare(method, tokenizer, original=loaded.base), 3)
    assert live_bytes() - before < 2.5 * model
    assert len(seen) == 3
    assert max(seen) < 7.5 * model
    assert max(seen) > 6 * model  # so that one more would be seen
    other = LoadedModel(str(tiny_folder), "float32", torch.device("cpu"))
    train(ready(other.model, tokenizer), 3)
    assert all(torch.equal(tensor, other.model.state_dict()[name]) for name, tensor in method.model.state_dict().items())
