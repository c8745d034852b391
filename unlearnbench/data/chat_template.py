"""A model's chat template: the text of a conversation, and why a conversation cannot be written with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]  # role and content
"""A turn of a conversation: `role`, which is `system`, `user` or `assistant`, and `content`."""
TALK = ("user", "assistant", "user")


def render_template(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """Write a conversation in the tokenizer's chat template, up to where the assistant begins if it is its turn.

    Raises:
        UsageError: the template refuses the conversation.
    """
    ask = messages[-1]["role"] != "assistant"
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask))
    except Exception as error:  # a template is somebody's program
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(f"The model's chat template refuses a conversation of {_named(messages)}: {reason}.") from error


def check_chat(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str] = TALK) -> str:
    """Return why such conversations cannot be held with a tokenizer's chat template; empty where they can. For `preflight`.

    Args:
        tokenizer: the model's tokenizer; one without a chat template can hold any conversation.
        roles: the speaker of each turn: `system`, `user` or `assistant`. Every turn is tried, as a conversation grows.

    Returns:
        a sentence, or an empty text.
    """
    if not tokenizer.chat_template:
        return ""
    messages = [{"role": role, "content": f"words {number}"} for number, role in enumerate(roles, 1)]
    for turns in range(1 + roles.index("user"), len(roles) + 1):
        try:
            written = render_template(messages[:turns], tokenizer)
        except UsageError as error:
            return str(error)
        for message in messages[:turns]:
            if message["content"] not in written:
                left_out = f"what the {message['role']} says in a conversation of {_named(messages[:turns])}"
                return f"The model's chat template leaves out {left_out}."
    return ""


def _named(messages: Sequence[Message]) -> str:
    return ", ".join(message["role"] for message in messages)
