from __future__ import annotations

import copy
import math

import pytest
import torch
from helpers.streams import TOPICS, batch, prepare, train

from unlearnbench.data.batches import IGNORE, Example, collate
from unlearnbench.errors import UsageError
from unlearnbench.models.tensors import next_tokens, token_cross_entropy
from unlearnbench_methods.elm import ELM, moved, prefixed, ramp

OPTIONS = {"layers": [2, 3], "lr": 1e-2, "rank": 4, "continuations": 3, "continuation_tokens": 5}


def ready(model, tokenizer, **options) -> ELM:
    torch.manual_seed(0)
    return prepare(ELM(model, **{**OPTIONS, **options}), tokenizer)


def logged(method: ELM) -> dict[str, float]:
    values: dict[str, float] = {}
    method.log_dict = lambda given, **_: values.update({name: float(value.detach()) for name, value in given.items()})
    return values


def test_the_target_by_hand():
    """Three tokens. p_0 = (1/2, 1/4, 1/4), the novice says (1/4, 1/2, 1/4), the expert (1/2, 1/4, 1/4): the log ratios are
    (-ln 2, ln 2, 0). With eta = 1 p_0 times (1/2, 2, 1) is (1/4, 1/2, 1/4); with eta = 2, times (1/4, 4, 1), it is
    (1/8, 1, 1/4) / (11/8) = (1/11, 8/11, 2/11). The cross-entropy of a uniform model to any of them is ln 3."""
    plain, novice = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.5, 0.25]]).log()
    for eta, expected in ((1.0, [0.25, 0.5, 0.25]), (2.0, [1 / 11, 8 / 11, 2 / 11]), (0.0, [0.5, 0.25, 0.25])):
        # a constant added to one voice's logits changes nothing
        target = moved(plain, novice + 3.0, plain, torch.tensor([eta]))
        assert target.softmax(-1)[0].tolist() == pytest.approx(expected, rel=1e-5)
        assert float(token_cross_entropy(torch.zeros(1, 3), target)) == pytest.approx(math.log(3), rel=1e-6)


def test_eta_grows_along_each_sequence():
    """Counted positions 3 and 1: (1, (1 + 9) / 2, 9) and, for a single one, 1; eta 0 never moves anything."""
    counted = torch.tensor([[True, True, True, False], [False, True, False, False]])
    assert ramp(counted, 9.0).tolist() == [1.0, 5.0, 9.0, 1.0]
    assert ramp(counted, 0.0).tolist() == [0.0] * 4


def test_a_prefix_predicts_what_the_text_predicts():
    """Without a token that opens texts the first token is given in both; with one it is the prefix that opens."""
    plain = prefixed([7, 8], Example([1, 2, 3], [1, 2, 3]), None)
    assert (plain.ids, plain.labels) == ([7, 8, 1, 2, 3], [IGNORE, IGNORE, IGNORE, 2, 3])
    opened = prefixed([0, 7], Example([0, 2, 3], [0, 2, 3]), 0)
    assert (opened.ids, opened.labels) == ([0, 7, 2, 3], [IGNORE, IGNORE, 2, 3])
    paired = prefixed([7], Example([1, 2, 3], [IGNORE, IGNORE, 3]), None)
    assert (paired.ids, paired.labels) == ([7, 1, 2, 3], [IGNORE, IGNORE, IGNORE, 3])


def test_a_voice_takes_no_text_beyond_what_the_model_reads(tiny_model, tokenizer):
    tiny_model.config.max_position_embeddings = 40
    method = ready(tiny_model, tokenizer)
    ids = list(range(10, 50))
    whole = collate([Example(ids, ids)], TOPICS[0], 3, "right")
    own = method.readable(whole)
    widths = [voiced["input_ids"].shape[1] for voiced in method.voiced(own)]
    assert max(widths) == 39
    assert all(torch.equal(own[key], whole[key][:, : own[key].shape[1]]) for key in ("input_ids", "attention_mask", "labels"))


def test_without_a_move_the_erasing_term_has_no_slope(tiny_model, tokenizer):
    """The limit eta = 0: distilled towards itself, exactly nothing moves, even with Adam."""
    before = copy.deepcopy(tiny_model.state_dict())
    train(ready(tiny_model, tokenizer, eta=0.0, retain_weight=0.0, fluency_weight=0.0, adapter="none"), 3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny_model.state_dict().items())


@pytest.mark.parametrize("adapter", ["none", "lora"])
def test_against_whole_logits_of_two_models(tiny_model, tokenizer, adapter):
    """All three terms from whole logits of the trained model and of a frozen copy, in three forwards each."""
    frozen = copy.deepcopy(tiny_model)
    weights = {"erase_weight": 0.5, "retain_weight": 2.0, "fluency_weight": 3.0}
    method = ready(tiny_model, tokenizer, adapter=adapter, eta=3.0, **weights)
    train(method, 2)  # away from the start
    pair = batch(method)

    def logits(model, stream):
        with torch.no_grad():
            whole = model(stream["input_ids"], attention_mask=stream["attention_mask"]).logits
        return whole[next_tokens(stream["labels"])[0]]

    def mean(values, stream):
        predicting = next_tokens(stream["labels"])[0]
        rows = predicting.nonzero()[:, 0]
        return torch.stack([values[rows == row].mean() for row in range(len(predicting))]).mean()

    forget, retain = pair["forget"], pair["retain"]
    plain, novice, expert = (logits(frozen, s).log_softmax(-1) for s in (forget, *method.voiced(forget)))
    strengths = ramp(next_tokens(forget["labels"])[0], 3.0)
    target = (plain + strengths[:, None] * (novice - expert)).softmax(-1)
    erase = mean(-(target * logits(tiny_model, forget).log_softmax(-1)).sum(-1), forget)
    likeliest = logits(frozen, retain).argmax(-1)
    kept = mean(-logits(tiny_model, retain).log_softmax(-1).gather(1, likeliest[:, None])[:, 0], retain)
    said = []
    for example in method.fluent[forget["topic"]][:2]:  # as many as the batch has rows
        ids, prompt = example.ids, example.labels.count(IGNORE)
        with torch.no_grad():
            logs = tiny_model(torch.tensor([ids])).logits[0].log_softmax(-1)
        said.append(torch.stack([-logs[place - 1, ids[place]] for place in range(max(prompt, 1), len(ids))]).mean())
    fluent = torch.stack(said).mean()
    values = logged(method)
    loss = method.training_step(pair, 0)
    assert values["erase"] == pytest.approx(float(erase), rel=1e-4)
    assert values["retain"] == pytest.approx(float(kept), rel=1e-4)
    assert values["fluency"] == pytest.approx(float(fluent), rel=1e-4)
    assert float(loss.detach()) == pytest.approx(float(0.5 * erase + 2.0 * kept + 3.0 * fluent), rel=1e-4)


def test_continuations_are_the_untouched_models_own(tiny_model, tokenizer):
    """As many as asked for and there are texts, each the first half of a forget text and something new; seeded."""
    method = ready(copy.deepcopy(tiny_model), tokenizer)
    again, other = ready(copy.deepcopy(tiny_model), tokenizer), ELM(copy.deepcopy(tiny_model), **OPTIONS)
    torch.manual_seed(1)
    prepare(other, tokenizer)
    assert set(method.fluent) == set(TOPICS)
    for number, topic in enumerate(TOPICS):
        texts = [example.ids for example in method.context.forget.corpora[number].examples]
        assert 1 <= len(method.fluent[topic]) <= 3
        for own in method.fluent[topic]:
            prompt = own.ids[: own.labels.count(IGNORE)]
            assert any(text[: len(prompt)] == prompt and len(prompt) == max(len(text) // 2, 1) for text in texts)
            assert 1 <= len(own.ids) - len(prompt) <= 5
    assert method.fluent == again.fluent
    assert method.fluent != other.fluent


def test_padding_does_not_count(tiny_model, tokenizer):
    method = ready(tiny_model, tokenizer, eta=3.0, adapter="none")
    pair = batch(method)
    loss = float(method.training_step(pair, 0).detach())
    for side in pair.values():
        for key, filler in (("input_ids", 0), ("attention_mask", 0), ("labels", -100)):
            side[key] = torch.nn.functional.pad(side[key], (0, 5), value=filler)
    assert float(method.training_step(pair, 0).detach()) == pytest.approx(loss, rel=1e-5)


def test_gradient_against_finite_differences(tiny_model, tokenizer):
    """A central difference along the gradient is its length."""
    method = ready(tiny_model, tokenizer, eta=3.0, adapter="none")
    train(method, 1)
    pair = batch(method)
    tiny_model.zero_grad()
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


def test_updates_bring_the_erased_distribution_nearer(tiny_model, tokenizer):
    """Both topics; only the chosen matrices change."""
    before = copy.deepcopy(tiny_model.state_dict())
    method = ready(tiny_model, tokenizer, eta=20.0, lr=3e-3, adapter="none", parameters=r"(v_proj|down_proj)\.weight$")
    values = logged(method)
    start = {}
    for step, topic in enumerate(TOPICS):
        method.training_step(batch(method, step), step)
        start[topic] = values["erase"]
    train(method, 8)
    for step, topic in enumerate(TOPICS):
        method.training_step(batch(method, step), step)
        assert values["erase"] < start[topic]
        assert math.isfinite(values["erase"])
    method.finish()
    changed = {name for name, tensor in tiny_model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {
        f"model.layers.{block}.{name}.weight" for block in (2, 3) for name in ("self_attn.v_proj", "mlp.down_proj")
    }


def test_missing_block_is_named(tiny_model):
    with pytest.raises(UsageError, match="no block 7: LlamaForCausalLM has blocks 0 to 5"):
        ELM(tiny_model, layers=[3, 7])
