"""Low-rank adapters through peft: trained beside the frozen weights, merged into them afterwards."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# attention and MLP projections of the decoder blocks, in the families' various names
NAMES = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj query_key_value dense dense_h_to_4h dense_4h_to_h fc1 fc2"
LINEAR = r".*\.(" + NAMES.replace(" ", "|") + ")"


class LoraAdapter:
    """LoRA on a model's linear layers, in place; the model keeps its class.

    Source: Hu et al., "LoRA", ICLR 2022, arXiv:2106.09685.
    """

    def __init__(self, model: PreTrainedModel, *, rank: int, targets: str = LINEAR) -> None:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        if rank < 1:
            raise UsageError(f"A LoRA adapter needs a rank of at least 1; got {rank}.")
        try:
            inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=targets), model)
        except ValueError as error:
            raise UsageError(f"LoRA finds nothing to adapt in {type(model).__name__}: {str(error).splitlines()[0]}") from error
        self.model = model
        self.layers: dict[str, Any] = {n: module for n, module in model.named_modules() if isinstance(module, LoraLayer)}

    def changing(self) -> dict[str, nn.Parameter]:
        """The weights that `merge` will change, under the names they have without the adapter."""
        return {f"{name}.weight": layer.base_layer.weight for name, layer in self.layers.items()}

    @contextmanager
    def disabled(self) -> Generator[None]:
        """The untouched model, without a second copy."""
        for layer in self.layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.enable_adapters(True)

    def merge(self) -> None:
        """Add the adapter to the weights and take it out of the model."""
        for layer in self.layers.values():
            layer.merge()
        remove_adapters(self.model)


@torch.no_grad()
def remove_adapters(model: nn.Module) -> None:
    """Put the plain layers back where a job left adapters; merged ones keep what was merged."""
    if not hasattr(model, "peft_config"):
        return
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.base_layer)
    del model.peft_config  # or the next job's adapter would be taken for a second one
