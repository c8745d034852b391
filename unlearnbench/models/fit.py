"""The fit of a model's weights to its config: a missing tensor would be scored as random numbers."""

from __future__ import annotations

import functools
import logging as levels
import re
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError
from unlearnbench.models.weight_files import listed, shapes_in, tensor_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    Shapes = Mapping[str, tuple[int, ...]]

# what torch.compile, DataParallel, FSDP, activation checkpointing and PEFT put into the names of a model that they hold
WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "base_model.model.")
UNJOINED = (
    "tensors that transformers joins, such as a block's experts, do not go together: some are missing or of another shape"
)
# the part that predicts further tokens, which transformers does not run, and buffers of old that it makes itself
_UNUSED = re.compile(r"(^|\.)mtp[._]|\.(attn|attention)\.(masked_)?bias$")


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """The tensors of a model that are not as its config asks for.

    Attributes:
        missing: names that no file has.
        unexpected: names in the files that the model has no tensor for.
        mismatched: names with their shapes in the files and in the model.
        reason: reason why the tensors cannot be put together at all; empty where they can.
    """

    missing: Collection[str] = ()
    unexpected: Collection[str] = ()
    mismatched: Collection[tuple[str, tuple[int, ...], tuple[int, ...]]] = ()
    reason: str = ""

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.mismatched or self.reason)

    def __str__(self) -> str:
        parts = [self.reason] if self.reason else []
        if self.missing:
            parts.append(f"{_tensors(self.missing)} missing ({listed(sorted(self.missing))})")
        if self.unexpected:
            parts.append(f"{_tensors(self.unexpected)} unknown to it ({listed(sorted(self.unexpected))})")
        if self.mismatched:
            shapes = [f"{name}: {_shape(found)} instead of {_shape(asked)}" for name, found, asked in sorted(self.mismatched)]
            parts.append(f"{_tensors(self.mismatched)} of another shape ({listed(shapes)})")
        return "; ".join(parts)


def _tensors(names: Collection[object]) -> str:
    return "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"


def _shape(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes)) or "a number"


def check_fit(folder: Path, shape: PreTrainedModel) -> None:
    """Refuse weights that do not fit the config, read from the headers alone.

    Transformers itself is asked, with tensors that have a shape and no content: so its renamings, conversions and tied weights
    count here as they do when it loads.

    Args:
        folder: folder with config and weights.
        shape: the model on torch's `meta` device.

    Raises:
        UsageError: a tensor is missing, unknown or of another shape; says how to strip a prefix, where that is what is wrong.
    """
    from transformers import AutoConfig

    found = shapes_in(tensor_files(folder))
    # the text part of something that sees or hears leaves the rest in the files
    whole = type(AutoConfig.from_pretrained(folder, trust_remote_code=False)) is type(shape.config)
    misfit = _misfit(shape, found, whole)
    if not misfit:
        return
    for words in _wrapped(found):
        if not _misfit(shape, {_without(name, words): sizes for name, sizes in found.items()}, whole):
            raise UsageError(_wrapped_sentence(folder, words))
    raise UsageError(does_not_fit(folder, shape, misfit))


def does_not_fit(folder: Path, model: PreTrainedModel, misfit: Misfit) -> str:
    """Return the sentence on weights that do not fit the config."""
    return (
        f"The weights in {folder} do not fit the {type(model).__name__} of its config.json, so that random numbers or half a "
        f"model would be scored: {misfit}. Copy or download the folder again, or save the model anew with "
        "`model.save_pretrained(FOLDER)`."
    )


def _misfit(shape: PreTrainedModel, found: Shapes, whole: bool) -> Misfit:
    """Return transformers' account of tensors of these names and shapes."""
    import torch

    class Unread(torch.Tensor):
        """A tensor that stays without content on every device."""

        def to(self, *_: Any, **__: Any) -> Unread:
            return self

    kind = type(shape)
    # the same model to transformers, but what is missing is not drawn at random: that takes minutes for a large one
    bare: Any = type(kind.__name__, (kind,), {"initialize_weights": _nothing, "__module__": kind.__module__})
    tensors = {name: torch.empty(sizes, device="meta").as_subclass(Unread) for name, sizes in found.items()}
    try:
        with quiet():
            _, info = bare.from_pretrained(
                None,
                config=shape.config,
                state_dict=tensors,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:  # what only tensors with a content could tell is seen when they are loaded
        return Misfit(reason=UNJOINED) if is_unjoined(error) else Misfit()
    return misfit_of(shape, info, whole=whole)


def is_unjoined(error: Exception) -> bool:
    """Return whether transformers failed to make its tensors of the files'."""
    return isinstance(error, RuntimeError) and "conversion of the weights" in str(error)


def _nothing(*_: object) -> None:
    """Initialise no weights."""


def misfit_of(model: PreTrainedModel, info: Mapping[str, Any], *, whole: bool = True) -> Misfit:
    """Return transformers' `loading_info` as a misfit, less what no model of this kind needs.

    Args:
        model: model that was loaded.
        info: `loading_info` of `from_pretrained(output_loading_info=True)`.
        whole: True counts unknown tensors; False where only a part was to be loaded.
    """
    unexpected = {name for name in info["unexpected_keys"] if not _unused(name, model)} if whole else ()
    shapes = [(name, tuple(found), tuple(asked)) for name, found, asked in info["mismatched_keys"]]
    return Misfit(missing=info["missing_keys"], unexpected=unexpected, mismatched=shapes)


def _unused(name: str, model: PreTrainedModel) -> bool:
    """Return whether a tensor in the files is one that the model would not run: masks of old versions, heads for further
    tokens.
    """
    config: Any = model.config.get_text_config()
    further = getattr(config, "num_nextn_predict_layers", None) or 0  # such blocks stand behind the last one
    blocks = {f".{config.num_hidden_layers + number}." for number in range(further)}
    buffers = {buffer for buffer, _ in model.named_buffers()}
    return name in buffers or _UNUSED.search(name) is not None or any(block in name for block in blocks)


def _wrapped(found: Shapes) -> Iterator[list[str]]:
    """Yield prefixes that may have been put into the names: by wrappers, or one that all of them share."""
    if known := [wrapper for wrapper in WRAPPERS if any(f".{wrapper}" in f".{name}" for name in found)]:
        yield known
    first = {name.partition(".")[0] for name in found}
    if len(first) == 1:
        yield [f"{first.pop()}."]


def _without(name: str, words: Collection[str]) -> str:
    return functools.reduce(lambda left, word: left.replace(word, ""), words, name)


def _wrapped_sentence(folder: Path, words: Collection[str]) -> str:
    named = "name" + "".join(f".replace('{word}', '')" for word in words)
    strip = (
        "import pathlib; from safetensors.torch import load, save_file; "
        f"[save_file({{{named}: tensor for name, tensor in load(file.read_bytes()).items()}}, file, {{'format': 'pt'}}) "
        f"for file in pathlib.Path('{folder}').glob('*.safetensors')]"
    )
    hold = " and ".join(f"'{word}'" for word in words)
    return (
        f"The names of the tensors in {folder} hold {hold}, which a wrapper around the model left there, so that random "
        f'numbers would be scored in their place; strip it with `python -c "{strip}"`.'
    )


@contextmanager
def quiet() -> Generator[None]:
    """Keep transformers from printing warnings that unlearnbench says in a sentence."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    level = logging.get_verbosity()
    logging.set_verbosity(levels.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
