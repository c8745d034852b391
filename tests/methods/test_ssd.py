from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers.streams import batch, prepare

from unlearnbench.data.batches import Example, collate
from unlearnbench.errors import UsageError
from unlearnbench.models.tensors import token_nll
from unlearnbench_methods.ssd import SSD, add_square, dampen, importance_ratio


def gathered(model, tokenizer, *, steps: int = 4, memory=None, **options) -> SSD:
    """An SSD that has seen its batches and not edited yet; Lightning's backward replaced by the plain one."""
    method = prepare(SSD(model, **options), tokenizer, steps=steps, memory=memory)
    method.manual_backward = lambda loss: loss.backward()
    for step in range(steps):
        method.training_step(batch(method, step), step)
    return method


def weights(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_importance_is_the_square_of_the_batch_mean_gradient(tiny_model, tokenizer):
    """Against gradients taken one batch at a time; the sums of squares, divided by the batches in the ratio anyway."""
    method = gathered(tiny_model, tokenizer, steps=3)
    name = "model.layers.2.mlp.down_proj.weight"
    expected = torch.zeros_like(method.edited[name])
    for step in range(3):
        tiny_model.zero_grad()
        stream = batch(method, step)["forget"]
        logits = tiny_model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits
        token_nll(logits, stream["labels"]).mean().backward()
        expected += method.edited[name].grad.square()
    torch.testing.assert_close(method.importance["forget"][name], expected)
    assert method.importance["forget"][name].dtype == torch.float32


def test_batches_of_one_give_the_mean_of_per_sample_squares(tiny_model, tokenizer):
    """Only then do the square of the batch's mean gradient and the mean of squares agree."""
    name = "model.layers.1.self_attn.o_proj.weight"

    def importance(batch_size: int) -> torch.Tensor:
        method = prepare(SSD(copy.deepcopy(tiny_model)), tokenizer, topics=("bio",), steps=4)
        method.manual_backward = lambda loss: loss.backward()
        texts = method.context.forget.corpora[0].examples[:4]
        for first in range(0, 4, batch_size):
            stream = collate(texts[first : first + batch_size], "bio", 0, "right")
            method.training_step({"forget": stream, "retain": stream}, first)
        return method.importance["forget"][name] / (4 // batch_size)

    weight = dict(tiny_model.named_parameters())[name]
    squares = []
    for example in prepare(SSD(tiny_model), tokenizer, topics=("bio",)).context.forget.corpora[0].examples[:4]:
        tiny_model.zero_grad()
        ids = torch.tensor([example.ids])
        torch.nn.functional.cross_entropy(tiny_model(ids).logits[0, :-1], ids[0, 1:]).backward()
        squares.append(weight.grad.square())
    torch.testing.assert_close(importance(1), torch.stack(squares).mean(dim=0), rtol=1e-3, atol=1e-9)
    assert float(importance(4).mean()) < float(importance(1).mean())


class OneHot(torch.nn.Module):
    """Hidden states that are the tokens themselves."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(last_hidden_state=torch.nn.functional.one_hot(input_ids, self.vocabulary).float())


class Table(torch.nn.Module):
    """The head."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.rows = torch.nn.Parameter(torch.zeros(vocabulary, vocabulary))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden @ self.rows


class Bigram(torch.nn.Module):
    """The next token's logits are a row of one matrix: softmax regression on one-hot inputs."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.base_model = OneHot(vocabulary)
        self.readout = Table(vocabulary)
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=vocabulary))

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.readout

    def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=self.readout(self.base_model(input_ids=input_ids).last_hidden_state))


def test_regression_by_hand():
    """Zero weights, V = 4: the gradient at (a, v) is 1/4, less 1 where v follows a.

    Forget text 0 1: squares 9/16 at (0, 1), 1/16 elsewhere in row 0. Retain text 0 2: 9/16 at (0, 2). The ratio is 9 at
    (0, 1), 1/9 at (0, 2), 1 in the rest of row 0, and 0 in rows that no text reads. With the second forget text 0 2 in the
    same batch the mean gradient is -1/4 at both: ratios 1 and 1/9.
    """
    wanted = torch.tensor([1.0, 9.0, 1 / 9, 1.0])
    for texts, ratio in (([[0, 1]], wanted), ([[0, 1], [0, 2]], torch.tensor([1.0, 1.0, 1 / 9, 1.0]))):
        method = SSD(Bigram(4))
        method.manual_backward = lambda loss: loss.backward()
        method.context = SimpleNamespace(recall=lambda *_: None, keep=lambda *_, **__: None)
        method.on_fit_start()
        forget, retain = (collate([Example(t, list(t)) for t in side], "t", 0, "right") for side in (texts, [[0, 2]]))
        method.training_step({"forget": forget, "retain": retain}, 0)
        with torch.no_grad():
            method.edited["readout.rows"].fill_(1.0)
        method.alpha = 2.0
        method.on_train_end()
        torch.testing.assert_close(method.ratio["readout.rows"], torch.cat([ratio[None], torch.zeros(3, 4)]))
        expected = torch.ones(4, 4)
        expected[0][ratio > 2] = 1 / 9
        torch.testing.assert_close(method.edited["readout.rows"].detach(), expected)


def test_order_of_batches_is_irrelevant(tiny_model, tokenizer):
    forward = gathered(copy.deepcopy(tiny_model), tokenizer)
    backward = prepare(SSD(copy.deepcopy(tiny_model)), tokenizer)
    backward.manual_backward = lambda loss: loss.backward()
    for step in reversed(range(4)):
        backward.training_step(batch(backward, step), step)
    for name, sums in forward.importance["retain"].items():
        torch.testing.assert_close(backward.importance["retain"][name], sums)


def test_never_amplifies_never_flips_and_leaves_the_rest_alone(tiny_model, tokenizer):
    before = weights(tiny_model)
    method = gathered(tiny_model, tokenizer, alpha=1.0, dampening=0.5)
    method.on_train_end()
    changed = 0
    for name, parameter in tiny_model.named_parameters():
        old, new = before[name], parameter.detach()
        assert (new.abs() <= old.abs()).all()
        assert (new * old >= 0).all()
        assert torch.isfinite(new).all()
        if name in method.ratio:
            unselected = method.ratio[name] <= 1.0
            assert torch.equal(new[unselected], old[unselected])
        else:
            assert torch.equal(new, old)
        changed += int((new != old).sum())
    assert changed > 0
    guarded = [name for name, _ in tiny_model.named_parameters() if "embed" in name or "norm" in name]
    assert guarded
    assert not set(guarded) & set(method.edited)


@pytest.mark.parametrize("options", [{"alpha": float("inf")}, {"alpha": 0.1, "dampening": 1e30}], ids=["alpha", "lambda"])
def test_settings_that_do_nothing(tiny_model, tokenizer, options):
    """No weight is more than infinitely important; a lambda above every ratio caps every factor at one."""
    before = weights(tiny_model)
    method = gathered(tiny_model, tokenizer, **options)
    method.ratio = None
    forget, retain = method.importance["forget"], method.importance["retain"]
    for name in retain:  # no weight that only forget texts use: its ratio would be infinite
        retain[name] = retain[name].clamp(min=1e-20)
    assert max(float((forget[name] / retain[name]).max()) for name in forget) < 1e30
    method.on_train_end()
    assert all(torch.equal(parameter, before[name]) for name, parameter in tiny_model.named_parameters())


def test_equal_importances_and_alpha_of_one_select_nothing():
    weight = torch.nn.Parameter(torch.ones(3))
    importance = torch.tensor([0.0, 1.0, 5.0])
    assert dampen({"w": weight}, {"w": importance_ratio(importance, importance)}, alpha=1.0, dampening=0.1) == 0


def test_closed_form():
    """By hand: ratios 0/0 -> 0, 4/0 -> inf, 4/1 = 4, 1/4; alpha 2, lambda 1: the second is zeroed, the third times 1/4."""
    ratio = importance_ratio(torch.tensor([0.0, 4.0, 4.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 4.0]))
    assert ratio.tolist() == [0.0, float("inf"), 4.0, 0.25]
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 8.0, 3.0]))
    assert dampen({"w": weight}, {"w": ratio}, alpha=2.0, dampening=1.0) == 2
    assert weight.tolist() == [1.0, 0.0, 2.0, 3.0]
    weight = torch.nn.Parameter(torch.tensor([16.0]))
    dampen({"w": weight}, {"w": torch.tensor([4.0])}, alpha=2.0, dampening=1.0, exponent=2.0)
    assert weight.tolist() == [1.0]


def test_larger_alpha_selects_a_subset_and_larger_lambda_dampens_less():
    torch.manual_seed(0)
    ratio = {"w": torch.rand(1000) * 10}

    def after(alpha: float, dampening: float) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.ones(1000))
        dampen({"w": weight}, ratio, alpha=alpha, dampening=dampening)
        return weight.detach()

    few, many = after(5.0, 1.0) < 1, after(2.0, 1.0) < 1
    assert (many | ~few).all()
    assert few.sum() < many.sum()
    assert (after(2.0, 2.0) >= after(2.0, 1.0)).all()


def test_scaling_both_importances_changes_nothing():
    forget, retain = torch.rand(50), torch.rand(50)
    torch.testing.assert_close(importance_ratio(forget * 1e-6, retain * 1e-6), importance_ratio(forget, retain))


def test_a_grid_needs_one_pass(tiny_model, tokenizer, tmp_path):
    """The second setting finds the ratio kept: no gradient is taken, and the edit is the one a pass of its own gives."""
    first = gathered(copy.deepcopy(tiny_model), tokenizer, memory=tmp_path, alpha=5.0)
    first.on_train_end()
    assert len(list(tmp_path.iterdir())) == 1
    again = copy.deepcopy(tiny_model)
    second = gathered(again, tokenizer, memory=tmp_path, alpha=1.0)
    assert second.importance == {"forget": {}, "retain": {}}
    second.on_train_end()
    own = copy.deepcopy(tiny_model)
    gathered(own, tokenizer, alpha=1.0).on_train_end()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), own.parameters(), strict=True))


def test_ratio_over_all_is_at_most_two(tiny_model, tokenizer):
    """I_all is the mean of both, so I_forget / I_all <= 2: an alpha from there on would select nothing."""
    method = gathered(tiny_model, tokenizer, over="all", alpha=1.5)
    method.on_train_end()
    assert max(float(ratio.max()) for ratio in method.ratio.values()) <= 2.0 + 1e-4
    with pytest.raises(UsageError, match=r"alpha=10 selects nothing; set ssd\.alpha below 2, or ssd\.over=retain"):
        SSD(tiny_model, over="all")


def test_one_gradient_at_a_time_and_none_in_the_end(tiny_model, tokenizer, monkeypatch):
    """Squared and let go as soon as it is there: a full set of gradients never stands beside the importances."""
    standing: list[int] = []

    def watched(sums, name, parameter):
        standing.append(sum(other.grad is not None for other in tiny_model.parameters()))
        add_square(sums, name, parameter)

    monkeypatch.setattr("unlearnbench_methods.ssd.add_square", watched)
    method = gathered(tiny_model, tokenizer, steps=2)
    assert set(standing) == {1}
    assert len(standing) == 2 * 2 * len(method.edited)
    assert all(parameter.grad is None for parameter in tiny_model.parameters())
    assert all(not parameter._post_accumulate_grad_hooks for parameter in tiny_model.parameters())


def test_bfloat16_weights_gather_in_float32(tiny_model, tokenizer):
    """Squares below bfloat16's and float16's reach survive."""
    method = gathered(tiny_model.to(torch.bfloat16), tokenizer)
    sums = method.importance["forget"]["model.layers.0.mlp.down_proj.weight"]
    assert sums.dtype == torch.float32
    assert (sums > 0).float().mean() > 0.9
