from __future__ import annotations

import copy

import pytest
import torch
from helpers.streams import batch, prepare, train
from helpers.whole_forward import distillation

from unlearnbench.data.batches import IGNORE, Corpus, Example, Schedule, collate
from unlearnbench.models.head import final_hidden
from unlearnbench.training.method import MethodContext
from unlearnbench_methods.llmu import LLMU


def ready(model, tokenizer, **options) -> LLMU:
    return prepare(LLMU(model, **{"lr": 1e-3, "answers": 2, **options}), tokenizer)


def test_divergence_starts_at_the_entropy_without_a_slope(tiny_model, tokenizer):
    """At the start D is the entropy of the frozen model, and its gradient is exactly zero."""
    method = ready(tiny_model, tokenizer)
    stream = batch(method)["retain"]
    with torch.no_grad():
        target = method.logits(stream)
    mask = stream["attention_mask"].bool()
    loss = method.divergence(final_hidden(tiny_model, stream), stream)
    assert float(loss.detach()) == pytest.approx(float(distillation(target, target, mask)), rel=1e-6)
    probability = target.softmax(-1)
    entropy = -(probability * probability.log()).sum(-1)
    expected = torch.stack([row[own].mean() for row, own in zip(entropy, mask, strict=True)]).mean()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-5)
    loss.backward()
    assert all(torch.count_nonzero(p.grad) == 0 for p in tiny_model.parameters() if p.grad is not None)


def test_normal_term_alone_does_not_move_the_model(tiny_model, tokenizer):
    """w_bad = w_random = 0 from the start: nothing, even with Adam."""
    before = copy.deepcopy(tiny_model.state_dict())
    train(ready(tiny_model, tokenizer, bad_weight=0.0, random_weight=0.0), 4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())


def test_one_step_on_the_bad_term_raises_its_loss(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, random_weight=0.0, normal_weight=0.0, bad_weight=1.0)
    stream = batch(method)["forget"]
    before = float(method.nll(stream).detach())
    train(method, 1, torch.optim.SGD(tiny_model.parameters(), lr=1e-2))
    assert float(method.nll(stream).detach()) > before


def test_bad_term_alone_is_gradient_ascent(tiny_model, tokenizer):
    plain = copy.deepcopy(tiny_model)
    method = ready(tiny_model, tokenizer, random_weight=0.0, normal_weight=0.0, bad_weight=1.0)
    train(method, 3, torch.optim.SGD(tiny_model.parameters(), lr=1e-2))
    other = ready(plain, tokenizer)
    optimizer = torch.optim.SGD(plain.parameters(), lr=1e-2)
    for step in range(3):
        optimizer.zero_grad()
        (-other.nll(batch(other, step)["forget"])).backward()
        optimizer.step()
    for ours, theirs in zip(tiny_model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_mismatches_keep_the_first_half_and_score_a_retain_text(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, answers=3)
    bad = batch(method)["forget"]
    stream = method.mismatch(bad, method.draw(bad["topic"]))
    pool = [example.ids for example in method.context.retain.corpora[0].examples]
    assert stream["input_ids"].shape[0] == 3 * bad["input_ids"].shape[0]
    replies = set()
    for row in range(stream["input_ids"].shape[0]):
        own = bad["input_ids"][row // 3][bad["attention_mask"][row // 3].bool()].tolist()
        counted = stream["labels"][row] != IGNORE
        prompt = stream["input_ids"][row][stream["attention_mask"][row].bool() & ~counted].tolist()
        reply = stream["input_ids"][row][counted].tolist()
        assert prompt == own[: len(prompt)]
        assert 1 <= len(prompt) <= max(len(own) // 2, 1)
        assert any(reply == text[: len(reply)] for text in pool)
        replies.add(tuple(reply[:3]))
    assert len(replies) <= 3  # the same K answers for every prompt


def test_prompt_and_response_data_keep_their_prompts(tiny_model, tokenizer):
    """With prompts the mismatch is the whole prompt followed by somebody else's response."""
    pairs = [Example([10 + i, 11, 12, 500 + i, 501], [IGNORE] * 3 + [500 + i, 501]) for i in range(4)]
    normal = [Example([20, 21, 900 + i, 901], [IGNORE] * 2 + [900 + i, 901]) for i in range(4)]
    method = LLMU(tiny_model, answers=2)
    sides = {
        side: Schedule([Corpus("bio", tuple(texts))], steps=2, batch_size=2, pad=3, side="right")
        for side, texts in (("forget", pairs), ("retain", normal))
    }
    method.context = MethodContext(tokenizer=tokenizer, topics=("bio",), steps=2, **sides)
    method.on_fit_start()
    stream = method.mismatch(collate(pairs[:2], "bio", 3, "right"), method.draw("bio"))
    assert [row[:3].tolist() for row in stream["input_ids"]] == [[10, 11, 12]] * 2 + [[11, 11, 12]] * 2
    assert all(row[3].item() in range(900, 904) for row in stream["labels"])
    assert (stream["labels"][:, :3] == IGNORE).all()


def test_k_answers_cost_the_average_of_one_each(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, answers=4)
    bad = batch(method)["forget"]
    torch.manual_seed(5)
    stream = method.mismatch(bad, method.draw(bad["topic"]))
    together = float(method.nll(stream).detach())
    size = bad["input_ids"].shape[0]
    single = []
    for answer in range(4):
        rows = [4 * prompt + answer for prompt in range(size)]
        own = {key: value[rows] for key, value in stream.items() if key != "topic"}
        single.append(float(method.nll(own).detach()))
    assert together == pytest.approx(sum(single) / 4, rel=1e-5)


def test_learning_rate_falls_linearly_to_zero(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer)
    configured = method.configure_optimizers()
    rates = []
    for _ in range(8):
        rates.append(configured["optimizer"].param_groups[0]["lr"])
        configured["optimizer"].step()
        configured["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([1e-3 * (1 - step / 8) for step in range(8)])


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_frozen_outputs_kept_from_the_start_give_the_live_ones_loss(tiny_model, tokenizer, adapter):
    """p_0 computed once, p_0 put back for a moment, and p_0 of a second model: one loss."""
    second = copy.deepcopy(tiny_model)
    method = ready(tiny_model, tokenizer, adapter=adapter, rank=4)
    stream = batch(method)["retain"]
    with method.frozen_model():
        kept = method.logits(stream)
    train(method, 3)
    with method.frozen_model():
        live = method.logits(stream)
    with torch.no_grad():
        other = second(stream["input_ids"], attention_mask=stream["attention_mask"]).logits
        logits, mask = method.logits(stream), stream["attention_mask"].bool()
        losses = [float(distillation(logits, target, mask)) for target in (kept, live, other)]
        start = float(distillation(kept, kept, mask))
    assert losses[0] == losses[1] == losses[2]
    assert losses[0] > start


@pytest.mark.parametrize("term", ["bad_weight", "normal_weight"])
def test_padding_does_not_count(tiny_model, tokenizer, term):
    """Neither in the ascent nor in D, which the reference averages over padding, too."""
    weights = dict.fromkeys(("bad_weight", "random_weight", "normal_weight"), 0.0)
    method = ready(tiny_model, tokenizer, **{**weights, term: 1.0})
    pair = batch(method)
    with torch.no_grad():
        before = float(method.training_step(pair, 0))
        for side in pair.values():
            for key, filler in (("input_ids", 7), ("attention_mask", 0), ("labels", IGNORE)):
                side[key] = torch.nn.functional.pad(side[key], (0, 5), value=filler)
        assert float(method.training_step(pair, 0)) == pytest.approx(before, rel=1e-5)


def test_token_that_opens_a_text_does_not_stand_in_the_middle_of_one(tiny_model, tokenizer):
    """Llama's and Mistral's tokenizers write BOS before every text, the retain text of a mismatch included."""
    bos = tokenizer.bos_token_id
    texts = [Example([bos, 500 + i, 501, 502, 503], [bos, 500 + i, 501, 502, 503]) for i in range(4)]
    method = LLMU(tiny_model, answers=2)
    sides = {
        side: Schedule([Corpus("bio", tuple(texts))], steps=2, batch_size=2, pad=3, side="right")
        for side in ("forget", "retain")
    }
    method.context = MethodContext(tokenizer=tokenizer, topics=("bio",), steps=2, **sides)
    method.on_fit_start()
    stream = method.mismatch(collate(texts[:2], "bio", 3, "right"), method.draw("bio"))
    assert (stream["input_ids"][:, 0] == bos).all()
    assert not (stream["input_ids"][:, 1:] == bos).any()
    assert (stream["labels"] >= 500).any(dim=1).all()


def test_long_prompt_stays_whole(tiny_model, tokenizer):
    """The answer gives way, not the question: at least one token of it is left."""
    prompt = list(range(10, 20))
    pairs = (Example([*prompt, 600], [IGNORE] * 10 + [600]),)
    normal = (Example([20, 901, 902, 903], [IGNORE, 901, 902, 903]),)
    method = LLMU(tiny_model, answers=1)
    sides = {
        side: Schedule([Corpus("bio", texts)], steps=1, batch_size=1, pad=3, side="right")
        for side, texts in (("forget", pairs), ("retain", normal))
    }
    method.context = MethodContext(tokenizer=tokenizer, topics=("bio",), steps=1, **sides)
    method.on_fit_start()
    stream = method.mismatch(method.context.forget[0], method.draw("bio"))
    assert stream["input_ids"].tolist() == [[*prompt, 901]]
    assert stream["labels"].tolist() == [[IGNORE] * 10 + [901]]


def test_adapter_is_merged_and_leaves_a_plain_model(tiny_model, tokenizer):
    """The same outputs after merging, the old names, and only projections changed."""
    names = [name for name, _ in tiny_model.named_parameters()]
    before = copy.deepcopy(tiny_model.state_dict())
    method = ready(tiny_model, tokenizer, adapter="lora", rank=4)
    changing = set(method.changing())
    train(method, 3)
    stream = batch(method)["retain"]
    with torch.no_grad():
        adapted = method.logits(stream)
        method.finish()
        torch.testing.assert_close(method.logits(stream), adapted, rtol=1e-4, atol=1e-4)
    assert [name for name, _ in tiny_model.named_parameters()] == names
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert changed <= changing
