"""The limits of a model: the tokens of one text that it can read, and the tokens of its vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from unlearnbench.data.chat_template import TALK, check_chat, render_template
from unlearnbench.errors import UsageError
from unlearnbench.models.folders import base_folder

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

LENGTHS = ("max_position_embeddings", "max_seq_len")  # what configs call it; transformers maps most other names to the first


def context_length(model: PreTrainedModel) -> int | None:
    """Return the number of tokens that the model can read at once; None where its config sets no bound."""
    config = model.config.get_text_config(decoder=True)
    return next((length for name in LENGTHS if isinstance(length := getattr(config, name, None), int) and length > 0), None)


def known_tokens(config: PretrainedConfig) -> int | None:
    """Return the number of tokens that a model has embeddings for; None where its config does not say."""
    return getattr(config.get_text_config(decoder=True), "vocab_size", None)


def tokens_known_in(folder: Path) -> int | None:
    """Return `known_tokens` of the model in a folder; None, too, where its config cannot be read."""
    from transformers import AutoConfig

    try:
        return known_tokens(AutoConfig.from_pretrained(base_folder(folder), trust_remote_code=False))
    except (OSError, ValueError, UsageError):
        return None


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, folder: Path) -> str:
    """Return why a model cannot read its tokenizer's tokens; empty where it can.

    Added tokens without an embedding that no text has are no reason: some models leave those of their pictures out.
    """
    known = tokens_known_in(folder)
    if known is None:
        return ""
    beyond = {number: token for token, number in tokenizer.get_vocab().items() if number >= known}
    written = set(beyond).difference(tokenizer.added_tokens_decoder) or beyond.keys() & _always_written(tokenizer)
    if not written:
        return ""
    first = min(written)
    return (
        f"the tokenizer writes token {first} ('{beyond[first]}'), and the model has embeddings for {known:,} tokens only; take "
        "the tokenizer that it was trained with, or `model.resize_token_embeddings(len(tokenizer))` before it is trained."
    )


def check_ids(texts: Iterable[Iterable[int]], model: PreTrainedModel) -> None:
    """Refuse tokens that the model has no embedding for.

    Raises:
        UsageError: names the largest.
    """
    known = known_tokens(model.config)
    largest = max((max(ids, default=0) for ids in texts), default=0)
    if known is not None and largest >= known:
        raise UsageError(f"A text has token {largest}, and the model has embeddings for {known:,} tokens only; take it out.")


def _always_written(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the special tokens that stand in every text, and those of a conversation."""
    ids = set(tokenizer("a")["input_ids"])
    if isinstance(tokenizer.eos_token_id, int):
        ids.add(tokenizer.eos_token_id)
    if tokenizer.chat_template and not check_chat(tokenizer):
        talk = [{"role": role, "content": "a"} for role in TALK]
        ids.update(tokenizer(render_template(talk, tokenizer), add_special_tokens=False)["input_ids"])
    return ids
