"""How conversations become prompts, and what ends an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Message = dict[str, str]  # role and content
PLAIN_STOPS = ("\nUser:", "\nAssistant:")  # where a model without a chat template begins to talk to itself
_MARK = "an answer"


def render_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """The conversation as the model's chat template writes it; plain `Role: text` lines where it has none.

    Raises:
        UsageError: the template refuses the conversation.
    """
    if tokenizer.chat_template:
        return _templated(messages, tokenizer, ask=True)
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n".join([*lines, "Assistant:"])


def encode_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens of `render_chat`; a chat template writes its special tokens itself."""
    text = render_chat(messages, tokenizer)
    return list(tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"])


def stop_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """What ends an answer: the tokenizer's end token, those of the model's settings, and what its template puts there."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    stops = {configured} if isinstance(configured, int) else set(configured or ())
    if isinstance(tokenizer.eos_token_id, int):
        stops.add(tokenizer.eos_token_id)
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": "a question"}, {"role": "assistant", "content": _MARK}]
        after = _templated(messages, tokenizer, ask=False).rpartition(_MARK)[2]
        first = list(tokenizer(after, add_special_tokens=False)["input_ids"])[:1]
        stops |= set(first) & set(tokenizer.all_special_ids)
    return stops


def stop_texts(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Texts that end an answer; a chat template needs none."""
    return () if tokenizer.chat_template else PLAIN_STOPS


def _templated(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase, *, ask: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask))
    except (TemplateError, ValueError, TypeError) as error:
        raise UsageError(f"The model's chat template refuses a plain conversation of user and assistant: {error}.") from error
