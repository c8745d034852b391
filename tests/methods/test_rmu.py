from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.streams import TOPICS, batch, corpus, schedules
from helpers.whole_forward import activations_at

from unlearnbench.errors import UsageError
from unlearnbench.training import representations
from unlearnbench.training.method import MethodContext
from unlearnbench_methods.rmu import RMU, ReferenceAdamW

LAYER = 3


def ready(model, steps: int = 8, topics: tuple[str, ...] = TOPICS, seed: int = 0, **options) -> RMU:
    method = RMU(model, **{"layer": LAYER, "coefficient": 20.0, "alpha": 5.0, "lr": 1e-2, **options})
    forget, retain = schedules(steps, topics)
    method.context = MethodContext(tokenizer=None, topics=topics, forget=forget, retain=retain, steps=steps)
    torch.manual_seed(seed)
    method.on_fit_start()
    method.log_dict = lambda *_, **__: None  # no trainer here to log to
    return method


def train(method: RMU, steps: int) -> list[float]:
    optimizer = method.configure_optimizers()
    losses = []
    for step in range(steps):
        loss = method.training_step(batch(method, step), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_only_the_selected_parameters_change(tiny_model):
    """METHODS 1.1, test 1: the output projections of blocks 1 to 3, and bit for bit nothing else."""
    before = copy.deepcopy(tiny_model.state_dict())
    train(ready(tiny_model), 4)
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"model.layers.{block}.mlp.down_proj.weight" for block in (1, 2, 3)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_retain_loss_starts_at_exactly_zero(tiny_model, dtype, masked):
    """Test 2: for either topic, in either dtype; one update later it is not."""
    method = ready(tiny_model.to(dtype), masked=masked)
    logged: dict[str, float] = {}
    method.log_dict = lambda values, **_: logged.update({name: float(value.detach()) for name, value in values.items()})
    for step in (0, 1):
        method.training_step(batch(method, step), step)
    assert (logged["retain/bio"], logged["retain/cyber"]) == (0.0, 0.0)
    assert logged["forget/bio"] > 0
    train(method, 1)
    method.training_step(batch(method), 0)
    assert logged["retain/bio"] > 0


def test_own_activation_as_target_changes_nothing(tiny_model):
    """Test 3, first half: at its own activation the loss has no slope."""
    method = ready(tiny_model, weight_decay=0.0)
    stream = method.context.forget[0]
    method.controls["bio"] = activations_at(tiny_model, LAYER, stream).detach()
    loss = method.training_step(batch(method), 0)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert all(torch.count_nonzero(parameter.grad) == 0 for parameter in method.trained.values())


def test_without_retain_term_the_norm_moves_towards_the_coefficient(tiny_model):
    """Test 3, second half."""
    method = ready(tiny_model, topics=("bio",), alpha=0.0, coefficient=200.0, lr=0.1)
    stream = method.context.forget[0]

    def distance() -> float:
        with torch.no_grad():
            return abs(float(activations_at(tiny_model, LAYER, stream).norm(dim=2).median()) - 200.0)

    start = distance()
    train(method, 8)
    assert distance() < start - 5


def test_control_vectors(tiny_model):
    """Test 4: length c, no negative coordinate, one per topic, the same for the same seed."""
    method = ready(tiny_model, coefficient=[20.0, 30.0])
    assert float(method.controls["bio"].norm()) == pytest.approx(20.0, rel=1e-5)
    assert float(method.controls["cyber"].norm()) == pytest.approx(30.0, rel=1e-5)
    assert all((vector >= 0).all() for vector in method.controls.values())
    assert not torch.allclose(method.controls["bio"] / 20, method.controls["cyber"] / 30)
    drawn = {topic: vector.clone() for topic, vector in method.controls.items()}
    train(method, 4)
    assert all(torch.equal(method.controls[topic], drawn[topic]) for topic in TOPICS)
    again = ready(tiny_model, coefficient=[20.0, 30.0])
    other = ready(tiny_model, coefficient=[20.0, 30.0], seed=1)
    assert torch.equal(again.controls["bio"], drawn["bio"])
    assert not torch.equal(other.controls["bio"], drawn["bio"])


def test_gaussian_vector_has_negative_coordinates(tiny_model):
    assert (ready(tiny_model, vector="gaussian").controls["bio"] < 0).any()


def test_no_gradient_above_the_target_block(tiny_model):
    """Test 5: blocks above l, the norm and the head stay out; so do the blocks below the trained ones."""
    method = ready(tiny_model)
    method.training_step(batch(method), 0).backward()
    with_gradient = {name for name, parameter in tiny_model.named_parameters() if parameter.grad is not None}
    assert with_gradient == set(method.trained)


def test_stopping_at_the_block_changes_neither_loss_nor_gradient(tiny_model):
    """Test 5: against hidden states of the whole model, and a frozen copy of it."""
    method = ready(tiny_model)
    frozen = copy.deepcopy(tiny_model).requires_grad_(False)
    with torch.no_grad():  # away from the start, so that the retain term counts
        for parameter in method.trained.values():
            parameter.mul_(1.1)
    pair = batch(method)

    def hidden(model, stream):
        output = model(stream["input_ids"], attention_mask=stream["attention_mask"], output_hidden_states=True)
        return output.hidden_states[LAYER + 1]

    forget = (hidden(tiny_model, pair["forget"]) - method.controls["bio"]).square().mean()
    retain = (hidden(tiny_model, pair["retain"]) - hidden(frozen, pair["retain"])).square().mean()
    expected = forget + 5.0 * retain
    expected.backward()
    gradients = {name: parameter.grad.clone() for name, parameter in method.trained.items()}
    tiny_model.zero_grad()
    loss = method.training_step(pair, 0)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    for name, parameter in method.trained.items():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-5, atol=1e-7)


def test_topics_alternate_and_each_ones_batches_are_consecutive():
    """Test 6: update k takes topic k mod 2; the texts come in file order; two updates share a retain batch."""
    forget, retain = schedules(steps=6)
    assert [forget[step]["topic"] for step in range(6)] == ["bio", "cyber"] * 3
    seen = [ids for step in (0, 2, 4) for ids in _texts(forget[step])]
    assert seen == [example.ids for example in corpus("bio", 0).examples[:6]]
    assert torch.equal(retain[0]["input_ids"], retain[1]["input_ids"])
    assert not torch.equal(retain[0]["input_ids"], retain[2]["input_ids"])
    assert len(forget) == len(retain) == 6


def _texts(stream) -> list[list[int]]:
    return [ids[mask.bool()].tolist() for ids, mask in zip(stream["input_ids"], stream["attention_mask"], strict=True)]


def test_padding_counts_only_in_the_unmasked_loss(tiny_model):
    """Test 7: documents the difference between the reference's loss and the masked one."""

    def loss(masked: bool, extra: int) -> float:
        method = ready(copy.deepcopy(tiny_model), masked=masked)
        pair = batch(method)
        for side in pair.values():
            for key, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
                side[key] = torch.nn.functional.pad(side[key], (extra, 0), value=filler)
        return float(method.training_step(pair, 0).detach())

    assert loss(True, 5) == pytest.approx(loss(True, 0), rel=1e-5)
    assert loss(False, 5) != pytest.approx(loss(False, 0), rel=1e-3)


def test_activations_below_the_trained_blocks_are_those_of_the_base(tiny_model):
    """Test 10: block l-3 answers the same to any input."""
    base = copy.deepcopy(tiny_model)
    train(ready(tiny_model), 4)
    stream = schedules()[0][5]
    with torch.no_grad():
        assert torch.equal(activations_at(tiny_model, LAYER - 3, stream), activations_at(base, LAYER - 3, stream))
        assert not torch.equal(activations_at(tiny_model, LAYER, stream), activations_at(base, LAYER, stream))


def test_optimizer_adds_epsilon_before_bias_correction():
    """By hand for one weight, gradient g = 2e-6, eps = 1e-6, lr = 1: m = .1 g, v = .001 g^2;
    step = sqrt(.001)/.1 * .1 g / (sqrt(.001) g + 1e-6) = .06325e-6 / 1.06325e-6 = 0.05949."""
    weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = ReferenceAdamW([weight], lr=1.0, eps=1e-6, weight_decay=0.0)
    weight.grad = torch.tensor([2e-6], dtype=torch.float64)
    optimizer.step()
    root = math.sqrt(0.001) * 2e-6
    assert float(weight.detach()) == pytest.approx(-root / (root + 1e-6), rel=1e-9)
    assert float(weight.detach()) == pytest.approx(-0.05949, abs=1e-5)


def test_missing_block_and_parameter_name_what_there_is(tiny_model):
    with pytest.raises(UsageError, match="no block 9: LlamaForCausalLM has blocks 0 to 5"):
        RMU(tiny_model, layer=9)
    with pytest.raises(UsageError, match=r"matches 'experts'; it has: .*mlp\.down_proj\.weight"):
        RMU(tiny_model, layer=3, parameters="experts")


def test_one_number_per_topic_or_one_for_all(tiny_model):
    def problems(**options: object) -> list[str]:
        return list(RMU(tiny_model, layer=LAYER, **options).preflight(TOPICS))

    assert problems(alpha=5.0) == problems(alpha=[1.0, 2.0]) == []
    assert ["one number or 2" in problem for problem in problems(alpha=[1.0, 2.0, 3.0], coefficient=[1.0])] == [True, True]


def test_adapter_trains_factors_of_the_chosen_matrices(tiny_model):
    """LoRA: the frozen model is the adapter switched off; after merging only the chosen matrices differ."""
    before = copy.deepcopy(tiny_model.state_dict())
    method = ready(tiny_model, adapter="lora", rank=2)
    stream = method.context.retain[0]
    with torch.no_grad():
        start = activations_at(tiny_model, LAYER, stream)
    first = method.training_step(batch(method), 0)
    method.alphas = dict.fromkeys(TOPICS, 1e12)
    assert torch.equal(method.training_step(batch(method), 0), first)  # the retain loss is exactly zero
    method.alphas = dict.fromkeys(TOPICS, 5.0)
    train(method, 4)
    with method.frozen_model():
        assert torch.equal(activations_at(tiny_model, LAYER, stream), start)
    method.finish()
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {f"model.layers.{block}.mlp.down_proj.weight" for block in (1, 2, 3)}


def test_retain_side_is_reused_while_the_batch_is_the_same(tiny_model, monkeypatch):
    """Two topics share a retain batch: four updates need two prefixes of it, and the forget side four of its own."""
    calls: list[tuple[int, ...]] = []
    real = representations.split_forward

    def counted(model, inputs, **blocks):
        calls.append(tuple(inputs["input_ids"].flatten().tolist()))
        return real(model, inputs, **blocks)

    monkeypatch.setattr(representations, "split_forward", counted)
    method = ready(tiny_model, diagnostics=0)
    train(method, 4)
    retained = [tuple(method.context.retain[step]["input_ids"].flatten().tolist()) for step in (0, 2)]
    assert [call for call in calls if call in retained] == retained
    assert len(calls) == 6


def test_master_weights_move_what_bfloat16_would_not(tiny_model):
    """At lr 1e-5 most bfloat16 weights stay; their float32 copies arrive after enough updates."""
    moved = {}
    for master in (False, True):
        model = copy.deepcopy(tiny_model).to(torch.bfloat16)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        method = ready(model, lr=1e-5, master_weights=master, steps=60)
        train(method, 60)
        moved[master] = sum(int((model.state_dict()[name] != before[name]).sum()) for name in method.trained)
    assert moved[True] > 3 * moved[False]


def test_a_latent_adversary_makes_the_forget_loss_larger(tiny_model):
    """LAT: the loss under attack is the larger, the retain loss still starts at zero, and the run is reproducible."""
    losses = {}
    for steps in (0, 4):
        method = ready(copy.deepcopy(tiny_model), lat_steps=steps, lat_radius=0.5)
        logged: dict[str, float] = {}
        method.log_dict = lambda values, **_: logged.update({n: float(v.detach()) for n, v in values.items()})  # noqa: B023
        method.training_step(batch(method), 0)
        losses[steps] = dict(logged)
    assert losses[4]["forget/bio"] > losses[0]["forget/bio"] * 1.01
    assert losses[4]["retain/bio"] == losses[0]["retain/bio"] == 0.0
    first, second = (train(ready(copy.deepcopy(tiny_model), lat_steps=2), 3) for _ in range(2))
    assert first == second
    assert first != train(ready(tiny_model), 3)


def test_trials_of_a_search_share_the_prefix_and_the_frozen_answers(tmp_path):
    """The second trial runs no block below the trained ones and no frozen one, and ends with the same weights, bit for bit."""
    from dataclasses import replace

    from conftest import tiny_llama

    def trained(reuse: bool, options: dict) -> tuple[dict[str, torch.Tensor], list[int]]:
        model = tiny_llama()
        runs = [0] * len(model.model.layers)
        for number, block in enumerate(model.model.layers):
            block.mlp.register_forward_hook(lambda *_, number=number: runs.__setitem__(number, runs[number] + 1))
        method = ready(model, diagnostics=0, **options)
        method.context = replace(method.context, memory=tmp_path if reuse else None, reuse=reuse)
        train(method, 4)
        return model.state_dict(), runs

    other = {"alpha": 2.0, "coefficient": 30.0}
    alone, runs_alone = trained(False, other)
    trained(True, {})
    shared, runs_shared = trained(True, other)
    assert all(torch.equal(alone[name], tensor) for name, tensor in shared.items())
    assert runs_alone[0] > 0
    assert runs_shared[0] == 0
    assert 0 < runs_shared[LAYER] < runs_alone[LAYER]
