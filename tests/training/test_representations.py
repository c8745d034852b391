"""What holds for all methods that work on representations: every family, one model in memory, no block that is not needed."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from helpers.families import FAMILIES, SHAPE
from helpers.streams import batch, live_bytes, prepare, train
from torch import Tensor

from unlearnbench.models.blocks import decoder_blocks
from unlearnbench.models.forward import SplitForward
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.training.representations import control_vector, displacement, drift, worst_case
from unlearnbench_methods.adaptive_rmu import AdaptiveRMU
from unlearnbench_methods.elm import ELM
from unlearnbench_methods.rr import RR
from unlearnbench_methods.tar import TAR

METHODS = {
    "adaptive-rmu": (AdaptiveRMU, {"layer": 3, "alpha": 1.0, "lr": 1e-2}),
    "rr": (RR, {"targets": [2, 3], "layers": [1, 2, 3], "lr": 1e-2, "rank": 2}),
    "rr-lat": (RR, {"targets": [3], "layers": [2, 3], "lr": 1e-2, "rank": 2, "lat_steps": 2}),
    "elm": (ELM, {"layers": [1, 2], "lr": 1e-2, "rank": 2, "continuations": 2, "continuation_tokens": 3}),
    "tar": (TAR, {"mapping_steps": 1, "inner_steps": 2, "inner_every": 1, "lr": 1e-2, "adapter": "lora", "rank": 2}),
}
BLOCKS = {"adaptive-rmu": {1, 2, 3}, "rr": {1, 2, 3}, "rr-lat": {2, 3}, "elm": {1, 2}, "tar": {0, 1, 2, 3, 4}}


def test_the_adversary_by_hand():
    """One real position (3, 4) of norm 5 and a padded one; radius .2 allows a length of 1. The loss 2 y grows along (0, 1):
    the real position goes to (3, 5), at the radius, and stays there however many steps follow; the padded one stays."""
    split = SplitForward(blocks=[], hidden=torch.tensor([[[3.0, 4.0], [6.0, 8.0]]]), calls=[])
    real = torch.tensor([[True, False]])

    def loss_of(split: SplitForward) -> Tensor:
        return 2 * split.hidden[..., 1].sum()

    for steps in (1, 5):
        attacked = worst_case(split, loss_of, real, steps=steps, radius=0.2)
        assert attacked.hidden.flatten().tolist() == pytest.approx([3, 5, 6, 8])
        assert not attacked.hidden.requires_grad
    assert split.hidden.flatten().tolist() == [3, 4, 6, 8]


def test_the_adversary_keeps_the_worst_it_tried():
    """A loss that is largest where it starts: nothing is worse than the clean forward."""
    split = SplitForward(blocks=[], hidden=torch.tensor([[[3.0, 4.0]]]), calls=[])
    attacked = worst_case(
        split, lambda own: -(own.hidden - split.hidden).square().sum(), torch.tensor([[True]]), steps=4, radius=0.2
    )
    assert torch.equal(attacked.hidden, split.hidden)


def test_displacement_and_drift_by_hand():
    """(3, 4) where (0, 0) was has moved by 5, (1, 0) where (1, 0) was by nothing: mean 2.5, and its slope at nothing is 0.
    Norms 5 and 1 have the (lower) median 1; cosines to (1, 0) are .6 and 1, with the median .6; padding does not count."""
    updated = torch.tensor([[[3.0, 4.0], [1.0, 0.0], [9.0, 9.0]]], requires_grad=True)
    real = torch.tensor([[True, True, False]])
    loss = displacement([updated], [torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]])], real)
    assert float(loss.detach()) == pytest.approx(2.5)
    loss.backward()
    assert updated.grad.flatten().tolist() == pytest.approx([0.3, 0.4, 0, 0, 0, 0])
    norm, cosine = drift(updated, torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]]), real)
    assert (float(norm), float(cosine)) == pytest.approx((1.0, 0.6))


def test_control_vectors_have_the_length_asked_for():
    torch.manual_seed(0)
    uniform, gaussian = control_vector(64, "uniform", 7.0), control_vector(64, "gaussian", 7.0)
    assert float(uniform.norm()) == pytest.approx(7, rel=1e-5)
    assert float(gaussian.norm()) == pytest.approx(7, rel=1e-5)
    assert (uniform >= 0).all()
    assert (gaussian < 0).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_two_topics_on_every_family(family, tokenizer):
    """Two updates of each method change weights of the blocks that it trains, and bit for bit nothing else."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SHAPE, **FAMILIES[family])
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    state = model.state_dict()
    for name, (factory, options) in METHODS.items():
        own = copy.deepcopy(model)
        # Mixtral keeps all experts in one tensor
        fused = {"parameters": r"mlp\.experts\.down_proj$"} if (family, name) == ("Mixtral", "adaptive-rmu") else {}
        method = prepare(factory(own, **options, **fused), tokenizer, steps=4)
        train(method, 3)
        method.finish()
        changed = {key for key, tensor in own.state_dict().items() if not torch.equal(tensor, state[key])}
        prefix = decoder_blocks(own)[0]
        assert {int(key.removeprefix(prefix + ".").split(".")[0]) for key in changed} == BLOCKS[name], name
        assert all(bool(torch.isfinite(tensor).all()) for tensor in own.state_dict().values())


@pytest.mark.parametrize("name", METHODS)
def test_one_model_in_memory(tiny_model, tokenizer, name):
    """Between updates, optimizer included, what a method holds besides the model is a small part of the model."""
    model = sum(parameter.nbytes for parameter in tiny_model.parameters())
    before = live_bytes()
    factory, options = METHODS[name]
    method = prepare(factory(tiny_model, **options), tokenizer)
    train(method, 3)
    # a copy of the trained weights, two moments, gradients; kept answers of the untouched model
    trained = sum(parameter.nbytes for parameter in method.trainable())
    assert live_bytes() - before < 5 * trained + 0.25 * model
    assert 5 * trained < 0.8 * model  # so that a second model would be seen


@pytest.mark.parametrize(("name", "last"), [("adaptive-rmu", 3), ("rr", 3), ("elm", None), ("tar", None)])
def test_blocks_that_are_not_needed_are_not_loaded(tiny_folder, tokenizer, name, last):
    factory, options = METHODS[name]
    loaded = LoadedModel(str(tiny_folder), "float32", torch.device("cpu"))
    method = loaded.build(lambda model: factory(model, **options))
    assert len(decoder_blocks(loaded.model)[1]) == (6 if last is None else last + 1)
    train(prepare(method, tokenizer), 2)
    factors = method.adapter.factors() if method.adapter is not None else None
    method.finish()
    loaded.complete(loaded.delta() if factors is None else factors)
    assert len(decoder_blocks(loaded.model)[1]) == 6
    ids = batch(method)["forget"]["input_ids"]
    with torch.no_grad():
        changed = loaded.model(ids).logits.clone()
        loaded.restore()
        assert not torch.equal(loaded.model(ids).logits, changed)
