from __future__ import annotations

import copy

import pytest
import torch
from helpers.streams import batch, prepare, train
from torch import Tensor, nn

from unlearnbench.errors import UsageError
from unlearnbench.training.method import UnlearningMethod
from unlearnbench.training.optimizers import AdamW
from unlearnbench.training.saliency import salient_rows
from unlearnbench_methods.llmu import LLMU
from unlearnbench_methods.scrub import SCRUB


class Ascent(UnlearningMethod):
    """Gradient ascent in which a share of the rows trains: what a plugin needs is one argument."""

    def __init__(self, model, *, salient: float = 1.0, weight_decay: float = 0.0, adapter="none", master_weights=False):
        super().__init__(model)
        self.salient, self.weight_decay, self.master_weights = salient, weight_decay, master_weights
        self.use_adapter(adapter, 4)

    def on_fit_start(self) -> None:
        self.model.eval()

    def training_step(self, batch, batch_idx: int) -> Tensor:
        return -self.nll(batch["forget"])

    def configure_optimizers(self):
        return AdamW(
            self.trainable(),
            lr=1e-2,
            weight_decay=self.weight_decay,
            master_weights=self.master_weights,
            rows=salient_rows(self, self.salient),
        )


def moved_rows(model, before) -> dict[str, int]:
    """Rows that differ, of each tensor that does."""
    changed = {name: (tensor != before[name]) for name, tensor in model.state_dict().items()}
    rows = {name: int(d.any(dim=-1).sum()) if d.ndim > 1 else int(d.any()) for name, d in changed.items()}
    return {name: count for name, count in rows.items() if count}


def test_masked_rows_stay_by_hand():
    """Two rows, gradients 1 and 1, the second masked, lr .5: Adam's steps are lr * g / |g| = .5 for the first row, and exactly
    nothing for the second, whose moments stay zero."""
    weight = nn.Parameter(torch.zeros(2, 3))
    optimizer = AdamW([weight], lr=0.5, rows={weight: torch.tensor([[True], [False]])})
    for step in (1, 2):
        weight.grad = torch.ones(2, 3)
        optimizer.step()
        assert weight[0].tolist() == pytest.approx([-0.5 * step] * 3)
        assert torch.count_nonzero(weight[1]) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tenth_of_the_rows_trains(tiny_model, tokenizer, dtype):
    """share .1: a tenth of all rows move, and no others; they are those of largest gradient."""
    model = tiny_model.to(dtype)
    before = copy.deepcopy(model.state_dict())
    method = prepare(Ascent(model, salient=0.1, master_weights=True), tokenizer)
    total = sum(p.numel() // p.shape[-1] for p in model.parameters())
    rows = salient_rows(method, 0.1)
    assert sum(int(mask.sum()) for mask in rows.values()) == pytest.approx(0.1 * total, abs=2)
    train(method, 3)
    names = {id(p): n for n, p in model.named_parameters()}
    allowed = {names[id(p)]: mask for p, mask in rows.items()}
    state = dict(model.named_parameters())
    for name, mask in allowed.items():
        assert torch.equal(torch.where(mask, 0, state[name]), torch.where(mask, 0, before[name]))
    moved = {n: c for n, c in moved_rows(model, before).items() if n in allowed}
    assert sum(moved.values()) == sum(int(mask.sum()) for mask in rows.values())


def test_the_rows_are_those_of_the_largest_mean_gradient(tiny_model, tokenizer):
    """Against gradients taken one text at a time: the mean over the pass, its norm per row, the largest first."""
    method = prepare(Ascent(tiny_model), tokenizer, steps=4)
    sums = {name: torch.zeros_like(p) for name, p in tiny_model.named_parameters()}
    for step in range(4):
        tiny_model.zero_grad()
        method.nll(batch(method, step)["forget"]).backward()
        for name, parameter in tiny_model.named_parameters():
            sums[name] += parameter.grad / 4
    norms = {name: total.norm(dim=-1) for name, total in sums.items()}
    least = torch.cat([norm.flatten() for norm in norms.values()]).quantile(0.8)
    tiny_model.zero_grad()
    rows = {name: mask for name, p in tiny_model.named_parameters() for q, mask in salient_rows(method, 0.2).items() if p is q}
    agree = sum(int((rows[name].flatten() == (norm.flatten() >= least)).sum()) for name, norm in norms.items())
    assert agree >= sum(norm.numel() for norm in norms.values()) - 4  # quantile and topk cut ties differently
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_everything_trains_with_a_share_of_one(tiny_model, tokenizer):
    plain = copy.deepcopy(tiny_model)
    train(prepare(Ascent(tiny_model, salient=1.0), tokenizer), 2)
    method = prepare(Ascent(plain), tokenizer)
    train(method, 2, torch.optim.AdamW(plain.parameters(), lr=1e-2, weight_decay=0.0))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(tiny_model.parameters(), plain.parameters(), strict=True))


def test_of_an_adapter_only_some_rows_of_the_weight_change(tiny_model, tokenizer):
    before = copy.deepcopy(tiny_model.state_dict())
    method = prepare(Ascent(tiny_model, salient=0.05, adapter="lora"), tokenizer)
    total = sum(weight.shape[0] for weight in method.changing().values())
    train(method, 3)
    method.finish()
    moved = moved_rows(tiny_model, before)
    assert all(name.endswith("_proj.weight") for name in moved)
    assert sum(moved.values()) == pytest.approx(0.05 * total, abs=2)


def test_padding_does_not_choose(tiny_model, tokenizer):
    method = prepare(Ascent(tiny_model), tokenizer)
    rows = salient_rows(method, 0.2)
    forget = method.context.forget
    own = forget.update

    def padded(step: int):
        stream = own(step)
        for key, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
            stream[key] = torch.nn.functional.pad(stream[key], (0, 5), value=filler)
        return stream

    forget.update = padded
    again = salient_rows(method, 0.2)
    # rounding may swap two rows at the threshold
    assert sum(int((mask != again[parameter]).sum()) for parameter, mask in rows.items()) <= 2


def test_weight_decay_would_move_what_must_stay(tiny_model, tokenizer):
    method = prepare(Ascent(tiny_model, salient=0.1, weight_decay=0.1), tokenizer)
    with pytest.raises(UsageError, match="set weight_decay to 0, or salient to 1"):
        method.configure_optimizers()


@pytest.mark.parametrize(
    ("factory", "options"),
    [(LLMU, {"answers": 1}), (SCRUB, {"forget_steps": 2, "first": "min", "alpha": 0.5})],
)
def test_a_method_switches_it_on(tiny_model, tokenizer, factory, options):
    """With a twentieth of the rows: so many rows move, of all that train."""
    before = copy.deepcopy(tiny_model.state_dict())
    total = sum(p.numel() // p.shape[-1] for p in tiny_model.parameters())
    train(prepare(factory(tiny_model, lr=1e-2, salient=0.05, **options), tokenizer), 2)
    moved = moved_rows(tiny_model, before)
    del moved["lm_head.weight"]  # tied to the embeddings
    assert sum(moved.values()) == pytest.approx(0.05 * total, abs=2)


def test_momentum_would_move_what_must_stay(tiny_model):
    with pytest.raises(UsageError, match=r"set scrub\.optimizer=adamw, or salient to 1"):
        SCRUB(tiny_model, optimizer="sgd", salient=0.5)
