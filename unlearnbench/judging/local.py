"""A judge in memory: a model that transformers loads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from unlearnbench.files import Memory, default_cache, hash_files
from unlearnbench.judging.judgment import TRIES, Arrived, Inquiry, Judgment, Replies, insist, no_rating, parse_rating
from unlearnbench.models import load_model, load_tokenizer, model_folder, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.generate import Answer, Request


class LocalJudge:
    """A model from a folder or the hub, loaded once when it is first asked.

    Raises:
        UsageError: no such model.
    """

    def __init__(self, source: str, replies: Replies) -> None:
        self.source, self.replies = source, replies
        self.folder = model_folder(source)
        self._loaded: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None
        self._place: tuple[torch.dtype, torch.device] | None = None

    @cached_property
    def weights(self) -> str:
        """Hash of the model folder."""
        return hash_files(weight_files(self.folder), Memory(default_cache() / "memory.json"))

    @property
    def identity(self) -> Sequence[str]:
        """The weights, wherever they lie."""
        return ("hf", self.weights, self.replies.identity)

    def problems(self) -> Iterable[str]:
        """Nothing: what could be wrong was said when the folder was looked for."""
        return ()

    def move_to(self, dtype: torch.dtype, device: torch.device) -> None:
        """Where to load it, before it is first asked."""
        self._place = (dtype, device)

    def rate(self, inquiries: Sequence[Inquiry], arrived: Arrived) -> None:
        """Ask everything in batches; a reply without a rating is asked for again while its conversation is in memory."""
        from unlearnbench.generate import Request, generate

        model, tokenizer = self._load()
        tries = [0] * len(inquiries)
        spent = [0] * len(inquiries)

        def follow(index: int, answer: Answer) -> Request | None:
            inquiry = inquiries[index]
            tries[index] += 1
            spent[index] += answer.tokens
            rating = None if answer.error else parse_rating(answer.text)
            if rating is None and not answer.error and tries[index] < TRIES:
                return Request(
                    tuple(insist(inquiry.messages, answer.text)), self.replies.temperature, f"{inquiry.key} {tries[index]}"
                )
            error = answer.error or ("" if rating is not None else no_rating(answer.text))
            arrived(inquiry, Judgment(rating=rating, text=answer.text, error=error, tokens=spent[index]))
            return None

        requests = [Request(tuple(inquiry.messages), self.replies.temperature, inquiry.key) for inquiry in inquiries]
        generate(model, tokenizer, requests, max_new_tokens=self.replies.tokens, follow=follow)

    def _load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        import torch

        if self._loaded is None:
            dtype, device = self._place or (torch.float32, torch.device("cpu"))
            self._loaded = (load_model(self.folder, dtype, device), load_tokenizer(self.folder))
        return self._loaded
