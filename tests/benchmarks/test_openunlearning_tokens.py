"""Which tokens count: golden endings for each family of templates, borders, hidden tokens, stop texts."""

from __future__ import annotations

import pytest
from helpers.toy_tokenizers import GEMMA, LLAMA3, QWEN, toy

from unlearnbench.errors import UsageError
from unlearnbench_benchmarks.openunlearning.evaluation import clean
from unlearnbench_benchmarks.openunlearning.profiles import MUSE, TOFU, Profile, table
from unlearnbench_benchmarks.openunlearning.templates import Completion, Template, encode_completion, hidden_token

OURS, CLEAN = TOFU["openunlearning"], TOFU["clean"]


def shown(tokenizer, ids):
    return [tokenizer.convert_ids_to_tokens(token) for token in ids]


def counted(template, tokenizer, profile=OURS):
    ids, start = Template(**template).encode("ab", "cd", tokenizer, profile)
    return shown(tokenizer, ids[start:])


@pytest.mark.parametrize(
    ("template", "tokenizer", "ending"),
    [
        ({}, toy(template=LLAMA3), ["<end>"]),  # the template's own is the end token: none is appended
        ({}, toy(template=QWEN, bos=False, pad=True), ["<end>", "\n", "<end>"]),
        ({}, toy(template=GEMMA, pad=True), ["<turn>", "\n", "<end>"]),
        ({}, toy(), ["<end>"]),
        ({"name": "llama-2-chat"}, toy(), ["<end>"]),
    ],
    ids=["llama-3", "qwen", "gemma", "question-answer", "llama-2"],
)
def test_endings_of_families(template, tokenizer, ending):
    """What counts beside the answer; the profile `clean` counts the answer alone, wherever it stands."""
    assert counted(template, tokenizer) == ["c", "d", *ending]
    assert counted(template, tokenizer, CLEAN) == ["c", "d"]


def test_whole_prompts():
    tokenizer = toy(template=LLAMA3)
    ids, start = Template().encode("ab", "cd", tokenizer, OURS)
    prompt = "<bos><head>system 10 Apr 2025\nYou are a helpful assistant.<end><head>user 10 Apr 2025\nab<end>"
    assert "".join(shown(tokenizer, ids[:start])) == prompt + "<head>assistant 10 Apr 2025\n"
    assert Template().prompt("ab", tokenizer) == ids[:start]
    dated = Template(date="1 Jan 2026", system="").texts("ab", "cd", tokenizer)[0]
    assert dated == "<bos><head>user 1 Jan 2026\nab<end><head>assistant 1 Jan 2026\n"
    plain = toy()
    ids, start = Template().encode("ab", "cd", plain, OURS, [("q", "a")])
    assert "".join(shown(plain, ids[:start])) == "<bos>Question: q\nAnswer: a\n\nQuestion: ab\nAnswer: "
    ids, start = Template(name="llama-2-chat").encode("ab", "cd", plain, OURS)
    assert "".join(shown(plain, ids[:start])) == "<bos>[INST] ab [/INST]"
    refusing = toy(template=GEMMA)  # no system text: asked without
    assert Template().texts("ab", "cd", refusing)[0] == "<bos><head>user\nab<turn>\n<head>assistant\n"


def test_a_token_across_the_border():
    """By length nothing counts but the end token, or it begins late; by the text the whole token is the answer's."""
    tokenizer = toy(joined=(": cd",))
    ids, start = Template().encode("ab", "cd", tokenizer, OURS)
    assert shown(tokenizer, ids[start:]) == []
    ids, start = Template().encode("ab", "cd", tokenizer, CLEAN)
    assert shown(tokenizer, ids[start:]) == [": cd"]


def test_completions():
    tokenizer = toy(bos=False)
    ids, start = encode_completion(Completion("ab", "cd"), tokenizer, OURS, longest=99)
    assert shown(tokenizer, ids[start:]) == [" ", "c", "d"]  # no end token
    ids, start = encode_completion(Completion("", "cde"), toy(), OURS, longest=2)
    assert (shown(tokenizer, ids), start) == (["<bos>", "c", "d"], 1)


def test_hidden_tokens():
    """What equals the padding token, which is the end token where there is no other; `clean` hides nothing."""
    assert hidden_token(toy(), OURS) == toy().eos_token_id
    assert hidden_token(toy(pad=True), OURS) == toy(pad=True).pad_token_id
    assert hidden_token(toy(), CLEAN) is None


def test_stop_texts():
    stops = ("\n\n", "\nQuestion", "Question:")
    assert clean("1472\n\nQuestion: x", toy(), stops) == "1472"
    assert clean("Question: a", toy(), stops) == ""
    assert clean("a\nQuestion: b\n\nc", toy(), stops) == "a"
    assert clean(" a<end>b", toy(), ()) == "a"


def test_a_template_that_cannot_be_used():
    assert "needs a chat template" in Template(name="chat").problem(toy())
    assert "refuses a question with its answer" in Template().problem(toy(template="{{ raise_exception('no') }}"))
    with pytest.raises(UsageError, match="refuses a question"):
        Template().encode("a", "b", toy(template="{{ raise_exception('no') }}"), OURS)
    assert Template().problem(toy()) == ""


@pytest.mark.parametrize("profiles", [TOFU, MUSE])
def test_table_has_every_difference(profiles):
    lines = list(table(profiles))
    assert lines[0] == "| | `openunlearning` | `original` | `clean` |"
    differing = [name for name in vars(Profile()) if len({getattr(profile, name) for profile in profiles.values()}) > 1]
    assert len(lines) == 2 + len(differing)
