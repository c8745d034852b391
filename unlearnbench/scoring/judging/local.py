"""A judge in memory: a model that transformers loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from unlearnbench.data.chat_template import TALK, check_chat
from unlearnbench.errors import UsageError
from unlearnbench.models.capacity import check_vocabulary
from unlearnbench.models.folders import model_folder, weights_identity
from unlearnbench.models.loading import check_weights, load_model, load_tokenizer
from unlearnbench.scoring.judging.judgment import (
    TRIES,
    Arrived,
    Inquiry,
    Judgment,
    Messages,
    ReplySettings,
    insist,
    no_rating,
    parse_rating,
    without_system,
)
from unlearnbench.system.files import JsonCache, default_cache

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.scoring.generation.generate import Answer, Request


class LocalJudge:
    """A model from a folder or the hub, loaded when it is first needed.

    Raises:
        UsageError: no such model.
    """

    def __init__(self, source: str, replies: ReplySettings) -> None:
        self.source, self.replies = source, replies
        self.folder = model_folder(source)
        self._model: PreTrainedModel | None = None
        self._place: tuple[torch.dtype, torch.device] | None = None

    @cached_property
    def weights(self) -> str:
        """Return the hash of the model folder."""
        return weights_identity(self.folder, JsonCache(default_cache() / "memory.json"))

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the judge's tokenizer."""
        return load_tokenizer(self.folder)

    @property
    def identity(self) -> Sequence[str]:
        """Return the hash of the weights, wherever they lie."""
        return ("hf", self.weights, self.replies.identity)

    def problems(self) -> Iterable[str]:
        """Return the problems: weights that do not fit, a chat template that refuses or leaves out turns, tokens unknown to the
        model.
        """
        try:
            check_weights(self.folder)
        except UsageError as error:
            yield f"The judge {self.source} cannot be asked: {error}"
            return
        if problem := check_chat(self.tokenizer) or check_vocabulary(self.tokenizer, self.folder):
            yield f"The judge {self.source} cannot be asked: {problem}"

    def move_to(self, dtype: torch.dtype, device: torch.device) -> None:
        """Set dtype and device before the model is loaded."""
        self._place = (dtype, device)

    def rate(self, inquiries: Sequence[Inquiry], arrived: Arrived) -> None:
        """Ask everything in batches; a reply without a rating is asked for again while its conversation is in memory."""
        from unlearnbench.scoring.generation.generate import Request, generate

        takes_system = _takes_system(self.tokenizer)
        tries = [0] * len(inquiries)
        spent = [0] * len(inquiries)

        def request(messages: Messages, seed: str) -> Request:
            return Request(tuple(messages if takes_system else without_system(messages)), self.replies.temperature, seed)

        def follow(index: int, answer: Answer) -> Request | None:
            inquiry = inquiries[index]
            tries[index] += 1
            spent[index] += answer.tokens
            rating = None if answer.error else parse_rating(answer.text)
            if rating is None and not answer.error and tries[index] < TRIES:
                return request(insist(inquiry.messages, answer.text), f"{inquiry.key} {tries[index]}")
            error = answer.error or ("" if rating is not None else no_rating(answer.text))
            arrived(inquiry, Judgment(rating=rating, text=answer.text, error=error, tokens=spent[index]))
            return None

        requests = [request(inquiry.messages, inquiry.key) for inquiry in inquiries]
        generate(self._load(), self.tokenizer, requests, max_new_tokens=self.replies.tokens, follow=follow)

    def _load(self) -> PreTrainedModel:
        import torch

        if self._model is None:
            self._model = load_model(self.folder, *(self._place or (torch.float32, torch.device("cpu"))))
        return self._model


def _takes_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a system message gets into the prompt: some chat templates refuse it, and some leave it out."""
    return not check_chat(tokenizer, ("system", *TALK))
