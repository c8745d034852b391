"""The base class of every unlearning method: a LightningModule around the model that is to forget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lightning.pytorch import LightningModule
from torch import Tensor

from unlearnbench.batches import PaddingSide, Schedule, Stream
from unlearnbench.tensors import token_nll

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class MethodContext:
    """What a method may look at besides its batches.

    Attributes:
        tokenizer: of the model.
        topics: in the order in which updates take them.
        forget: every forget batch of the run, for methods that need a pass of their own.
        retain: likewise.
        steps: optimizer updates in total.
    """

    tokenizer: PreTrainedTokenizerBase
    topics: tuple[str, ...]
    forget: Schedule
    retain: Schedule
    steps: int


class UnlearningMethod(LightningModule):
    """Subclass, take the model and keyword-only options, and write `training_step` and `configure_optimizers`.

    Attributes:
        model: the language model, changed in place.
        context: tokenizer, topics and streams; set before the fit begins, not yet there in `__init__`.
        padding_side: where batches are padded.
    """

    padding_side: ClassVar[PaddingSide] = "right"
    context: MethodContext

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def nll(self, stream: Stream) -> Tensor:
        """Negative log-likelihood of a stream: scalar, nats per token; mean over sequences of each one's mean."""
        logits = self.model(input_ids=stream["input_ids"], attention_mask=stream["attention_mask"], use_cache=False).logits
        return token_nll(logits, stream["labels"]).mean()
