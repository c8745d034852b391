"""Answers in batches: the same alone and together, with what went before in memory or not, and with any model."""

from __future__ import annotations

import copy

import pytest
import torch

from unlearnbench.errors import UsageError
from unlearnbench.scoring.generation.chat import encode_chat, render_chat, stop_tokens
from unlearnbench.scoring.generation.generate import Answer, Request, SeededDraw, continue_texts, generate
from unlearnbench.scoring.generation.seeded_draw import noisy


def talk(*turns: str) -> tuple[dict[str, str], ...]:
    return tuple({"role": "user" if i % 2 == 0 else "assistant", "content": turn} for i, turn in enumerate(turns))


@pytest.fixture
def talker(tiny_model):
    """A random model that ends an answer at every tenth token or so."""
    tiny_model.generation_config.eos_token_id = list(range(3, 2048, 10))
    return tiny_model


def asked(count: int) -> list[Request]:
    """Prompts of many lengths, greedy and sampled."""
    temperatures = [0.7, 0.0, 0.1, 0.7, 1.0]
    return [
        Request(talk("Tell me " + "more " * (number * 3 % 11) + "please"), temperatures[number % 5], f"seed {number}")
        for number in range(count)
    ]


def converse(model, tokenizer, requests, *, rows, second="And then?", most=12):
    """Two turns each; the answers by conversation."""
    said: dict[int, list[Answer]] = {}

    def follow(index, answer):
        said.setdefault(index, []).append(answer)
        if len(said[index]) == 2 or answer.error:
            return None
        more = ({"role": "assistant", "content": answer.text}, {"role": "user", "content": second})
        first = requests[index]
        return Request((*first.messages, *more), first.temperature, first.seed + "/2")

    last = generate(model, tokenizer, requests, max_new_tokens=most, follow=follow, rows=rows)
    assert last == [said[index][-1] for index in range(len(requests))]
    return [said[index] for index in range(len(requests))]


@pytest.mark.parametrize("rows", [3, 8])
def test_rows_that_come_and_go_change_nothing(talker, tokenizer, rows):
    requests = asked(11)
    alone = converse(talker, tokenizer, requests, rows=1)
    assert converse(talker, tokenizer, requests, rows=rows) == alone
    assert len({answer.text for answers in alone for answer in answers}) > 10
    assert len({answer.tokens for answers in alone for answer in answers}) > 1  # some ended early


def test_a_second_turn_is_the_same_when_asked_anew(talker, tokenizer):
    """As after a restart: what was in memory is computed again."""
    requests = asked(7)
    for request, (first, second) in zip(requests, converse(talker, tokenizer, requests, rows=4), strict=True):
        more = ({"role": "assistant", "content": first.text}, {"role": "user", "content": "And then?"})
        again = Request((*request.messages, *more), request.temperature, request.seed + "/2")
        assert generate(talker, tokenizer, [again], max_new_tokens=12) == [second]


def test_a_seed_decides_what_is_sampled_and_nothing_else(tiny_model, tokenizer):
    requests = asked(5)
    others = [Request(request.messages, request.temperature, request.seed + "!") for request in requests]
    one, other = (generate(tiny_model, tokenizer, asked, max_new_tokens=12) for asked in (requests, others))
    assert one[1] == other[1]
    assert one[0] != other[0]


def test_rows_equal_the_models_own_generate(talker, tokenizer, monkeypatch):
    """Greedy and sampled, padded batches of transformers against slots."""
    from unlearnbench.scoring.generation import generate as module

    requests = asked(6)
    ours = converse(talker, tokenizer, requests, rows=4)
    monkeypatch.setattr(module, "reach", lambda model: 0)
    assert converse(talker, tokenizer, requests, rows=4) == ours


def test_models_without_plain_keys_and_values(tokenizer):
    """A recurrent model takes the plain way, and one with windows where a text is longer; they answer alike all the same."""
    from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM

    from unlearnbench.scoring.generation.slots import reach

    torch.manual_seed(0)
    requests = asked(4)
    lengths = [len(encode_chat(request.messages, tokenizer)) + 6 for request in requests]
    middle = (min(lengths) + max(lengths)) // 2
    small = {"vocab_size": 2048, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.2}
    window = {"intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": middle}
    models = {0: MambaForCausalLM(MambaConfig(**small)), middle: MistralForCausalLM(MistralConfig(**small, **window))}
    for tokens, model in models.items():
        model.eval()
        assert reach(model) == tokens
        assert converse(model, tokenizer, requests, rows=3, most=6) == converse(model, tokenizer, requests, rows=1, most=6)


def test_seeded_draws_follow_the_distribution():
    """4,000 draws from (.5, .3, .2): each share within four standard errors."""
    probability = torch.tensor([0.5, 0.3, 0.2])
    drawn = torch.stack([noisy(probability.log(), 1.0, str(number), 0).argmax() for number in range(4000)])
    shares = torch.bincount(drawn, minlength=3) / 4000
    assert torch.all((shares - probability).abs() < 4 * (probability * (1 - probability) / 4000).sqrt())


def test_the_fallback_draws_alike():
    scores = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    requests = [Request((), 0.7, "a"), Request((), 0.0, "b")]
    drawn = SeededDraw(requests, width=2)(torch.zeros(2, 5, dtype=torch.long), scores)
    assert torch.equal(drawn[0], noisy(scores[0], 0.7, "a", 3))
    assert torch.equal(drawn[1], scores[1])


def test_a_conversation_that_the_model_cannot_read_is_an_error(tiny_model, tokenizer):
    """Never an empty text; the others are answered, and what fills the model's reach exactly is cut there."""
    requests = [*asked(2), Request(talk("more " * 600), 0.0, "long")]
    answers = generate(tiny_model, tokenizer, requests, max_new_tokens=8)
    assert [bool(answer.error) for answer in answers] == [False, False, True]
    assert answers[2].error.endswith("the model reads 512")
    assert answers[2].text == ""
    tight = converse(tiny_model, tokenizer, asked(1), rows=1, second="word " * 600)
    assert "the model reads 512" in tight[0][1].error


def test_an_output_that_is_no_number_is_an_error(tiny_model, tokenizer):
    with torch.no_grad():
        tiny_model.model.embed_tokens.weight[tokenizer("Zeara")["input_ids"][-1]] = float("nan")
    answers = generate(tiny_model, tokenizer, [Request(talk("Zeara"), 0.0, "x")], max_new_tokens=4)
    assert "not finite" in answers[0].error


def test_memory_that_does_not_suffice_halves_the_rows(talker, tokenizer, monkeypatch):
    """Steps with more than two rows fail as a full GPU does; the answers stay the same."""
    from unlearnbench.scoring.generation.slots import Slots

    requests = asked(9)
    expected = converse(talker, tokenizer, requests, rows=1)
    step, most = Slots.step, 2

    def full(slots, tokens):
        if len(tokens) > most:
            raise torch.OutOfMemoryError
        return step(slots, tokens)

    monkeypatch.setattr(Slots, "step", full)
    assert converse(talker, tokenizer, requests, rows=8) == expected
    most = 0
    assert {answer.error for answer in generate(talker, tokenizer, requests, max_new_tokens=3)} == {
        "the memory does not suffice for one conversation"
    }


def test_model_without_a_template_gets_plain_lines_and_stops_at_the_next(tiny_model, tokenizer):
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    assert render_chat(talk("Hello", "Hi", "Bye"), plain) == "User: Hello\nAssistant: Hi\nUser: Bye\nAssistant:"
    assert generate(tiny_model, plain, asked(2), max_new_tokens=4)
    from unlearnbench.scoring.generation.generate import _Row, _Writer

    writer = _Writer(tiny_model, plain, 50, lambda index, answer: None)
    row = _Row(0, asked(1)[0], [1], 50)
    tokens = plain(" It is blue.\nUser: And what then?", add_special_tokens=False)["input_ids"]
    ends = [answer for token in tokens if (answer := writer._write(row, token)) is not None]
    assert ends[0].text == "It is blue."
    assert ends[0].ended


def test_what_the_template_puts_behind_an_answer_ends_it(tiny_model, tokenizer):
    changed = copy.deepcopy(tokenizer)
    changed.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    changed.chat_template = "{% for m in messages %}{{ m.content }}<|turn|>{% endfor %}"
    assert changed.convert_tokens_to_ids("<|turn|>") in stop_tokens(tiny_model, changed)
    changed.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(UsageError, match=r"refuses a conversation of user, assistant: no such role\."):
        generate(tiny_model, changed, asked(1), max_new_tokens=2)


def test_continuations_that_do_not_see_a_token(talker, tokenizer):
    """As transformers reads its mask: the token is not seen, and those behind it move up. A loop of whole forwards says so."""
    hidden, most = 9, 8
    prompts = [[5, 9, 7, 9, 8, *range(20, 20 + size)] for size in (1, 6, 3)] + [[4, 5, 6, 7]]
    found = continue_texts(talker, tokenizer, prompts, max_new_tokens=most, temperature=0.0, hidden=hidden)
    assert found[:3] != continue_texts(talker, tokenizer, prompts, max_new_tokens=most, temperature=0.0)[:3]
    stops = stop_tokens(talker, tokenizer)
    for prompt, continuation in zip(prompts, found, strict=True):
        ids, mask, written = list(prompt), [int(token != hidden) for token in prompt], []
        while len(written) < most:
            places = (torch.tensor([mask]).cumsum(-1) - 1).clamp_min(0)
            with torch.no_grad():
                inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.tensor([mask]), "position_ids": places}
                token = int(talker(**inputs).logits[0, -1].argmax())
            if token in stops:
                break
            written.append(token)
            ids, mask = [*ids, token], [*mask, 1]
        assert continuation == written
