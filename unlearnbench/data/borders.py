"""The border between a prompt and its answer, in tokens: where the text has it, whatever tokens a tokenizer appends."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Answered(NamedTuple):
    """A prompt with its answer, tokenised as one text.

    Attributes:
        ids: token ids of the whole text.
        start: index of the answer's first token.
    """

    ids: list[int]
    start: int


def encode_prompts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, special: bool = True) -> list[list[int]]:
    """Tokenise texts that something follows: with the tokenizer's opening tokens, never with its end tokens.

    Many tokenizers put an end token behind every text, since they were saved after a fine-tuning.

    Args:
        texts: the texts, in any order.
        tokenizer: the model's tokenizer.
        special: true to add the tokenizer's special tokens; false for the text of a chat template, which writes them itself.

    Returns:
        the token ids of each text, in their order.
    """
    if not texts:
        return []
    encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=special)["input_ids"]
    behind = _closing(tokenizer) if special else 0
    return [ids[: len(ids) - behind] for ids in encoded]


def encode_answers(
    pairs: Sequence[tuple[str, str]], tokenizer: PreTrainedTokenizerBase, *, special: bool = True, closed: bool = False
) -> list[Answered]:
    """Tokenise prompts with their answers; a token that has a character of the answer belongs to the answer.

    Args:
        pairs: the pairs of prompt and answer, one text when joined.
        tokenizer: the model's tokenizer.
        special: true to add special tokens, as in `encode_prompts`.
        closed: true keeps the tokens that the tokenizer puts behind a text; they belong to the answer.
    """
    if not pairs:
        return []
    texts = [prompt + answer for prompt, answer in pairs]
    prompts = list(dict.fromkeys(prompt for prompt, _ in pairs))
    alone = dict(zip(prompts, encode_prompts(prompts, tokenizer, special=special), strict=True))
    encoded: list[list[int]] = tokenizer(texts, add_special_tokens=special)["input_ids"]
    behind = _closing(tokenizer) if special else 0
    answered: list[Answered] = []
    for (prompt, _), text, ids in zip(pairs, texts, encoded, strict=True):
        unclosed = ids[: len(ids) - behind]
        answered.append(
            Answered(ids if closed else unclosed, _border(prompt, text, alone[prompt], unclosed, tokenizer, special))
        )
    return answered


def open_ended(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Return the tokenizer, or a copy of it, that puts nothing behind a text: for libraries that tokenise prompts themselves.

    Args:
        tokenizer: the model's tokenizer.

    Raises:
        UsageError: what it puts there cannot be taken off.
    """
    if not _closing(tokenizer):
        return tokenizer
    changed: Any = copy.deepcopy(tokenizer)
    if changed.is_fast:
        content = json.loads(changed.backend_tokenizer.to_str())
        for processor in content["post_processor"].get("processors", [content["post_processor"]]):
            while processor.get("single") and "SpecialToken" in processor["single"][-1]:
                processor["single"].pop()
        changed.backend_tokenizer.post_processor = type(changed.backend_tokenizer).from_str(json.dumps(content)).post_processor
    if _closing(changed):
        raise UsageError("its tokenizer puts an end token behind every prompt; save the model with one that does not.")
    return changed


def common_length(texts: Sequence[str] | Sequence[list[int]]) -> int:
    """Return the number of characters or tokens that all texts begin with."""
    first, last = min(texts), max(texts)  # in lexicographic order: what these two share, all share
    return next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def _border(prompt: str, text: str, alone: list[int], ids: list[int], tokenizer: PreTrainedTokenizerBase, special: bool) -> int:
    """Return the index at which the answer begins; a tokenizer may join the prompt's last characters with the answer's
    first.
    """
    if ids[: len(alone)] == alone:
        return len(alone)
    if not tokenizer.is_fast:  # it knows no places of tokens in the text
        return common_length([alone, ids])
    places = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)["offset_mapping"]
    return next((place for place, (_, end) in enumerate(places[: len(ids)]) if end > len(prompt)), len(ids))


def _closing(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the number of tokens that the tokenizer puts behind every text."""
    added: list[int] = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    return sum(1 for _ in takewhile(bool, reversed(added)))
