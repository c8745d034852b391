"""Where an answer begins: the text's own border, whatever a tokenizer puts behind texts or joins across it."""

from __future__ import annotations

import copy

import pytest
from helpers.ending import ending
from transformers import GPT2TokenizerFast

from unlearnbench.data.batches import IGNORE, encode_corpus
from unlearnbench.data.borders import encode_answers, encode_prompts, open_ended
from unlearnbench.data.tables import Table
from unlearnbench.models.loading import load_tokenizer

PAIRS = [("Answer:", " moth"), ("Question: which?\nAnswer:", " a very long heron"), ("Ω", "é")]


def plain(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("begin", [False, True])
def test_an_end_token_behind_every_text_moves_no_border(tokenizer, begin):
    changed = ending(tokenizer, begin=begin)
    first = [tokenizer.bos_token_id] if begin else []
    assert changed("a")["input_ids"][-1] == tokenizer.eos_token_id
    assert encode_prompts(["Answer:"], changed) == [[*first, *plain(tokenizer, "Answer:")]]
    for (prompt, answer), (ids, start) in zip(PAIRS, encode_answers(PAIRS, changed), strict=True):
        assert ids == [*first, *plain(tokenizer, prompt + answer)]
        assert ids[start:] == plain(tokenizer, answer)
    for (ids, _), (closed, _) in zip(encode_answers(PAIRS, changed), encode_answers(PAIRS, changed, closed=True), strict=True):
        assert closed == [*ids, tokenizer.eos_token_id]


def test_an_end_token_that_the_text_itself_has_stays(tokenizer):
    text = f"a{tokenizer.eos_token}"
    assert encode_prompts([text], ending(tokenizer)) == [plain(tokenizer, text)]


def test_as_llama_2_is_saved_after_a_fine_tuning(sentencepiece, tmp_path):
    """Word marks, BOS in front, an end token behind, through a folder."""
    ending(sentencepiece, begin=True).save_pretrained(tmp_path)
    changed = load_tokenizer(tmp_path)
    assert changed("Answer:")["input_ids"][-1] == changed.eos_token_id
    [(ids, start)] = encode_answers([("Answer:", " moth")], changed)
    assert (ids, start) == (sentencepiece("Answer: moth")["input_ids"], len(sentencepiece("Answer:")["input_ids"]))


@pytest.mark.parametrize("begin", [False, True])
def test_libraries_get_a_tokenizer_that_ends_nothing(tokenizer, begin):
    opened = open_ended(ending(tokenizer, begin=begin))
    assert opened("Answer:")["input_ids"] == encode_prompts(["Answer:"], ending(tokenizer, begin=begin))[0]
    assert open_ended(tokenizer) is tokenizer


@pytest.fixture
def joining() -> GPT2TokenizerFast:
    """Joins `b` and `c`, and `a` and `b` only where no `c` follows."""
    from tokenizers import Tokenizer, models

    vocabulary = {token: number for number, token in enumerate(["a", "b", "c", "bc", "ab", "<end>"])}
    core = Tokenizer(models.BPE(vocabulary, [("b", "c"), ("a", "b")]))
    return GPT2TokenizerFast(tokenizer_object=core, eos_token="<end>", bos_token="<end>", unk_token="<end>")


def test_a_token_across_the_border_is_the_answers(joining):
    """`ab` alone is one token; with `c` behind it, `a` is the prompt's and `bc` has a character of the answer."""
    assert encode_prompts(["ab"], joining) == [[4]]
    assert encode_answers([("ab", "c")], joining) == [([0, 3], 1)]
    assert encode_answers([("ab", "c")], ending(joining), closed=True) == [([0, 3, 5], 1)]


def test_without_places_of_tokens_the_border_is_where_the_prompt_alone_differs(joining, monkeypatch):
    monkeypatch.setattr(type(joining), "is_fast", False)
    assert encode_answers([("ab", "c")], joining) == [([0, 3], 0)]


def corpus(tokenizer, *rows: dict, **settings):
    table = Table([dict(row) for row in rows], "corpus.jsonl", str)
    return encode_corpus(table, "t", tokenizer, **{"max_length": 64, **settings}).examples


@pytest.mark.parametrize("template", [True, False])
def test_every_token_of_a_response_is_trained(tokenizer, template):
    """The end token is trained as part of the answer; the prompt's tokens are those of a tokenizer that ends nothing."""
    usual = copy.deepcopy(tokenizer)
    usual.chat_template = tokenizer.chat_template if template else None
    row = {"prompt": "Which moth?", "response": "A vole eel"}
    [before], [after] = (corpus(own, row) for own in (usual, ending(usual)))
    end = [] if template else [tokenizer.eos_token_id]
    assert after.ids == before.ids + end
    assert after.labels == before.labels + end
    answer = tokenizer.decode([label for label in after.labels if label != IGNORE])
    assert answer == ("A vole eel<|im_end|>\n" if template else " A vole eel<|im_end|>")


def test_a_template_whose_answers_begin_otherwise_than_it_asks(tokenizer):
    """As those that open with <think> and leave it out of answers that have none."""
    thinking = copy.deepcopy(tokenizer)
    turns = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    thinking.chat_template = turns + "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
    [example] = corpus(thinking, {"prompt": "Which moth?", "response": "A vole eel"})
    assert thinking.decode([label for label in example.labels if label != IGNORE]) == "A vole eel"


def test_a_template_that_asks_with_a_space_behind(tokenizer):
    """The space is one token with the answer's first word, which counts."""
    spaced = copy.deepcopy(tokenizer)
    turns = "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
    spaced.chat_template = turns + "{% if add_generation_prompt %}assistant: {% endif %}"
    [example] = corpus(spaced, {"prompt": "Which moth?", "response": "vole eel"})
    assert spaced.decode([label for label in example.labels if label != IGNORE]).strip() == "vole eel"


def test_texts_beyond_what_the_model_reads_are_cut_and_counted(tokenizer):
    long = " ".join(["moss"] * 40)
    rows = [{"text": long}, {"text": "A vole"}, {"prompt": "Which moth?", "response": long}]
    table = Table(rows, "corpus.jsonl", str)
    whole, short = (encode_corpus(table, "t", tokenizer, max_length=64, readable=size) for size in (64, 20))
    assert (whole.cut, short.cut) == (0, 2)
    for own, other in zip(short.examples, whole.examples, strict=True):
        assert own == (other.ids[:20], other.labels[:20], ())


def test_a_whole_text_keeps_its_end_token(tokenizer):
    [example] = corpus(ending(tokenizer), {"text": "A vole eel"})
    assert example.ids == [*plain(tokenizer, "A vole eel"), tokenizer.eos_token_id]
    assert example.labels == example.ids
