"""From a source string to a model folder, its weights and its tokenizer; safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.data.hub import from_hub
from unlearnbench.data.sources import Source, parse_source, require
from unlearnbench.errors import UsageError
from unlearnbench.models.families import cut, family_class, family_config, require_causal, shape_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODEL_FILES = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
CPU_TOKENS = 1024  # larger batches leave the caches: measured on two Zen 4 cores with SmolLM2
GPU_TOKENS = 65_536  # more no longer makes it faster


def model_folder(text: str) -> Path:
    """The local folder of a model; a hub id is downloaded, safetensors only.

    Raises:
        UsageError: no such model, no weights, or weights only as pickles.
    """
    source = parse_source(text)
    path = source.path
    if path is None:
        path = from_hub(source, lambda: _download(source), "model")
    require(path, source)
    if not path.is_dir():
        raise UsageError(
            f"The model '{text}' is not a folder: a model is a folder with config.json and *.safetensors, or a hub id."
        )
    if not (path / "config.json").is_file():
        raise UsageError(f"The folder {path} holds no model: config.json is missing.")
    if not any(path.glob("*.safetensors")):
        pickles = sorted(file.name for ending in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in path.glob(ending))
        if pickles:
            raise UsageError(
                f"The model in {path} has its weights only as pickles ({', '.join(pickles)}), which can run code when loaded; "
                "convert them to safetensors with `model.save_pretrained(FOLDER)` in a session you trust."
            )
        raise UsageError(f"The model folder {path} has no weights (*.safetensors).")
    return path


def _download(source: Source) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source.location, revision=source.revision, allow_patterns=list(MODEL_FILES)))


def weight_files(folder: Path) -> list[Path]:
    """What makes a model the model it is: weights, config and tokenizer."""
    endings = (".safetensors", ".json", ".jinja", ".model", ".txt")
    return [file for file in folder.iterdir() if file.is_file() and file.suffix in endings]


def load_model(folder: Path, dtype: torch.dtype, device: torch.device, blocks: int | None = None) -> PreTrainedModel:
    """The causal language model in `folder`, in eval mode; safetensors only, no remote code.

    Args:
        folder: config and weights.
        dtype: of the weights in memory.
        device: where they go.
        blocks: only so many decoder blocks from below, and the rest of the file is not read; None loads all.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    level = logging.get_verbosity()
    try:
        config = family_config(folder)
        if blocks is not None:
            logging.set_verbosity_error()  # the blocks that are left out would be reported as unexpected
            config = cut(config, blocks)
        model: PreTrainedModel = family_class(config).from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"The model in {folder} cannot be loaded: {' '.join(str(error).split())}") from error
    finally:
        logging.set_verbosity(level)
    model.to(device)  # pyright: ignore[reportArgumentType]
    return model.eval()


def skeleton(folder: Path) -> PreTrainedModel:
    """The model's shape on torch's `meta` device: every name and no weights.

    Raises:
        UsageError: it is no causal language model that transformers can build.
    """
    try:
        model = shape_of(family_config(folder))
        require_causal(model)
    except UsageError as error:
        raise UsageError(f"The model in {folder} cannot be used: {error}") from error
    except Exception as error:  # a config that does not suit its family may raise anything
        raise UsageError(
            f"The model in {folder} is no causal language model that transformers knows: {' '.join(str(error).split())}"
        ) from error
    return model


def block_count(folder: Path) -> int:
    """How many decoder blocks a model has.

    Raises:
        UsageError: its config does not say.
    """
    from transformers import AutoConfig

    try:
        return int(AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config().num_hidden_layers)
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"The config of the model in {folder} does not say how many decoder blocks it has.") from error


def read_tensors(folder: Path, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Those of the named tensors that the model's files have, one at a time, in their own dtype on the CPU."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as content:
            for name in [name for name in content.keys() if name in names]:  # noqa: SIM118 - it is no dictionary
                yield name, content.get_tensor(name)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The model's tokenizer; one without a padding token pads with its end token."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"The tokenizer in {folder} cannot be loaded: {str(error).splitlines()[0]}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that fills up batches; masked everywhere, so any will do where there is none."""
    pad = tokenizer.pad_token_id
    return pad if isinstance(pad, int) else 0


def tokens_per_batch(model: PreTrainedModel) -> int:
    """How many tokens to score at once: on a CPU what its caches like, on a GPU what half of the free memory holds."""
    import torch

    if model.device.type != "cuda":
        return CPU_TOKENS
    config: Any = model.config.get_text_config()
    inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    per_token = (8 * config.hidden_size + 3 * inner) * model.dtype.itemsize  # the activations alive in one block
    free, _ = torch.cuda.mem_get_info(model.device)
    return min(max(free // 2 // per_token, CPU_TOKENS), GPU_TOKENS)
