"""Low-rank adapters through peft: trained beside the frozen weights, merged into them afterwards."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unlearnbench.errors import UsageError, reason_of
from unlearnbench.models.blocks import decoder_blocks

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHOOSERS = ("gate", "router", "shared_expert_gate")  # layers that choose among experts, and are no projection


def projections(model: PreTrainedModel) -> list[str]:
    """Return the qualified names of the decoder blocks' attention and MLP projections, whatever a family calls them."""
    from transformers.pytorch_utils import Conv1D

    prefix, blocks = decoder_blocks(model)
    found = [name for name, module in blocks.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    return [f"{prefix}.{name}" for name in found if name.rpartition(".")[2] not in CHOOSERS]


class LoraAdapter:
    """LoRA on a model's linear layers, in place; the model keeps its class.

    Source: Hu et al., "LoRA", ICLR 2022, arXiv:2106.09685.
    """

    def __init__(self, model: PreTrainedModel, *, rank: int, targets: Sequence[str] | None = None) -> None:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer

        if rank < 1:
            raise UsageError(f"A LoRA adapter needs a rank of at least 1; got {rank}.")
        wanted = projections(model) if targets is None else list(targets)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*fan_in_fan_out")  # peft sees by itself which layers are transposed
                inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, lora_dropout=0.0, target_modules=wanted), model)
        except (ValueError, NotImplementedError) as error:
            raise UsageError(f"LoRA cannot adapt {type(model).__name__}: {reason_of(error)}; set adapter to none.") from error
        if any(type(module).__name__ == "ParamWrapper" for module in model.modules()):
            # peft takes the names of such projections for those of the experts, which are one tensor without a layer
            raise UsageError(f"LoRA cannot adapt the experts of {type(model).__name__}; set adapter to none.")
        self.model = model
        self.layers: dict[str, Any] = {n: module for n, module in model.named_modules() if isinstance(module, LoraLayer)}
        for layer in self.layers.values():
            for factor in (layer.lora_A, layer.lora_B):
                factor.float()  # small updates would be rounded away in bfloat16

    def changing(self) -> dict[str, nn.Parameter]:
        """Return the weights that `merge` will change, under the names they have without the adapter."""
        return {f"{name}.weight": layer.base_layer.weight for name, layer in self.layers.items()}

    @contextmanager
    def disabled(self) -> Generator[None]:
        """Run the untouched model, without a second copy."""
        for layer in self.layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.enable_adapters(True)

    def factors(self) -> dict[str, Tensor]:
        """Return the adapter's factors, on the CPU in float32: NAME.lora_A (r, in) and NAME.lora_B (out, r) per weight NAME.

        Of a weight that is stored as (in, out), as GPT-2's are, NAME.lora_A is (r, out) and NAME.lora_B (in, r): their product
        has the weight's own shape.
        """
        found: dict[str, Tensor] = {}
        for name, layer in self.layers.items():
            down, up = (getattr(layer, factor)["default"].weight.detach().float().cpu() for factor in ("lora_A", "lora_B"))
            if layer.fan_in_fan_out:
                down, up = up.T.contiguous(), down.T.contiguous()
            found |= {f"{name}.weight.lora_A": down, f"{name}.weight.lora_B": up}
        return found

    def merge(self) -> None:
        """Add the adapter to the weights and take it out of the model."""
        factors, weights = self.factors(), self.changing()
        remove_adapters(self.model)
        for name, weight in weights.items():
            merge_factors(weight, factors[f"{name}.lora_A"], factors[f"{name}.lora_B"])


@torch.no_grad()
def merge_factors(weight: Tensor, down: Tensor, up: Tensor) -> None:
    """Compute weight + up @ down, in float32 on the weight's device and rounded once.

    The one way in which adapters are merged, so that a stored one gives the very weights that were scored; on another device
    last bits may differ.

    Args:
        weight: (out, in), or in the layout it is stored in; changed in place.
        down: (r, in), lora_A.
        up: (out, r), lora_B.
    """
    product = up.to(weight.device) @ down.to(weight.device)  # (out, in); lora_alpha equals the rank, so the scale is 1
    weight.copy_(weight.float() + product)


@torch.no_grad()
def remove_adapters(model: nn.Module) -> None:
    """Put the plain layers back where a job left adapters."""
    if not hasattr(model, "peft_config"):
        return
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.base_layer)
    del model.peft_config  # or the next job's adapter would be taken for a second one
