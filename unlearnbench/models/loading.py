"""From a model's folder to the model in memory and its tokenizer; safetensors only, no remote code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError, reason_of
from unlearnbench.models.capacity import tokens_known_in
from unlearnbench.models.config_keys import check_config
from unlearnbench.models.families import cut, family_class, family_config, require_causal, shape_of
from unlearnbench.models.fit import UNJOINED, check_fit, does_not_fit, is_unjoined, misfit_of, quiet
from unlearnbench.models.folders import base_folder, is_adapter, tokenizer_folder
from unlearnbench.models.saved_adapters import check_adapter, merge_saved

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SAMPLE = "Who keeps the archive?"
CPU_TOKENS = 1024  # larger batches leave the caches: measured on two Zen 4 cores with SmolLM2
GPU_TOKENS = 65_536  # more no longer makes it faster


def load_model(folder: Path, dtype: torch.dtype, device: torch.device, blocks: int | None = None) -> PreTrainedModel:
    """Load the causal language model in `folder`, in eval mode; safetensors only, no remote code.

    Args:
        folder: folder with config and weights, or with an adapter, which is merged into its base.
        dtype: dtype of the weights in memory.
        device: device of the weights.
        blocks: number of decoder blocks to load, from below; the rest of the file is not read; None loads all.

    Raises:
        UsageError: it cannot be loaded, or not all of its weights are there.
    """
    base = base_folder(folder)
    try:
        config = whole = family_config(base)
        if blocks is not None:
            config = cut(whole, blocks)
        with quiet():
            loaded: Any = family_class(config).from_pretrained(
                base,
                config=config,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # or it raises before it says what else is wrong
            )
    except Exception as error:  # a setting that does not suit the family may raise anything
        reason = UNJOINED if is_unjoined(error) else reason_of(error)
        raise UsageError(f"The model in {base} cannot be loaded: {reason}.") from error
    model: PreTrainedModel = loaded[0]
    if misfit := misfit_of(model, loaded[1], whole=config is whole and type(config) is type(model.config)):
        raise UsageError(does_not_fit(base, model, misfit))
    if is_adapter(folder):
        model = merge_saved(model, folder)
    model.to(device)  # pyright: ignore[reportArgumentType]
    return model.eval()


def check_weights(folder: Path) -> None:
    """Refuse a model whose weights do not fit its config, or an adapter that does not fit its base, by the headers alone.

    Raises:
        UsageError: says what is missing, unknown or of another shape; or a key of the config is one that nobody reads.
    """
    base = base_folder(folder)
    check_config(base)
    shape = skeleton(folder)
    check_fit(base, shape)
    if is_adapter(folder):
        check_adapter(folder, shape)


def skeleton(folder: Path) -> PreTrainedModel:
    """Return the model on torch's `meta` device: every name and no weights.

    Raises:
        UsageError: it is no causal language model that transformers can build.
    """
    try:
        model = shape_of(family_config(base_folder(folder)))
        require_causal(model)
    except UsageError as error:
        raise UsageError(f"The model in {folder} cannot be used: {error}") from error
    except Exception as error:  # a config that does not suit its family may raise anything
        raise UsageError(
            f"The model in {folder} is no causal language model that transformers knows: {reason_of(error)}."
        ) from error
    return model


def block_count(folder: Path) -> int:
    """Return the number of a model's decoder blocks.

    Raises:
        UsageError: its config does not say.
    """
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(base_folder(folder), trust_remote_code=False).get_text_config().num_hidden_layers)
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"The config of the model in {folder} does not say how many decoder blocks it has.") from error


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer; one without a padding token that the model knows pads with its end token.

    Raises:
        UsageError: there is none, or it is broken.
    """
    from transformers import AutoTokenizer

    place = tokenizer_folder(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as error:  # what reads a tokenizer.json raises nothing more special
        raise UsageError(f"The tokenizer in {place} cannot be loaded: {type(error).__name__}: {reason_of(error)}.") from error
    if _repeats(tokenizer):
        raise UsageError(
            f"The tokenizer in {place} writes each text more than once, as the post_processor of its tokenizer.json says: it "
            "is damaged; copy or download the file again."
        )
    if tokenizer.pad_token_id is None or not _knows(folder, tokenizer.pad_token_id):
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _repeats(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a text becomes tokens that are there several times over."""
    ids: list[int] = tokenizer(SAMPLE, add_special_tokens=False)["input_ids"]
    once = [ids[: len(ids) // times] for times in (2, 3)]
    return len(set(ids)) > 1 and any(ids == ids_once * times for ids_once, times in zip(once, (2, 3), strict=True))


def _knows(folder: Path, token: object) -> bool:
    """Return whether the model has an embedding for a token: fine-tuning scripts add a padding token, and no embedding
    for it.
    """
    known = tokens_known_in(folder)
    return known is None or not isinstance(token, int) or token < known


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that fills up batches; it is masked everywhere, so any will do where there is none."""
    pad = tokenizer.pad_token_id
    return pad if isinstance(pad, int) else 0


def tokens_per_batch(model: PreTrainedModel) -> int:
    """Return the number of tokens to score at once: on a CPU what suits its caches, on a GPU what half of the free memory
    holds.
    """
    import torch

    if model.device.type != "cuda":
        return CPU_TOKENS
    config: Any = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    per_token = (8 * config.hidden_size + 3 * inner) * model.dtype.itemsize  # the activations alive in one block
    free, _ = torch.cuda.mem_get_info(model.device)
    return min(max(free // 2 // per_token, CPU_TOKENS), GPU_TOKENS)
