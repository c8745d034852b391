from __future__ import annotations

import copy

import pytest
import torch
from helpers.streams import batch, prepare, train
from helpers.whole_forward import kl_divergence

from unlearnbench.models.head import final_hidden
from unlearnbench_methods.scrub import SCRUB, rewind_to


def ready(model, tokenizer, steps: int = 8, **options) -> SCRUB:
    return prepare(SCRUB(model, **{"lr": 1e-3, "forget_steps": 4, **options}), tokenizer, steps=steps)


def same(model, state) -> bool:
    return all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_passes_per_schedule(tiny_model, tokenizer):
    """Both topics take a max step, then both a min step; after the forget phase only min steps."""
    method = ready(tiny_model, tokenizer, forget_steps=8)
    assert [method.is_max_step(step) for step in range(12)] == [True, True, False, False] * 2 + [False] * 4
    other = ready(tiny_model, tokenizer, forget_steps=8, first="min")
    assert [other.is_max_step(step) for step in range(12)] == [False, False, True, True] * 2 + [False] * 4


def test_kl_is_exactly_zero_at_the_start(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer)
    assert float(method.divergence(batch(method)["forget"]).detach()) == 0.0


@pytest.mark.parametrize("forget_steps", [0, 4], ids=["min only", "with max steps"])
def test_without_task_loss_the_teacher_is_a_fixed_point(tiny_model, tokenizer, forget_steps):
    """gamma = 0: no gradient ever arises, even with Adam; leaked rounding would be blown up to whole steps."""
    before = copy.deepcopy(tiny_model.state_dict())
    train(ready(tiny_model, tokenizer, gamma=0.0, alpha=1.0, forget_steps=forget_steps), 6)
    assert same(tiny_model, before)


def test_without_kl_and_max_steps_it_is_plain_fine_tuning(tiny_model, tokenizer):
    """alpha = 0, gamma = 1, no forget phase: bit-identical to descending on the retain loss."""
    plain = copy.deepcopy(tiny_model)
    method = ready(tiny_model, tokenizer, alpha=0.0, gamma=1.0, forget_steps=0)
    train(method, 4)
    other = prepare(SCRUB(plain, lr=1e-3), tokenizer)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0)
    for step in range(4):
        optimizer.zero_grad()
        other.nll(batch(other, step)["retain"]).backward()
        optimizer.step()
    assert same(tiny_model, plain.state_dict())


def test_without_retain_kl_it_is_fine_tuning_and_ascent_on_kl(tiny_model, tokenizer):
    """alpha = 0: in turns the retain loss down and the divergence from a second, frozen model up."""
    plain, teacher = copy.deepcopy(tiny_model), copy.deepcopy(tiny_model)
    settings = {"alpha": 0.0, "gamma": 1.0, "forget_steps": 6, "first": "min", "temperature": 2.0}
    train(ready(tiny_model, tokenizer, **settings), 8)
    other = prepare(SCRUB(plain, lr=1e-3), tokenizer)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0)
    for step in range(8):
        pair = batch(other, step)
        optimizer.zero_grad()
        if step in (2, 3):  # both topics' max steps
            stream = pair["forget"]
            counted = torch.zeros_like(stream["labels"], dtype=torch.bool)
            counted[:, :-1] = stream["attention_mask"][:, :-1].bool() & stream["attention_mask"][:, 1:].bool()
            with torch.no_grad():
                target = teacher(stream["input_ids"], attention_mask=stream["attention_mask"]).logits
            (-kl_divergence(other.logits(stream), target, counted, 2.0)).backward()
        else:
            other.nll(pair["retain"]).backward()
        optimizer.step()
    for ours, theirs in zip(tiny_model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_gradient_of_a_max_step_by_finite_differences(tiny_model, tokenizer):
    """Along its own gradient g the loss -KL changes at the rate |g|^2, measured by two forwards."""
    method = ready(tiny_model, tokenizer)
    train(method, 4)  # away from the dead start
    pair = batch(method, 0)
    tiny_model.zero_grad()
    loss = method.training_step(pair, 0)
    loss.backward()
    assert method.is_max_step(0)
    assert float(loss.detach()) < 0
    gradients = {name: parameter.grad.clone() for name, parameter in tiny_model.named_parameters()}
    rate = sum(float(gradient.double().square().sum()) for gradient in gradients.values())
    size = 5e-4 / rate**0.5  # short: -KL is strongly curved so near its peak
    values = []
    for sign in (1, -1):
        shifted = copy.deepcopy(method)
        with torch.no_grad():
            for name, parameter in shifted.model.named_parameters():
                parameter.add_(gradients[name], alpha=sign * size)
            values.append(float(-shifted.divergence(pair["forget"])))
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(rate, rel=1e-2)


def test_forwards_of_a_step(tiny_model, tokenizer):
    """The student once, whichever the step, and the teacher never: its answers are kept from the start."""
    method = ready(tiny_model, tokenizer)
    runs: list[bool] = []
    tiny_model.model.layers[0].register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    for step in (0, 2):  # max, min
        runs.clear()
        method.training_step(batch(method, step), step)
        assert runs == [True]


def test_teacher_stays_what_it_was(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer)
    stream = batch(method, 2)["retain"]  # the first min step's
    real = stream["attention_mask"].bool()
    with torch.no_grad():
        start = final_hidden(tiny_model, stream)[real]
    train(method, 5)
    torch.testing.assert_close(method.teacher.hidden(stream)[real], start, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        assert (final_hidden(tiny_model, stream)[real] - start).abs().max() > 1e-3


def test_max_step_raises_the_divergence(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, optimizer="sgd", lr=1e-2)
    train(method, 4)  # away from the dead start
    pair = batch(method, 0)
    before = float(method.divergence(pair["forget"]).detach())
    optimizer = torch.optim.SGD(tiny_model.parameters(), lr=1e-3)
    optimizer.zero_grad()
    method.training_step(pair, 0).backward()
    optimizer.step()
    assert before > 0
    assert float(method.divergence(pair["forget"]).detach()) > before


def test_gradient_of_kl_by_finite_differences():
    torch.manual_seed(0)
    teacher = torch.randn(1, 2, 5)
    student = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    counted = torch.ones(1, 2, dtype=torch.bool)

    def value(logits: torch.Tensor) -> torch.Tensor:
        """The same in float64 from the definition, tau = 2."""
        p, q = (teacher.double() / 2).softmax(-1), (logits / 2).softmax(-1)
        return 4 * (p * (p.log() - q.log())).sum(-1).mean()

    value(student).backward()
    ours = student.detach().float().requires_grad_()
    kl_divergence(ours, teacher, counted, 2.0).backward()
    torch.testing.assert_close(ours.grad.double(), student.grad, rtol=1e-4, atol=1e-6)
    step = torch.zeros_like(student)
    step[0, 1, 3] = 1e-4
    with torch.no_grad():
        slope = (value(student + step) - value(student - step)) / 2e-4
    assert float(ours.grad[0, 1, 3]) == pytest.approx(float(slope), rel=1e-3)


def test_kl_is_not_negative_and_ignores_padding():
    torch.manual_seed(0)
    logits, teacher = torch.randn(3, 4, 7), torch.randn(3, 4, 7)
    counted = torch.ones(3, 4, dtype=torch.bool)
    value = kl_divergence(logits, teacher, counted, 4.0)
    assert float(value) > 0
    padded = [torch.nn.functional.pad(x, (0, 0, 0, 3), value=9.0) for x in (logits, teacher)]
    assert torch.allclose(kl_divergence(*padded, torch.nn.functional.pad(counted, (0, 3)), 4.0), value)


def test_large_temperature_limit():
    """tau^2 KL -> |centred logit difference|^2 / (2 V) as tau grows."""
    torch.manual_seed(0)
    logits, teacher = torch.randn(1, 1, 6), torch.randn(1, 1, 6)
    difference = (teacher - logits) - (teacher - logits).mean()
    expected = float(difference.square().sum() / (2 * 6))
    assert float(kl_divergence(logits, teacher, torch.ones(1, 1, dtype=torch.bool), 300.0)) == pytest.approx(expected, rel=2e-2)


def test_rewind_picks_the_closest_checkpoint():
    assert rewind_to([9.0, 4.0, 2.5, 3.0], 2.8) == 3
    assert rewind_to([1.0, 3.0], 2.0) == 0


def test_rewinding_goes_back(tiny_model, tokenizer):
    """The weights in the end are those of the checkpoint closest to the loss of texts that were held out."""
    method = ready(tiny_model, tokenizer, steps=12, rewind=True, lr=1e-2)
    sizes = [len(corpus.examples) for corpus in method.context.forget.corpora]
    assert sizes == [11, 11]
    train(method, 12)
    losses = [loss for loss, _ in method.checkpoints]
    assert len(losses) == 8
    wanted = method._loss(method._unseen)
    closest = min(range(8), key=lambda number: abs(losses[number] - wanted))
    assert closest < 7  # or going back would be the same as staying
    method.on_train_end()
    now = method.named_trainable()
    same_as = [n for n, (_, kept) in enumerate(method.checkpoints) if all(torch.equal(kept[x], now[x]) for x in kept)]
    assert same_as == [closest]
