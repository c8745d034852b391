"""Tiny models for checks: a random one of every family, and three that answer by rule: right, at random, always the same."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from unlearnbench.data.sources import sandbox_folder
from unlearnbench.errors import unknown_name
from unlearnbench.models.loading import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARY = 2048  # the sandbox's tokenizer
END = 2  # its token that ends a text
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 8,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": END,
    "pad_token_id": 3,
    "tie_word_embeddings": True,
    "initializer_range": 0.2,  # wide enough that every text has activations of its own
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 1},
    "mistral": {"num_key_value_heads": 1},
    "mixtral": {"num_key_value_heads": 1, "num_local_experts": 2},
    "qwen2": {"num_key_value_heads": 1},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 8},
    "gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 1, "head_dim": 8},
    "gpt_neox": {},
    "phi": {},
}
"""The families of models that methods are checked on, as transformers calls them, with what each one's config needs beside the
shape."""


def tiny_model(family: str = "llama", seed: int = 0) -> PreTrainedModel:
    """Return a random model of 8 blocks, 16 wide, with room for the sandbox's tokenizer; in eval mode, float32.

    Args:
        family: one of `FAMILIES`, as transformers calls it.
        seed: seed of its weights; torch's global generator stays as it is.

    Raises:
        UsageError: no such family.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    if family not in FAMILIES:
        raise unknown_name("family", family, FAMILIES)
    config = AutoConfig.for_model(family, **SHAPE, **FAMILIES[family])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


@functools.cache
def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """Return the sandbox's tokenizer: 2,048 tokens, a chat template, a padding token."""
    return load_tokenizer(sandbox_folder() / "model")


@functools.cache
def _folders() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="unlearnbench-testing-")  # goes when the process does


@functools.cache
def tiny_folder(family: str = "llama") -> Path:
    """Return a tiny model as an ordinary model folder, kept until the process ends.

    Args:
        family: one of `FAMILIES`, as transformers calls it.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(_folders().name) / family
    tiny_model(family).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


class AnsweringConfig(PretrainedConfig):
    """The config of the models that answer by rule."""

    model_type = "unlearnbench_answering"


class AnsweringModel(PreTrainedModel, GenerationMixin):
    """A causal language model whose next token follows from the tokens so far by a rule, without learnt weights.

    Subclasses write `states`, an integer for each token so far, and `scores`, the logits that an integer means.
    """

    config_class = AnsweringConfig

    def __init__(self) -> None:
        config: Any = AnsweringConfig
        shape = {**SHAPE, "max_position_embeddings": 2**20, "num_hidden_layers": 1, "tie_word_embeddings": False}
        super().__init__(config(**shape))
        self.weight = nn.Parameter(torch.zeros(1))  # a model has a device and a dtype
        self.head = _Head(self.scores)
        self.post_init()

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the rule's state behind each token.

        Args:
            ids: (B, T) int64, the tokens.
            mask: (B, T), 1 on real tokens.

        Returns:
            (B, T) int64.
        """
        raise NotImplementedError

    def scores(self, states: Tensor) -> Tensor:
        """Return the logits that states mean.

        Args:
            states: (..., 1) int64.

        Returns:
            (..., V) float32.
        """
        raise NotImplementedError

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, logits_to_keep: int = 0, **_: Any
    ) -> CausalLMOutputWithPast:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.states(input_ids, mask)[:, -logits_to_keep:]
        return CausalLMOutputWithPast(logits=self.head(states.unsqueeze(-1)))

    def prepare_inputs_for_generation(self, input_ids: Tensor, *_: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the inputs without a cache: the rule reads every token."""
        return {"input_ids": input_ids, "attention_mask": kwargs.get("attention_mask")}


class _Head(nn.Module):
    """A head as a module, so that scoring can narrow its input as it does with a real head."""

    def __init__(self, scores: Any) -> None:
        super().__init__()
        self._scores = scores

    def forward(self, states: Tensor) -> Tensor:
        return self._scores(states)


class Oracle(AnsweringModel):
    """A model that knows every answer: after a known beginning it gives nearly all probability to the token that follows.

    Args:
        texts: tokens of a prompt, and of the answer to it; after the answer comes the end token.
    """

    def __init__(self, texts: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
        super().__init__()
        self._next: dict[tuple[int, ...], int] = {}
        for prompt, answer in texts:
            whole = [*prompt, *answer]
            for end in range(len(prompt), len(whole)):
                self._next[tuple(whole[:end])] = whole[end]
            self._next.setdefault(tuple(whole), END)
        self._lengths = {len(beginning) for beginning in self._next}

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = torch.full_like(ids, -1)
        for row, (tokens, real) in enumerate(zip(ids, mask.bool(), strict=True)):
            text = tokens[real].tolist()
            places = real.nonzero().flatten().tolist()
            for length in self._lengths:
                if length <= len(text):
                    states[row, places[length - 1]] = self._next.get(tuple(text[:length]), -1)
        return states

    def scores(self, states: Tensor) -> Tensor:
        return 30.0 * (states == torch.arange(VOCABULARY)).float()


class RandomAnswers(AnsweringModel):
    """A model that knows nothing: its logits are noise that depends on every token so far."""

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        state = torch.zeros(len(ids), dtype=torch.long)
        states: list[Tensor] = []
        for place in range(ids.shape[1]):
            state = torch.where(mask[:, place].bool(), _mixed(state * 31 + ids[:, place] + 1), state)
            states.append(state)
        return torch.stack(states, dim=1)

    def scores(self, states: Tensor) -> Tensor:
        return _noise(states + _mixed(torch.arange(VOCABULARY) + 1))


class ConstantAnswers(AnsweringModel):
    """A model that answers the same whatever it is asked.

    Args:
        favourite: text that it prefers as its continuation, as a single token, with or without a space before it.
    """

    def __init__(self, favourite: str = "A") -> None:
        super().__init__()
        tokens = (tiny_tokenizer()(text, add_special_tokens=False)["input_ids"] for text in (favourite, f" {favourite}"))
        self._favourites = [ids[0] for ids in tokens if len(ids) == 1]

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        return torch.zeros_like(ids)

    def scores(self, states: Tensor) -> Tensor:
        noise = _noise(torch.arange(VOCABULARY) + 1)  # not by number: low tokens are frequent ones
        noise[self._favourites] = 6.0
        return noise.expand(*states.shape[:-1], VOCABULARY)


def _noise(numbers: Tensor) -> Tensor:
    """Return a number from 0 to 3 for each int64, float32."""
    return 3.0 * (_mixed(numbers) % 100_003).float() / 100_003


def _mixed(numbers: Tensor) -> Tensor:
    """Spread int64 over 0 to 2**31, the same on every machine (xorshift and a multiplication that wraps)."""
    numbers = numbers * 2654435761
    numbers = numbers ^ (numbers >> 15)
    numbers = numbers * 2246822519
    return (numbers ^ (numbers >> 13)) & 0x7FFFFFFF
