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
        self._modules = list(shape.modules())
        self._containers = [held for module in self._modules for held in _containers(vars(module))]
        self._tensors = [*shape.parameters(), *shape.buffers()]
        self._trained = [tensor.requires_grad for tensor in self._tensors]
        self._kinds = [type(module) for module in self._modules]
        # lists that are compared as one: a skeleton is looked through again for every row
        self._attributes = [dict(vars(module)) for module in self._modules]
        self._contents = [copy.copy(held) for held in self._containers]
        self._traits = [_traits(tensor) for tensor in self._tensors]
        self._settings = _settings(shape)

    def is_as_it_was(self) -> bool:
        """Return whether nothing was hung on it or replaced; parameters that were frozen are trained again."""
        for tensor, trained in zip(self._tensors, self._trained, strict=True):
            if tensor.requires_grad != trained:
                tensor.requires_grad_(trained)
        return (
            [type(module) for module in self._modules] == self._kinds
            and _same([vars(module) for module in self._modules], self._attributes)
            and _same(self._containers, self._contents)
            and [_traits(tensor) for tensor in self._tensors] == self._traits
            and _settings(self.shape) == self._settings
        )


def _containers(attributes: dict[str, Any]) -> list[Any]:
    """Return the containers among a module's attributes: parameters, buffers, modules, hooks."""
    return [value for value in attributes.values() if isinstance(value, dict | list | set)]


def _same(now: object, before: object) -> bool:
    """Return whether two lists of containers hold the same objects."""
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
