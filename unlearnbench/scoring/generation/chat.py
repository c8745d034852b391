"""Requests and answers of a conversation: how a request becomes a prompt, and the tokens that end an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unlearnbench.data.borders import encode_prompts
from unlearnbench.data.chat_template import Message, render_template

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PLAIN_STOPS = ("\nUser:", "\nAssistant:")  # where a model without a chat template begins to talk to itself
_MARK = "an answer"


@dataclass(frozen=True)
class Request:
    """One answer that is wanted of a model.

    Attributes:
        messages: the conversation so far, `{"role": ..., "content": ...}` each, ending with a user's turn.
        temperature: the sampling temperature; 0 takes the likeliest token each time.
        seed: any text; the same seed draws the same answer, alone or in a batch.
    """

    messages: tuple[Message, ...]
    temperature: float
    seed: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A model's answer.

    Attributes:
        text: the answer, without special tokens and surrounding space.
        tokens: the number of generated tokens, without the one that ended it.
        ended: true where the model ended the answer, false where it was cut at the limit.
        error: the reason why there is no answer; empty where there is one.
    """

    text: str = ""
    tokens: int = 0
    ended: bool = True
    error: str = ""


def render_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """Write the conversation in the model's chat template; in plain `Role: text` lines where it has none.

    Raises:
        UsageError: the template refuses the conversation.
    """
    if tokenizer.chat_template:
        return render_template(messages, tokenizer)
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n".join([*lines, "Assistant:"])


def encode_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the tokens of `render_chat`, without end tokens; a chat template writes its special tokens itself."""
    return encode_prompts([render_chat(messages, tokenizer)], tokenizer, special=not tokenizer.chat_template)[0]


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that end a text: the tokenizer's end token and those of the model's settings."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    stops: set[int] = {configured} if isinstance(configured, int) else set(configured or ())
    if isinstance(tokenizer.eos_token_id, int):
        stops.add(tokenizer.eos_token_id)
    return stops


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Return the tokens that end an answer: those that end a text, and the one that the chat template puts behind an answer."""
    stops = end_tokens(model, tokenizer)
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": _MARK}]
        after = render_template(messages, tokenizer).rpartition(_MARK)[2]
        first = list(tokenizer(after, add_special_tokens=False)["input_ids"])[:1]
        stops |= set(first) & set(tokenizer.all_special_ids)
    return stops


def stop_texts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Return the texts that end an answer; a chat template needs none."""
    return () if tokenizer.chat_template else PLAIN_STOPS
