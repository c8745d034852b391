"""An adapter as PEFT saves it: checked against its base, and merged into it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError, reason_of
from unlearnbench.models.config_keys import check_keys, defaults_of
from unlearnbench.models.fit import Misfit
from unlearnbench.models.folders import ADAPTER_CONFIG, ADAPTER_WEIGHTS, base_source
from unlearnbench.models.weight_files import read_json, shapes_in

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


SCALES: dict[str, tuple[type, ...]] = {"r": (int,), "lora_alpha": (int, float)}


def check_adapter(folder: Path, shape: PreTrainedModel) -> None:
    """Refuse an adapter whose factors are not those of its config on its base; read from the headers alone.

    Args:
        folder: folder of the adapter.
        shape: its base on torch's `meta` device.

    Raises:
        UsageError: a factor is missing, has no place in the base, or another shape.
    """
    from peft import PeftConfig, PeftModel
    from peft.utils.save_and_load import get_peft_model_state_dict

    found = shapes_in([folder / ADAPTER_WEIGHTS])
    _check_settings(folder)
    tied = _tied_modules(shape)
    plain = {f"base_model.model.{name}": tuple(tensor.shape) for name, tensor in shape.state_dict().items()}
    try:
        config: Any = PeftConfig.from_pretrained(str(folder))
        config.init_lora_weights = False  # some ways to draw factors look at the base's weights, and none are there
        with _without_warnings():
            wrapped: Any = PeftModel(shape, config)
        _merge_layers(wrapped)
        asked, embedded = (
            {n: tuple(t.shape) for n, t in get_peft_model_state_dict(wrapped, save_embedding_layers=also).items()}
            for also in (False, True)
        )
    except NotImplementedError as error:
        raise UsageError(
            f"The adapter in {folder} cannot be merged into '{base_source(folder)}': {reason_of(error)}."
        ) from error
    except Exception as error:  # a setting of another kind than PEFT writes may raise anything
        raise UsageError(_does_not_fit(folder, shape, reason_of(error))) from error
    if shared := [name for name in asked for module in tied if name.startswith(f"base_model.model.{module}.")]:
        raise UsageError(
            f"The adapter in {folder} changes {shared[0].removeprefix('base_model.model.')}, and its base has one tensor for "
            "the embeddings of input and output, so that merged it would change both; give a whole model whose config says "
            "tie_word_embeddings: false."
        )
    places = plain | embedded | asked  # the base's embeddings may be saved whole beside the factors
    misfit = Misfit(
        missing=asked.keys() - found.keys(),
        unexpected=found.keys() - places.keys(),
        mismatched=[
            (name, shape_found, places[name])
            for name, shape_found in found.items()
            if name in places and shape_found != places[name]
        ],
    )
    if misfit:
        raise UsageError(_does_not_fit(folder, shape, str(misfit)))


def _check_settings(folder: Path) -> None:
    """Refuse a config without a setting that decides how much an adapter changes: PEFT writes it, and would guess it
    otherwise.
    """
    from peft import LoraConfig

    config = read_json(folder / ADAPTER_CONFIG)
    switches = {field.name for field in dataclasses.fields(LoraConfig) if field.type in ("bool", bool)}
    kinds = SCALES | dict.fromkeys(switches & config.keys(), (bool,))
    for name, allowed in kinds.items():
        if type(config.get(name)) not in allowed:
            found = f"{config[name]!r} as {name}" if name in config else f"no {name}"
            raise UsageError(
                f"{folder / ADAPTER_CONFIG} is damaged: it has {found}, which decides what the adapter changes; copy or "
                "download it again."
            )
    if config["lora_alpha"] <= 0:
        raise UsageError(
            f"{folder / ADAPTER_CONFIG} is damaged: it has {config['lora_alpha']} as lora_alpha, and nothing of the adapter "
            "would be left; copy or download it again."
        )
    check_keys(folder / ADAPTER_CONFIG, config, defaults_of(LoraConfig), LoraConfig.__name__)


def _tied_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that share the embeddings, where input and output do."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    shared = {id(getattr(end, "weight", None)) for end in ends}
    return [name for name, module in model.named_modules() if module in ends] if len(shared) == 1 else []


def _does_not_fit(folder: Path, base: PreTrainedModel, why: str) -> str:
    return (
        f"The adapter in {folder} does not fit '{base_source(folder)}', the {type(base).__name__} that it names as its base: "
        f"{why}. Name the model that it was trained on as base_model_name_or_path in its adapter_config.json."
    )


@contextmanager
def _without_warnings() -> Generator[None]:
    """Silence PEFT's warnings: deprecations between it and transformers, and what `check_adapter` has checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def merge_saved(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Merge a saved adapter into a model's weights, in place.

    Each weight is computed in float32 on the CPU and rounded once to the model's dtype, so that it is the same everywhere.

    Args:
        model: the adapter's base, on the CPU.
        folder: folder of the adapter.
    """
    from peft import PeftModel

    try:
        with _without_warnings():
            wrapped: Any = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
            _merge_layers(wrapped)
    except Exception as error:  # a setting of another kind than PEFT writes may raise anything
        raise UsageError(f"The adapter in {folder} cannot be merged into its base: {reason_of(error)}.") from error
    merged: PreTrainedModel = wrapped.unload()
    if hasattr(merged, "peft_config"):
        del merged.peft_config  # or an adapter that is trained on it would be taken for a second one
    return merged.requires_grad_(True)


def _merge_layers(wrapped: nn.Module) -> None:
    """Merge each adapted layer in float32, and round it to what it was."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in [layer for layer in wrapped.modules() if isinstance(layer, BaseTunerLayer)]:
        base = layer.get_base_layer()
        dtype = next(base.parameters()).dtype
        base.float()
        layer.merge()
        base.to(dtype)
