"""Families of models: which are causal language models that can be scored and trained, and what some of them need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError
from unlearnbench.models.blocks import decoder_blocks

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


def family_config(folder: Path) -> PretrainedConfig:
    """The config of the model in `folder`, set so that a forward leaves the weights as they are."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if hasattr(config, "rescale_every"):
        config.rescale_every = 0  # pyright: ignore[reportAttributeAccessIssue] - RWKV divides its weights in place, for float16
    return config


def family_class(config: PretrainedConfig) -> Any:
    """The class of transformers that builds or loads the model: the causal one, or the one that reads pictures, too.

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
    blocks = decoder_blocks(model)[1]
    if any(getattr(module, name, None) is False for module in blocks.modules() for name in ("is_causal", "is_decoder")):
        family = model.config.model_type
        raise UsageError(
            f"'{family}' attends to the tokens that follow, too, and cannot be scored; take a causal language model."
        )


def can_be_cut(config: PretrainedConfig) -> bool:
    """Whether the lower blocks are the same without the upper ones: which share keys and values is counted from above."""
    return not getattr(config.get_text_config(), "num_kv_shared_layers", None)


def cut(config: PretrainedConfig, blocks: int) -> None:
    """Make it the config of a model with fewer decoder blocks; lists with one entry for each block become as short."""
    own = config.get_text_config()
    count = own.num_hidden_layers
    for name, value in list(vars(own).items()):
        if isinstance(value, list) and len(value) == count:
            setattr(own, name, value[:blocks])
    own.num_hidden_layers = blocks
