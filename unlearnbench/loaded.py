"""A model in memory that methods change in place, and that can be put back bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from unlearnbench.adapters import remove_adapters
from unlearnbench.errors import CellError, UsageError
from unlearnbench.forward import copy_of
from unlearnbench.models import load_model, load_tokenizer, model_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LoadedModel:
    """The model of one source in memory; methods change it in place and `restore` takes the changes back."""

    def __init__(self, source: str, dtype: str, device: torch.device) -> None:
        folder = model_folder(source)
        self.source = source
        self.model: PreTrainedModel = load_model(folder, getattr(torch, dtype), device)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(folder)
        self._device = device
        self._original: dict[str, Tensor] = {}

    def remember(self, changing: Mapping[str, torch.nn.Parameter]) -> None:
        """Keep a copy of the parameters that a method is about to change."""
        self._original = copy_of(changing)

    def delta(self) -> dict[str, Tensor]:
        """The remembered parameters that differ from the base, on the CPU."""
        now = dict(self.model.named_parameters())
        return {n: now[n].detach().cpu() for n, old in self._original.items() if not torch.equal(now[n], old)}

    @torch.no_grad()
    def apply(self, delta: Mapping[str, Tensor]) -> None:
        """Put a stored delta into the base model."""
        now = dict(self.model.named_parameters())
        if unknown := [name for name in delta if name not in now]:
            raise CellError(f"The stored delta does not fit {self.source}: it has no {unknown[0]}.")
        self._original = {name: now[name].detach().clone() for name in delta}
        for name, tensor in delta.items():
            now[name].copy_(tensor)

    @torch.no_grad()
    def restore(self) -> None:
        """Back to the base model, bit for bit."""
        remove_adapters(self.model)
        now = dict(self.model.named_parameters())
        for name, tensor in self._original.items():
            now[name].copy_(tensor)
        self._original = {}
        self.model.requires_grad_(True)
        self.model.to(self._device)  # pyright: ignore[reportArgumentType]
        self.model.eval()


def resolve_device(asked: str) -> torch.device:
    """The device to run on.

    Raises:
        UsageError: `cuda` where there is no GPU.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no GPU that torch can use; leave --device out to run on the CPU.")
    return torch.device(asked)
