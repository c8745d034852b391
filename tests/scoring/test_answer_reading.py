"""One pass over answers equals a naive loop: for any batch, with and without a hidden token, packed and padded."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, BloomConfig, LlamaConfig, LlamaForCausalLM

from unlearnbench.data.borders import Answered
from unlearnbench.errors import UsageError
from unlearnbench.scoring import answer_reading
from unlearnbench.scoring.answer_reading import AnswerReading, read_answers
from unlearnbench.scoring.choice import log_likelihood

END = 9


def llama(**settings) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(**shape, num_key_value_heads=2, max_position_embeddings=96, initializer_range=0.3, **settings)
    return LlamaForCausalLM(config).eval().double()


@pytest.fixture(scope="module")
def answers() -> list[Answered]:
    """Twelve prompts with a common beginning and seven answers each, which begin alike, too; END stands in some prompts."""
    rng = random.Random(0)

    def draw(low, high):
        return [rng.randrange(60) for _ in range(rng.randrange(low, high))]

    found = []
    start = [1, *draw(10, 14), END, 4]
    for _ in range(12):
        prompt = [*start, *draw(3, 25), END, 5]
        first = draw(2, 6)
        found += [Answered([*prompt, *first[: rng.randrange(6)], *draw(1, 12), END], len(prompt)) for _ in range(7)]
    return found


def naive(model, answer, hidden=None) -> AnswerReading:
    """A forward for one text; every figure from the whole softmax."""
    ids = torch.tensor([answer.ids])
    mask = torch.ones_like(ids) if hidden is None else (ids != hidden).long()
    with torch.no_grad():
        logs = model(input_ids=ids, attention_mask=mask).logits[0].log_softmax(-1)
    first = max(answer.start, 1)
    logs, tokens = logs[first - 1 : -1], ids[0, first:]
    p = logs.exp()
    means = (p * logs).sum(-1)
    chosen = logs.gather(1, tokens[:, None])[:, 0]
    squares = (p * logs**2).sum(-1)
    columns = (chosen, logs.argmax(-1) == tokens, means, squares - means**2)
    return AnswerReading(*(tuple(column.tolist()) for column in columns))


def same(found: AnswerReading, expected: AnswerReading, close=1e-10) -> None:
    assert found.hits == expected.hits
    for one, other in zip((found[0], *found[2:]), (expected[0], *expected[2:]), strict=True):
        assert one == pytest.approx(other, abs=close)


@pytest.mark.parametrize("hidden", [None, END])
@pytest.mark.parametrize("size", [1, 3, 7, 84])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_one_pass_is_a_naive_loop(answers, tokenizer, monkeypatch, hidden, size, packed):
    model = llama()
    if not packed:
        monkeypatch.setattr(log_likelihood, "packs", lambda *_, **__: False)
    order = random.Random(size).sample(range(len(answers)), len(answers))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        read = dict(read_answers(model, tokenizer, [answers[n] for n in chosen], moments=True, hidden=hidden))
        assert sorted(read) == list(range(len(chosen)))
        for number, place in enumerate(chosen):
            same(read[number], naive(model, answers[place], hidden))
        if size < 7 and start > 20:
            break


def test_packed_texts_share_their_beginnings(answers, tokenizer, monkeypatch):
    """Far fewer tokens run than the texts have, hidden tokens or not; logits stand in memory for few positions."""
    model = llama()
    seen = []
    model.model.register_forward_hook(lambda _m, _a, options, _o: seen.append(options["input_ids"].numel()), with_kwargs=True)
    monkeypatch.setattr(answer_reading, "LOGITS_AT_ONCE", 60 * 5)
    list(read_answers(model, tokenizer, answers))
    seen.clear()  # without the trial of whether it can be packed
    shapes = []
    model.lm_head.register_forward_hook(lambda _m, _a, output: shapes.append(output.shape[-2]))
    read = dict(read_answers(model, tokenizer, answers, hidden=END))
    ran = sum(seen)
    assert ran < 0.6 * sum(len(answer.ids) for answer in answers)
    assert max(shapes) <= 5
    assert read[0].means == read[0].variances == ()


def test_hidden_tokens_matter(answers, tokenizer):
    model = llama()
    seen, unseen = (dict(read_answers(model, tokenizer, answers, hidden=hidden)) for hidden in (None, END))
    assert any(abs(a - b) > 1e-3 for a, b in zip(seen[0].log_probabilities, unseen[0].log_probabilities, strict=True))


def test_a_family_that_is_padded(answers, tokenizer):
    torch.manual_seed(0)
    config = BloomConfig(vocab_size=60, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    model = AutoModelForCausalLM.from_config(config).eval().double()
    read = dict(read_answers(model, tokenizer, answers[:9], moments=True))
    for number in range(9):
        same(read[number], naive(model, answers[number]))


def test_bfloat16_softmax_is_float32(answers, tokenizer):
    """What is read is not rounded to 8 bits, though the logits are."""
    model = llama().bfloat16()
    read = dict(read_answers(model, tokenizer, answers[:3]))
    value = torch.tensor(read[0].log_probabilities)
    assert not torch.equal(value, value.bfloat16().float())


def test_the_edges(tokenizer):
    model = llama()
    read = dict(read_answers(model, tokenizer, [Answered([3, 4], 2), Answered([3, 4, 5], 0), Answered([], 0)], moments=True))
    assert read[0] == read[2] == AnswerReading((), ())
    assert len(read[1].hits) == 2
    with pytest.raises(UsageError, match="reads 96"):
        list(read_answers(model, tokenizer, [Answered([1] * 97, 3)]))
    with pytest.raises(UsageError, match="embeddings for 60"):
        list(read_answers(model, tokenizer, [Answered([1, 60], 1)]))
