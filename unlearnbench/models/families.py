"""Families of models: the causal language models that can be scored and trained, and the settings that some of them need."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel


def family_config(folder: Path) -> PretrainedConfig:
    """Return the config of the model in `folder`, set so that a forward leaves the weights as they are."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if hasattr(config, "rescale_every"):
        config.rescale_every = 0  # pyright: ignore[reportAttributeAccessIssue] - RWKV divides its weights in place, for float16
    return config


def family_class(config: PretrainedConfig) -> Any:
    """Return the class of transformers that builds or loads the model: the causal one, or the one that reads pictures, too.

    Raises:
        UsageError: transformers has no decoder-only language model of this family.
    """
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    if getattr(config, "is_encoder_decoder", False):
        raise UsageError(f"'{config.model_type}' has an encoder and a decoder; take a decoder-only language model.")
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        return AutoModelForImageTextToText
    raise UsageError(
        f"transformers knows no causal language model of the family '{config.model_type}'; take a decoder-only one."
    )


def require_causal(model: PreTrainedModel) -> None:
    """Refuse a model in which a token's prediction depends on what follows it.

    Raises:
        UsageError: its attention looks ahead.
    """
    from unlearnbench.models.blocks import decoder_blocks  # torch: not needed where nothing is left to compute

    blocks = decoder_blocks(model)[1]
    if any(getattr(module, name, None) is False for module in blocks.modules() for name in ("is_causal", "is_decoder")):
        family = model.config.model_type
        raise UsageError(
            f"'{family}' attends to the tokens that follow, too, and cannot be scored; take a causal language model."
        )


def cut(config: PretrainedConfig, blocks: int) -> PretrainedConfig:
    """Return the config of a model with fewer decoder blocks; or the same, where the lower blocks would not be what they were.

    In some families a block depends on how many there are: on a scale that follows from it, or on whose keys it shares.
    """
    from unlearnbench.models.blocks import decoder_blocks

    shorter = copy.deepcopy(config)
    text_config = shorter.get_text_config()
    for name, value in list(vars(text_config).items()):
        if isinstance(value, list) and len(value) == text_config.num_hidden_layers:
            setattr(text_config, name, value[:blocks])  # one entry for each block: its kind of attention, say
    text_config.num_hidden_layers = blocks
    try:
        part, whole = shape_of(shorter), dict(shape_of(config).named_modules())
        same = len(decoder_blocks(part)[1]) == blocks
    except Exception:  # a family may count its blocks under another name, or check its config against something else
        return config
    same = same and all(name in whole and _traits(module) == _traits(whole[name]) for name, module in part.named_modules())
    return shorter if same else config


def can_be_cut(config: PretrainedConfig) -> bool:
    """Return whether the upper blocks may be taken out of a model: the lower ones stay the same, and it believes their
    number.
    """
    text_config = copy.deepcopy(config.get_text_config())
    fewer = text_config.num_hidden_layers - 1
    text_config.num_hidden_layers = fewer
    return text_config.num_hidden_layers == fewer and cut(config, fewer) is not config


def shape_of(config: PretrainedConfig) -> PreTrainedModel:
    """Return the model on torch's `meta` device: every name and no weights."""
    import torch

    with torch.device("meta"):
        return family_class(config).from_config(config, trust_remote_code=False)


def _traits(module: nn.Module) -> dict[str, object]:
    """Return the settings that a module computes with beside its weights' values; the number of blocks is not among them."""
    plain = {name: value for name, value in vars(module).items() if isinstance(value, bool | int | float | str)}
    counts = {"num_hidden_layers", "num_layers", "n_layer", "n_layers"}
    return {
        **{name: value for name, value in plain.items() if name not in counts},
        **{name: parameter.shape for name, parameter in module.named_parameters(recurse=False)},
    }
