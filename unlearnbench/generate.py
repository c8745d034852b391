"""Batched generation for chat and completion: every answer has a seed of its own, so that its neighbours do not matter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from unlearnbench.models import padding_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS_PER_BATCH = 16_384  # prompt and room for the answer, of all sequences together
Message = dict[str, str]  # role and content


@dataclass(frozen=True)
class Request:
    """One answer that is wanted.

    Attributes:
        messages: the conversation so far, ending with a user's turn.
        temperature: 0 takes the likeliest token each time.
        seed: any text; the same seed draws the same answer, alone or in a batch.
    """

    messages: tuple[Message, ...]
    temperature: float
    seed: str


def render_chat(messages: Sequence[Message], tokenizer: PreTrainedTokenizerBase) -> str:
    """The conversation as the model's chat template writes it; plain `Role: text` lines where it has none."""
    if tokenizer.chat_template:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))
    lines = [f"{message['role'].capitalize()}: {message['content']}" for message in messages]
    return "\n".join([*lines, "Assistant:"])


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    requests: Sequence[Request],
    *,
    max_new_tokens: int,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Answer every request; the answers come in the order of the requests.

    Args:
        model: in eval mode.
        tokenizer: of the model.
        requests: in any order.
        max_new_tokens: an answer ends there at the latest.
        progress: called with the number of answers just done.
    """
    special = not tokenizer.chat_template  # a template writes its special tokens itself
    prompts = [tokenizer(render_chat(r.messages, tokenizer), add_special_tokens=special)["input_ids"] for r in requests]
    answers = [""] * len(requests)
    for batch in _batches(prompts, max_new_tokens):
        texts = _answer([prompts[i] for i in batch], [requests[i] for i in batch], model, tokenizer, max_new_tokens)
        for index, text in zip(batch, texts, strict=True):
            answers[index] = text
        if progress is not None:
            progress(len(batch))
    return answers


def _batches(prompts: Sequence[list[int]], room: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for index in sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True):
        if batch and (len(prompts[batch[0]]) + room) * (len(batch) + 1) > TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float = 1.0,
    seed: str = "",
) -> list[list[int]]:
    """Continue tokenised texts; the continuations come in their order, without their prompts.

    Args:
        model: in eval mode.
        tokenizer: of the model.
        prompts: token ids, none of them empty.
        max_new_tokens: a continuation ends there at the latest, or with an end token, which is not part of it.
        temperature: 0 takes the likeliest token each time.
        seed: the same seed draws the same continuations.
    """
    requests = [Request((), temperature, f"{seed} {number}") for number in range(len(prompts))]
    stops = set(_stops(model, tokenizer))
    continuations: list[list[int]] = [[]] * len(prompts)
    for batch in _batches(prompts, max_new_tokens):
        rows = _continue([prompts[i] for i in batch], [requests[i] for i in batch], model, tokenizer, max_new_tokens)
        for index, row in zip(batch, rows.tolist(), strict=True):
            end = next((place for place, token in enumerate(row) if token in stops), len(row))
            continuations[index] = row[:end]
    return continuations


def _answer(
    prompts: Sequence[list[int]],
    requests: Sequence[Request],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
) -> list[str]:
    rows = _continue(prompts, requests, model, tokenizer, max_new_tokens)
    return [text.strip() for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]


@torch.inference_mode()
def _continue(
    prompts: Sequence[list[int]],
    requests: Sequence[Request],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    max_new_tokens: int,
) -> Tensor:
    """(B, N) token ids, padded after the end token."""
    width, pad = max(map(len, prompts)), padding_id(tokenizer)
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    settings = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=_stops(model, tokenizer), pad_token_id=pad, use_cache=True
    )
    draws = LogitsProcessorList([SeededDraw(requests, width)])
    output: Any = model.generate(  # pyright: ignore[reportCallIssue]
        input_ids=ids, attention_mask=mask, generation_config=settings, logits_processor=draws
    )
    return output[:, width:]


def _stops(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What ends an answer: the tokenizer's end token and those of the model's own generation settings."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    stops = [configured] if isinstance(configured, int) else list(configured or [])
    if isinstance(tokenizer.eos_token_id, int):
        stops.append(tokenizer.eos_token_id)
    return sorted(set(stops))


class SeededDraw(LogitsProcessor):
    """Turns greedy decoding into sampling with a seed per sequence.

    The largest of log-probabilities plus independent Gumbel noise is a draw from the distribution (Gumbel 1954), so a
    sequence's draws depend on its own seed and position and on nothing else in the batch.
    """

    def __init__(self, requests: Sequence[Request], width: int) -> None:
        self._requests, self._width = requests, width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._width
        drawn = scores.float().clone()  # (B, V)
        for row, request in enumerate(self._requests):
            if request.temperature > 0:
                number = int.from_bytes(hashlib.sha256(f"{request.seed} {step}".encode()).digest()[:7])
                uniform = torch.rand(scores.shape[1], generator=torch.Generator().manual_seed(number))
                noise = -torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
                drawn[row] = drawn[row] / request.temperature + noise.to(drawn.device)
        return drawn
