"""One forward for several streams, and steps taken in the backward pass: the same numbers in less memory."""

from __future__ import annotations

import copy

import lightning.pytorch as pl
import pytest
import torch
from helpers.roster import ROSTER, logits_of, moved, pair, started
from helpers.streams import fit, schedules

from unlearnbench.models.blocks import decoder_blocks
from unlearnbench.models.tensors import token_nll
from unlearnbench.training import optimizers
from unlearnbench.training.optimizers import AdamW
from unlearnbench_methods.grad_diff import GradDiff

JOINED = ("altpo", "dpo", "grad-diff", "grad-diff-kl", "idk-dpo", "npo", "pdu", "satimp", "simnpo", "undial", "wga")


@pytest.fixture
def all_large(monkeypatch):
    monkeypatch.setattr(optimizers, "LARGE", 1)


class Forwards:
    """Notes how many sequences each forward through a model's blocks has."""

    def __init__(self, model) -> None:
        self.rows: list[int] = []
        decoder_blocks(model)[1][0].register_forward_hook(self._note)

    def _note(self, _module, _arguments, output) -> None:
        self.rows.append(len(output if isinstance(output, torch.Tensor) else output[0]))


@pytest.mark.parametrize("name", ROSTER)
def test_one_forward_gives_what_one_for_each_stream_does(name, tokenizer, monkeypatch):
    """Loss and every gradient, in float64, with streams of different widths; of methods with one side nothing changes."""
    outcomes, forwards = [], []
    for least in (2**24, 1):
        monkeypatch.setattr(optimizers, "LARGE", least)
        monkeypatch.setattr("unlearnbench.training.shared_forward.MOST_PADDING", 2.0)
        method, model, _ = moved(tokenizer, name)
        count = Forwards(model)
        loss = method.training_step(pair(method), 0)
        loss.backward()
        outcomes.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
        forwards.append(count.rows)
    for apart, together in zip(*outcomes, strict=True):
        torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-12)
    apart, together = forwards
    assert sum(apart) == sum(together)
    assert len(together) == 1
    assert (len(apart) > 1) == (name in JOINED)


def test_a_term_without_weight_stays_out(tokenizer, all_large):
    method = started(GradDiff(moved(tokenizer, "grad-diff")[1], retain_weight=0.0), tokenizer)
    count = Forwards(method.model)
    method.training_step(pair(method), 0)
    assert count.rows == [2]


def test_streams_of_very_different_widths_go_apart(tokenizer, all_large):
    """A quarter of padding is more than an eighth."""
    method = started(GradDiff(moved(tokenizer, "grad-diff")[1]), tokenizer, length=10)
    whole = pair(method)
    count = Forwards(method.model)
    method.training_step(whole, 0)
    narrow = {key: tensor[:, :5] for key, tensor in whole["retain"].items() if key in ("input_ids", "attention_mask", "labels")}
    method.training_step({**whole, "retain": {**narrow, "topic": "bio"}}, 0)
    assert count.rows == [4, 2, 2]


def test_streams_that_were_not_named_have_their_own_forward(tiny_model, tokenizer, all_large):
    method = started(GradDiff(tiny_model), tokenizer)
    first, second = pair(method, 0), pair(method, 1)
    with torch.no_grad(), method.one_forward(first["forget"], first["retain"]):
        other = method.nll(second["forget"])
        expected = token_nll(logits_of(tiny_model, second["forget"]), second["forget"]["labels"]).mean()
    assert float(other) == pytest.approx(float(expected), rel=1e-5)


class Watching(pl.Callback):
    """How many gradients there are once the first weight's is whole, and how many the hook sees."""

    def __init__(self) -> None:
        self.together: list[int] = []

    def on_train_start(self, trainer, pl_module) -> None:
        own = list(pl_module.model.parameters())
        for parameter in own:
            parameter.register_post_accumulate_grad_hook(lambda _: self.together.append(sum(p.grad is not None for p in own)))


class Looking(Watching):
    def on_after_backward(self, trainer, pl_module) -> None:
        """Somebody who wants all gradients."""


def trained(model, callback: pl.Callback, **options) -> None:
    """Three updates by a real trainer."""
    fit(GradDiff(model, lr=1e-2), *schedules(3, ("bio",), "right"), callbacks=[callback], **options)
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_weights_are_stepped_as_the_backward_pass_leaves_them(tiny_model):
    """One gradient at a time under the trainer, and the very weights of whoever wants to see them all."""
    other = copy.deepcopy(tiny_model)
    alone, seen = Watching(), Looking()
    trained(tiny_model, alone)
    trained(other, seen)
    assert max(alone.together) == 1
    assert max(seen.together) == len(list(other.parameters()))
    for ours, theirs in zip(tiny_model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_clipping_has_all_gradients(tiny_model):
    """The norm is over all of them: a step of clipped gradients is another one."""
    other = copy.deepcopy(tiny_model)
    watch = Watching()
    trained(tiny_model, watch, gradient_clip_val=1e-9)
    trained(other, Watching())
    assert max(watch.together) == len(list(tiny_model.parameters()))
    assert any(not torch.equal(p, q) for p, q in zip(tiny_model.parameters(), other.parameters(), strict=True))


def test_a_method_that_looks_at_its_gradients_has_them(tiny_model):
    class Own(GradDiff):
        seen = 0

        def on_before_optimizer_step(self, optimizer) -> None:
            assert isinstance(getattr(optimizer, "optimizer", optimizer), AdamW)
            self.seen = sum(parameter.grad is not None for parameter in self.model.parameters())

    method = fit(Own(tiny_model, lr=1e-3), *schedules(1, ("bio",), "right"))
    assert method.seen == len(list(tiny_model.parameters()))
