"""Models without weights that are built once for many rows; after a method that changed one, it is built anew."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.models.loading import skeleton

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Skeletons:
    """The skeletons of models, each as it was built whenever it is asked for: building one takes longer than checking a row."""

    def __init__(self) -> None:
        self._built: dict[Path, _Built] = {}

    def of(self, folder: Path) -> PreTrainedModel:
        """Return the skeleton of the model in a folder; what was returned before is not to be used any more.

        Raises:
            UsageError: see `skeleton`.
        """
        if (built := self._built.get(folder)) is None or not built.is_as_it_was():
            built = self._built[folder] = _Built(skeleton(folder))
        return built.shape


class _Built:
    """A skeleton, and what it was when it was new: attributes of its modules, hooks, tensors, its config."""

    def __init__(self, shape: PreTrainedModel) -> None:
        self.shape = shape
        self._modules = [
            (module, type(module), dict(vars(module)), [(held, copy.copy(held)) for held in _containers(vars(module))])
            for module in shape.modules()
        ]
        self._tensors = [(tensor, tensor.requires_grad, _traits(tensor)) for tensor in (*shape.parameters(), *shape.buffers())]
        self._settings = _settings(shape)

    def is_as_it_was(self) -> bool:
        """Return whether nothing was hung on it or replaced; parameters that were frozen are trained again."""
        for tensor, trained, _ in self._tensors:
            tensor.requires_grad_(trained)
        return (
            all(type(module) is kind and _same(vars(module), attributes) for module, kind, attributes, _ in self._modules)
            and all(_same(held, before) for *_, containers in self._modules for held, before in containers)
            and all(_traits(tensor) == traits for tensor, _, traits in self._tensors)
            and _settings(self.shape) == self._settings
        )


def _containers(attributes: dict[str, Any]) -> list[Any]:
    """Return the containers among a module's attributes: parameters, buffers, modules, hooks."""
    return [value for value in attributes.values() if isinstance(value, dict | list | set)]


def _same(now: object, before: object) -> bool:
    """Return whether two containers hold the same objects."""
    try:
        return now == before  # what is identical is not compared any further
    except Exception:  # two tensors, of which no truth can be told
        return False


def _traits(tensor: Tensor) -> tuple[object, ...]:
    """Return what can change in a tensor that stays the same object; one without values has no versions of them."""
    hooks = (tensor._backward_hooks, getattr(tensor, "_post_accumulate_grad_hooks", None))
    version = None if tensor.is_meta else tensor._version
    return tensor.shape, tensor.dtype, tensor.device, tensor.grad is None, version, *map(bool, hooks)


def _settings(shape: PreTrainedModel) -> str:
    generation = getattr(shape, "generation_config", None)
    return repr((shape.config.to_dict(), generation.to_dict() if generation is not None else None))
