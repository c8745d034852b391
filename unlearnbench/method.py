"""The base class of every unlearning method: a LightningModule around the model that is to forget."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from unlearnbench.adapters import LoraAdapter
from unlearnbench.batches import PaddingSide, Schedule, Stream
from unlearnbench.errors import UsageError
from unlearnbench.files import content_hash, write_atomic
from unlearnbench.forward import copy_of, swapped
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
        memory: folder for what `keep` keeps; None keeps nothing.
    """

    tokenizer: PreTrainedTokenizerBase
    topics: tuple[str, ...]
    forget: Schedule
    retain: Schedule
    steps: int
    memory: Path | None = None

    def recall(self, *key: str) -> dict[str, Tensor] | None:
        """Tensors that an earlier run kept under this key for the same model, corpora and budget, or None."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        if self.memory is None:
            return None
        try:
            return load_file(self.memory / f"{content_hash(key)}.safetensors")
        except (OSError, SafetensorError):
            return None

    def keep(self, tensors: Mapping[str, Tensor], *key: str) -> None:
        """Keep tensors that follow from model, corpora and budget alone, so that other settings need no pass of their own.

        A cache that cannot be written costs time later, nothing now.
        """
        from safetensors.torch import save

        if self.memory is not None:
            content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
            with contextlib.suppress(UsageError):
                write_atomic(self.memory / f"{content_hash(key)}.safetensors", content)


class UnlearningMethod(LightningModule):
    """Subclass, take the model and keyword-only options, and write `training_step` and `configure_optimizers`.

    Attributes:
        model: the language model, changed in place.
        context: tokenizer, topics and streams; set before the fit begins, not yet there in `__init__`.
        padding_side: where batches are padded.
        adapter: the LoRA adapter, where `use_adapter` made one.
    """

    padding_side: ClassVar[PaddingSide] = "right"
    context: MethodContext
    adapter: LoraAdapter | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self._original: dict[str, Tensor] = {}

    def nll(self, stream: Stream) -> Tensor:
        """Negative log-likelihood of a stream: scalar, nats per token; mean over sequences of each one's mean."""
        return token_nll(self.logits(stream), stream["labels"]).mean()

    def logits(self, stream: Stream) -> Tensor:
        """The model's next-token logits: (B, T, V), in the model's dtype."""
        return self.model(input_ids=stream["input_ids"], attention_mask=stream["attention_mask"], use_cache=False).logits

    def use_adapter(self, kind: Literal["none", "lora"], rank: int) -> None:
        """Train a low-rank adapter and nothing else, or with `none` every weight."""
        if kind == "lora":
            self.adapter = LoraAdapter(self.model, rank=rank)
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_("lora_" in name)

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that ask for gradients, for an optimizer."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def changing(self) -> dict[str, nn.Parameter]:
        """The weights that will have changed in the end, by name; what is put back after the job."""
        if self.adapter is not None:
            return self.adapter.changing()
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @contextmanager
    def reference(self) -> Generator[None]:
        """The untouched model, without gradients: the adapter switched off, or the original weights put back.

        Without an adapter this copies the weights that train, once, at its first use: use it before the first update.
        """
        if self.adapter is not None:
            with torch.no_grad(), self.adapter.disabled():
                yield
            return
        changing = self.changing()
        if not self._original:
            self._original = copy_of(changing)
        with torch.no_grad(), swapped(changing, self._original):
            yield

    def finish(self) -> None:
        """Called after the fit: merge the adapter into the weights."""
        if self.adapter is not None:
            self.adapter.merge()
            self.adapter = None
        self._original = {}
