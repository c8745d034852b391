"""The likelihood of texts: a model's distribution over each next token."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from unlearnbench.data.borders import encode_prompts
from unlearnbench.errors import UsageError
from unlearnbench.models.capacity import check_ids, context_length
from unlearnbench.system.files import content_hash, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from unlearnbench.scoring.benchmark import Subject


class Reading(NamedTuple):
    """A model's distribution over each token of a text, given those before.

    Attributes:
        tokens: (T,) int64 on the CPU, the predicted tokens: all but the text's first, which is the tokenizer's BOS token where
            it has one.
        log_probabilities: (T, V) float32 on the model's device, log-probabilities of every token at each position, in nats.
        truncated: true where the text was cut from the right to fit the model.
    """

    tokens: Tensor
    log_probabilities: Tensor
    truncated: bool

    def nll(self) -> Tensor:
        """Return the negative log-likelihood of each token, in nats: (T,) float32 on the CPU."""
        tokens = self.tokens.to(self.log_probabilities.device)
        return -self.log_probabilities.gather(1, tokens[:, None])[:, 0].cpu()


@torch.no_grad()
def read_texts(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Iterator[Reading]:
    """Yield the reading of each text, one forward pass at a time.

    Args:
        model: the model, in eval mode.
        tokenizer: the model's tokenizer.
        texts: the texts; each gets the special tokens that the tokenizer puts before a text, and none behind it.

    Raises:
        UsageError: a text has fewer than two tokens, or the model has no embedding for one of them.
    """
    limit = context_length(model)
    for text, ids in zip(texts, encode_prompts(list(texts), tokenizer), strict=True):
        kept = ids if limit is None else ids[:limit]
        if len(kept) < 2:
            raise UsageError(f"The text {text[:40]!r} has fewer than two tokens, so that none can be predicted; leave it out.")
        check_ids([kept], model)
        inputs = torch.tensor([kept], device=model.device)
        logits = model(input_ids=inputs, attention_mask=torch.ones_like(inputs), use_cache=False).logits[0, :-1]
        yield Reading(torch.tensor(kept[1:]), logits.float().log_softmax(-1), len(kept) < len(ids))


class Predictions(NamedTuple):
    """A model's most likely tokens at each position of a text.

    Attributes:
        tokens: (T,) int64, the predicted tokens, as in `Reading`.
        likeliest: (T, k) int64, the most likely tokens at each position.
        log_probabilities: (T, k) float32, log-probabilities of these k tokens, in nats.
    """

    tokens: Tensor
    likeliest: Tensor
    log_probabilities: Tensor

    def divergence(self, reading: Reading) -> Tensor:
        """Return the Jensen-Shannon divergence from another model's reading of the same tokens: (T,) float32, bits, 0 to 1.

        All tokens but the k most likely count as one outcome, so that this is a lower bound; it is 0 for equal distributions.
        Source: Lin (1991), IEEE Transactions on Information Theory 37.

        Args:
            reading: reading of the same text by the other model.
        """
        mine = _with_rest(self.log_probabilities.exp())
        theirs = _with_rest(reading.log_probabilities.cpu().gather(1, self.likeliest).exp())
        middle = ((mine + theirs) / 2).clamp_min(torch.finfo(mine.dtype).tiny)
        terms = torch.special.xlogy(mine, mine / middle) + torch.special.xlogy(theirs, theirs / middle)  # (T, k + 1), nats
        return (terms.sum(-1) / (2 * math.log(2))).clamp(0, 1)


def _with_rest(probabilities: Tensor) -> Tensor:
    """Return the probabilities of k outcomes and, last, of all others together: (T, k + 1)."""
    rest = (1 - probabilities.sum(-1, keepdim=True)).clamp_min(0)
    return torch.cat([probabilities, rest], dim=-1)


def base_predictions(subject: Subject, texts: Sequence[str], likeliest: int = 64) -> list[Predictions] | None:
    """Return the untouched model's predictions for each text.

    They are computed with the scored model where that is the untouched one, else read from `Subject.keep`, where an earlier
    evaluation stored them. Only without either is the untouched model loaded, and released again.

    Args:
        subject: the argument of `Benchmark.evaluate`.
        texts: the texts, tokenized as in `read_texts`.
        likeliest: number of most likely tokens that are kept at each position.

    Returns:
        the predictions, in the order of the texts; None where the untouched model is not known.
    """
    if subject.base is None:
        return None
    key = content_hash([subject.base.weights, str(subject.model.dtype), list(texts), likeliest])
    path = None if subject.keep is None else subject.keep / "predictions" / f"{key}.safetensors"
    if path is not None and (kept := _read(path, len(texts))) is not None:
        return kept
    model = subject.model if subject.weights == subject.base.weights else subject.base.load()
    found = [_predictions(reading, likeliest) for reading in read_texts(model, subject.tokenizer, texts)]
    if path is not None:
        from safetensors.torch import save

        named = ((number, name, tensor) for number, text in enumerate(found) for name, tensor in text._asdict().items())
        write_atomic(path, save({f"{number}.{name}": tensor.contiguous() for number, name, tensor in named}))
    return found


def _predictions(reading: Reading, likeliest: int) -> Predictions:
    top = reading.log_probabilities.topk(min(likeliest, reading.log_probabilities.shape[-1]), dim=-1)
    return Predictions(reading.tokens, top.indices.cpu(), top.values.cpu())


def _read(path: Path, count: int) -> list[Predictions] | None:
    """Return the predictions that `base_predictions` stored; None where the file is missing or incomplete."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        return [Predictions(*(tensors[f"{number}.{name}"] for name in Predictions._fields)) for number in range(count)]
    except (OSError, SafetensorError, KeyError):
        return None
