"""Tokenizers of one token per character, with the special tokens and chat templates of families of models."""

from __future__ import annotations

import string

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CHARACTERS = string.ascii_letters + string.digits + string.punctuation + " \n"
LLAMA3 = (
    "{{ '<bos>' }}{% for m in messages %}{{ '<head>' + m['role'] + ' ' + date_string + '\n' + m['content'] + '<end>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<head>assistant ' + date_string + '\n' }}{% endif %}"
)
QWEN = (
    "{% for m in messages %}{{ '<head>' + m['role'] + '\n' + m['content'] + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<head>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{{ '<head>' + m['role'] + '\n' + m['content'] | trim + '<turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<head>assistant\n' }}{% endif %}"
)


def toy(*, template: str | None = None, bos: bool = True, pad: bool = False, joined: tuple[str, ...] = ()):
    """A tokenizer of characters; `joined` are texts that are one token, <end> is what ends a text."""
    special = ["<end>", "<bos>", "<pad>", "<head>", "<turn>"]
    vocabulary = {token: number for number, token in enumerate([*special, *joined, *CHARACTERS])}
    pieces = "|".join([*joined, r"[\s\S]"])
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    backend.decoder = decoders.Fuse()
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<end>",
        bos_token="<bos>",
        extra_special_tokens=["<head>", "<turn>"],
        **({"pad_token": "<pad>"} if pad else {}),
    )
    tokenizer.chat_template = template
    return tokenizer
