"""The files of a model's weights and their headers; nothing else of them is read before it is needed."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.data.files import LFS_POINTER, unique_keys
from unlearnbench.errors import UsageError, reason_of

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # of weights in several files
FULL = ("F64", "F32", "F16", "BF16")  # what weights that nobody has quantised are kept as
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def tensor_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights: those which transformers reads, whatever lies beside them.

    Raises:
        UsageError: there are none, or not all of them; says which is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise UsageError(_no_weights(folder))
    files = sorted({folder / name for name in _weight_map(folder / INDEX).values()})
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UsageError(
            f"The model folder {folder} is not whole: {listed(missing)} {'is' if len(missing) == 1 else 'are'} missing, which "
            f"{INDEX} names; copy or download the folder again."
        )
    return files


def _weight_map(index: Path) -> dict[str, str]:
    """Return the file of each tensor, by the tensor's name."""
    content = read_json(index)
    found = content.get("weight_map")
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found.values()):
        raise UsageError(f"{index} is broken: it has no weight_map, which names the file of each tensor; download it again.")
    if not isinstance(content.get("metadata"), dict):  # transformers asks for it
        raise UsageError(f'{index} is broken: it has no metadata; write `"metadata": {{}},` behind its first brace.')
    return found


def _no_weights(folder: Path) -> str:
    """Return why a folder has no weights, from the files that lie there."""
    there = sorted(file.name for file in folder.glob("*.safetensors"))
    if there:
        return (
            f"The model folder {folder} has neither {WEIGHTS} nor {INDEX}, only {listed(there)}: copy or download what is "
            "missing, or save the model anew with `model.save_pretrained(FOLDER)`."
        )
    pickles = sorted(file.name for ending in PICKLES for file in folder.glob(ending))
    if pickles:
        return pickles_only(f"The model in {folder} has its weights", pickles)
    if gguf := sorted(file.name for file in folder.glob("*.gguf")):
        return (
            f"The model in {folder} has its weights only as GGUF ({listed(gguf)}), which is quantised for llama.cpp and cannot "
            "be trained; give the folder that it was made from."
        )
    return f"The model folder {folder} has no weights (*.safetensors)."


def pickles_only(whose: str, names: list[str]) -> str:
    """Return the sentence that refuses weights in pickles."""
    return (
        f"{whose} only as pickles ({', '.join(names)}), which can run code when loaded; convert them to safetensors with "
        "`model.save_pretrained(FOLDER)` in a session you trust."
    )


def shapes_in(files: Collection[Path]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor by its name, from the headers.

    Raises:
        UsageError: a file is no safetensors file, or was cut off, or its weights are quantised.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, "numpy") as content:
                parts = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118 - it is no dictionary
                kinds = {name: part.get_dtype() for name, part in parts.items() if name.endswith("weight")}
                found |= {name: tuple(part.get_shape()) for name, part in parts.items()}
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"{file} is damaged or was not copied whole ({file.stat().st_size:,} bytes): {reason_of(error)}; copy or "
                "download it again."
            ) from error
        if quantised := [f"{name} as {kind}" for name, kind in kinds.items() if kind not in FULL]:
            raise UsageError(
                f"The weights in {file} are quantised, whatever its config says: it holds {listed(quantised)}. Give the model "
                "that it was made from."
            )
    return found


def read_tensors(files: Collection[Path], names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield those of the named tensors that the files have, one at a time, in their stored dtype on the CPU."""
    from safetensors import safe_open

    for file in files:
        with safe_open(file, "pt") as content:
            for name in [name for name in content.keys() if name in names]:  # noqa: SIM118 - it is no dictionary
                yield name, content.get_tensor(name)


def refuse_pointers(files: Collection[Path]) -> None:
    """Refuse the pointers that Git leaves in the place of large files that it did not fetch."""
    pointers = sorted(file for file in files if _starts(file) == LFS_POINTER)
    if pointers:
        folder, first, more = pointers[0].parent, pointers[0].name, len(pointers) - 1
        others = f", and so {'are' if more > 1 else 'is'} {listed([file.name for file in pointers[1:]])}" if more else ""
        raise UsageError(
            f"{first} in {folder} is a Git LFS pointer, not the file itself{others}; fetch what is missing with "
            f"`git -C {folder} lfs pull`."
        )


def _starts(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(len(LFS_POINTER))


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UsageError: it holds none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file} cannot be read as JSON: {reason_of(error)}; copy or download it again.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file} must hold a JSON object; it holds a {type(content).__name__}.")
    return content


def listed(names: Collection[str], most: int = 3) -> str:
    """Return some of the names, and how many more there are."""
    some = list(names)[:most]
    return ", ".join(some) + (f" and {len(names) - most} more" if len(names) > most else "")
