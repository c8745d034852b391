"""From a source to a model's folder, checked before anything of it is loaded: full weights, or an adapter and its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unlearnbench.data.hub import from_hub
from unlearnbench.data.sources import Source, parse_source, require
from unlearnbench.errors import UsageError
from unlearnbench.models.weight_files import PICKLES, pickles_only, read_json, refuse_pointers, shapes_in, tensor_files
from unlearnbench.records.retraining import RETRAINING_FILE
from unlearnbench.system.files import JsonCache, content_hash, hash_files

# one of them holds a tokenizer's words
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json", "*.model", "*.tiktoken")
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "merges.txt", "vocab.txt")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MERGE = "`AutoPeftModelForCausalLM.from_pretrained(ADAPTER).merge_and_unload().save_pretrained(FOLDER)`"


def model_folder(text: str) -> Path:
    """Return the local folder of a model, or of an adapter whose base is there, too; a hub id is downloaded, safetensors only.

    Raises:
        UsageError: no such model, or one that is not whole, is quantised, or has its weights only as pickles.
    """
    folder = _folder_of(text)
    if not is_adapter(folder):
        _check_plain(folder)
    elif list(folder.glob("model*.safetensors")):
        raise UsageError(
            f"The model folder {folder} holds an adapter ({ADAPTER_CONFIG}) beside full weights, so that it is not clear which "
            f"model is meant: take {ADAPTER_CONFIG} and {ADAPTER_WEIGHTS} away for the weights alone, or give the adapter in a "
            "folder of its own, with their folder as its base_model_name_or_path, for it to be merged into them."
        )
    else:
        _check_adapter(folder)
    return folder


def _folder_of(text: str) -> Path:
    source = parse_source(text)
    path = source.path
    if path is None:
        path = from_hub(source, lambda: _download(source), "model")
    require(path, source)
    if not path.is_dir():
        raise UsageError(
            f"The model '{text}' is not a folder: a model is a folder with config.json and *.safetensors, or a hub id."
        )
    refuse_pointers(_identifying(path))
    return path


def _download(source: Source) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source.location, revision=source.revision, allow_patterns=list(MODEL_FILES)))


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds a PEFT adapter, to be merged into the model that it was trained on."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_folder(folder: Path) -> Path:
    """Return the folder of the full weights: the folder itself, or for an adapter that of its base.

    Raises:
        UsageError: the base is not there, or is not whole.
    """
    if not is_adapter(folder):
        return folder
    base = base_source(folder)
    try:
        found = _folder_of(base)
        if is_adapter(found):
            raise UsageError(f"it is an adapter itself; merge that one first with {MERGE}.")
        _check_plain(found)
    except UsageError as error:
        raise UsageError(
            f"The adapter in {folder} was trained on '{base}', which cannot be used: {error} Where that model lies elsewhere, "
            f"write its path or hub id into base_model_name_or_path of {folder / ADAPTER_CONFIG}."
        ) from error
    return found


def base_source(folder: Path) -> str:
    """Return the source of the model that an adapter was trained on, as its config names it."""
    config = read_json(folder / ADAPTER_CONFIG)
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    if not isinstance(base, str) or not base:
        raise UsageError(
            f"The adapter in {folder} does not say which model it was trained on; write its path or hub id into "
            f"base_model_name_or_path of {folder / ADAPTER_CONFIG}."
        )
    return f"{base}@{revision}" if revision and parse_source(base).path is None else base


def tokenizer_folder(folder: Path) -> Path:
    """Return the folder of the tokenizer: the folder itself, or for an adapter that has none that of its base.

    Raises:
        UsageError: nowhere; transformers would make one without words of a tokenizer_config.json alone.
    """
    for place in dict.fromkeys((folder, base_folder(folder))):
        if any(any(place.glob(name)) for name in VOCABULARIES):
            return place
    raise UsageError(
        f"The model folder {folder} has no tokenizer: none of {', '.join(VOCABULARIES)} is there; copy it from the model that "
        "this one was made from, or save it with `tokenizer.save_pretrained(FOLDER)`."
    )


def _check_plain(folder: Path) -> None:
    """Refuse a folder without config or whole weights; only headers are read."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"The folder {folder} holds no model: config.json is missing.")
    config = read_json(folder / "config.json")
    if quantised := config.get("quantization_config"):
        raise UsageError(
            f"The model in {folder} is quantised ({_kind_of(quantised)}): what is compared here are full weights. Give the "
            "model that it was made from, or where its quantiser is installed write full weights with "
            "`AutoModelForCausalLM.from_pretrained(MODEL).dequantize().save_pretrained(FOLDER)`."
        )
    if (folder / "generation_config.json").is_file():
        read_json(folder / "generation_config.json")
    shapes_in(tensor_files(folder))


def _kind_of(quantised: Any) -> str:
    """Return the name of a quantisation, and the number of bits that it leaves, where its config says so."""
    if not isinstance(quantised, dict):
        return str(quantised)
    four, eight = quantised.get("load_in_4bit"), quantised.get("load_in_8bit")
    bits = quantised.get("bits") or quantised.get("w_bit") or (4 if four else 8 if eight else None)
    name = str(quantised.get("quant_method", "by a method that its config does not name"))
    return f"{name}, {bits} bits" if bits else name


def _check_adapter(folder: Path) -> None:
    """Refuse an adapter that cannot be merged, or whose base is not there."""
    kind = read_json(folder / ADAPTER_CONFIG).get("peft_type")
    if kind != "LORA":
        raise UsageError(
            f"The adapter in {folder} is of the kind {kind}; only LORA is merged here. Give a whole model instead, where PEFT "
            f"can merge it: {MERGE}."
        )
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickles = sorted(file.name for ending in PICKLES for file in folder.glob(ending))
        if pickles:
            raise UsageError(pickles_only(f"The adapter in {folder} has its weights", pickles))
        raise UsageError(f"The adapter in {folder} has no weights: {ADAPTER_WEIGHTS} is missing.")
    shapes_in([folder / ADAPTER_WEIGHTS])
    base_folder(folder)


def base_weights(folder: Path, memory: JsonCache) -> str:
    """Return a hash of the full weights alone: those of the folder, or of an adapter's base."""
    return hash_files(tensor_files(base_folder(folder)), memory)


def _identifying(folder: Path) -> list[Path]:
    """Return the files that identify a model: weights, config and tokenizer, but not the record of what it cost to make."""
    endings = (".safetensors", ".json", ".jinja", ".model", ".txt")
    files = (file for file in folder.iterdir() if file.is_file() and file.suffix in endings)
    return [file for file in files if file.name != RETRAINING_FILE]


def weights_identity(folder: Path, memory: JsonCache) -> str:
    """Return a hash of a model's files; of an adapter, of its own and of its base's."""
    in_folder = hash_files(_identifying(folder), memory)
    return content_hash([hash_files(_identifying(base_folder(folder)), memory), in_folder]) if is_adapter(folder) else in_folder
