"""A skeleton is handed out again only as it was built."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unlearnbench.planning.skeletons import Skeletons


def hook(model):
    model.model.layers[1].register_forward_hook(lambda *_: None)


def other_module(model):
    model.model.layers[1].mlp = nn.Identity()


def other_forward(model):
    model.model.layers[1].forward = lambda *_: None


def further_module(model):
    model.critic = nn.Linear(2, 2)


def fewer_blocks(model):
    del model.model.layers[-1]


def other_parameter(model):
    layer = model.model.layers[0].mlp.up_proj
    layer.weight = nn.Parameter(torch.empty_like(layer.weight))


def buffer(model):
    model.register_buffer("seen", torch.zeros(1))


def narrower(model):
    model.to(torch.bfloat16)


def evaluated(model):
    model.eval()


def configured(model):
    model.config.use_cache = not model.config.use_cache


def tensor_hook(model):
    model.lm_head.weight.register_hook(lambda grad: grad)


def note(model):
    model.model.note = "seen"


CHANGES = (
    hook,
    other_module,
    other_forward,
    further_module,
    fewer_blocks,
    other_parameter,
    buffer,
    narrower,
    evaluated,
    configured,
    tensor_hook,
    note,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_changed_one_is_built_anew(tiny_folder, change):
    skeletons = Skeletons()
    first = skeletons.of(tiny_folder)
    change(first)
    second = skeletons.of(tiny_folder)
    assert second is not first
    assert skeletons.of(tiny_folder) is second


def test_frozen_parameters_are_trained_again(tiny_folder):
    skeletons = Skeletons()
    first = skeletons.of(tiny_folder)
    first.requires_grad_(False)
    second = skeletons.of(tiny_folder)
    assert second is first
    assert all(parameter.requires_grad for parameter in second.parameters())


def test_a_hook_that_was_taken_off_leaves_nothing(tiny_folder):
    skeletons = Skeletons()
    first = skeletons.of(tiny_folder)
    first.model.register_forward_hook(lambda *_: None).remove()
    assert skeletons.of(tiny_folder) is first
