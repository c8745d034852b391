"""A model in memory that methods change in place, and that can be put back bit for bit."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor, nn

from unlearnbench.errors import CellError, UsageError
from unlearnbench.models.blocks import keep_blocks
from unlearnbench.models.families import can_be_cut, family_config
from unlearnbench.models.folders import base_folder, is_adapter, model_folder
from unlearnbench.models.forward import copy_of
from unlearnbench.models.loading import load_model, load_tokenizer, skeleton
from unlearnbench.models.lora import merge_factors, remove_adapters
from unlearnbench.models.tensors import checksum
from unlearnbench.models.weight_files import read_tensors, tensor_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Trainee(Protocol):
    """A method or attack built on a model: it says how much of the model it needs, and which parameters it will change."""

    @property
    def last_needed(self) -> int | None:
        """Return the last block whose output it needs, from 0; None for the whole model."""
        ...

    def changing(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters that it may change, by name."""
        ...


Built = TypeVar("Built", bound=Trainee)


class LoadedModel:
    """The model of one source; methods change it in place and `restore` takes the changes back.

    Nothing is read before it is needed, and for training only the blocks that the method runs. What a method changes is put
    back from the model's files, so that no second copy stands in memory; what they hold under another name is copied.
    """

    def __init__(self, source: str, dtype: str, device: torch.device) -> None:
        self.source = source
        self._folder = model_folder(source)
        self._files = tensor_files(base_folder(self._folder))
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._device = device
        self._model: PreTrainedModel | None = None
        self._base_state: dict[str, object] = {}
        self._partial = False  # only the lower blocks were loaded
        self._above: list[nn.Module] = []  # blocks that are out of the model while it trains
        self._changing: tuple[str, ...] = ()
        self._copies: dict[str, Tensor] = {}
        self._readable: set[str] = set()  # names whose tensors the files are known to give back

    @functools.cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the model's tokenizer."""
        return load_tokenizer(self._folder)

    @property
    def model(self) -> PreTrainedModel:
        """Return the model as it is now."""
        if self._model is None:
            self._model = load_model(self._folder, self._dtype, self._device)
            self._base_state = self.state()
        return self._model

    @functools.cached_property
    def _can_be_cut(self) -> bool:
        return can_be_cut(family_config(base_folder(self._folder)))

    def state(self) -> dict[str, object]:
        """Return checksums of the model's tensors, and the hooks of its modules; equal for a model that is unchanged."""
        kept = self.model.state_dict()  # without buffers that the model works out as it goes
        tensors = [*self.model.named_parameters(), *(buffer for buffer in self.model.named_buffers() if buffer[0] in kept)]
        sums = torch.stack([checksum(tensor).to(self._device) for _, tensor in tensors]).tolist()
        hung = {name: (type(module), _hooks(module)) for name, module in self.model.named_modules()}
        return {**{name: total for (name, _), total in zip(tensors, sums, strict=True)}, **hung}

    def build(self, factory: Callable[[PreTrainedModel], Built], *, whole: bool = False) -> Built:
        """Build a method on as much of the model as it needs, and note what it will change.

        Blocks that it does not need are not loaded, or are out of the model, and off the GPU, until `complete`; unless the
        whole model is wanted, because it is to be scored in between. An adapter is always merged into the whole model.
        """
        partly = not whole and self._model is None and not is_adapter(self._folder)
        if partly and (last := _last_needed(factory, self._folder)) is not None:
            self._model = load_model(self._folder, self._dtype, self._device, blocks=last + 1)
            self._partial = True
        method = factory(self.model)
        self._remember(method.changing())
        if method.last_needed is not None and not self._partial and not whole and self._can_be_cut:
            self._above = keep_blocks(self.model, method.last_needed + 1)
            for block in self._above:
                block.to("cpu")
        return method

    def complete(self, delta: Mapping[str, Tensor]) -> list[str]:
        """Turn the trained part into the whole model, ready for scoring.

        Returns:
            what had changed and is not in the delta; it is back as it was.
        """
        if self._partial:
            self._drop()
            self.apply(delta)
            return []
        self._put_back()
        self.model.to(self._device)  # pyright: ignore[reportArgumentType]
        self.model.eval()
        stray = [name for name in self._differing() if name not in self._changing]
        if stray:
            self._drop()
            self.apply(delta)
        return stray

    def delta(self) -> dict[str, Tensor]:
        """Return the parameters that differ from the base, on the CPU."""
        now = dict(self.model.named_parameters())
        changed = {name for name, base in self.base() if not torch.equal(now[name], base.to(now[name]))}
        return {name: now[name].detach().cpu() for name in self._changing if name in changed}

    @torch.no_grad()
    def apply(self, delta: Mapping[str, Tensor]) -> None:
        """Put a stored delta into the base model: whole tensors, or the factors of an adapter."""
        now = dict(self.model.named_parameters())
        names = [name.removesuffix(".lora_A") for name in delta if not name.endswith(".lora_B")]
        if unknown := [name for name in names if name not in now]:
            raise CellError(f"The stored delta does not fit {self.source}: it has no {unknown[0]}.")
        self._remember({name: now[name] for name in names})
        for name in names:
            if name in delta:
                now[name].copy_(delta[name])
            else:
                merge_factors(now[name], delta[f"{name}.lora_A"], delta[f"{name}.lora_B"])

    @torch.no_grad()
    def restore(self) -> None:
        """Put the base model back, bit for bit."""
        if self._model is None:
            return
        if self._partial:
            self._drop()
            return
        self._put_back()
        remove_adapters(self.model)
        now = dict(self.model.named_parameters())
        if any(name not in now for name in self._changing):
            self._drop()
            return
        for name, base in self.base():
            now[name].copy_(base)
        self._changing, self._copies = (), {}
        self.model.requires_grad_(True)
        self.model.zero_grad(set_to_none=True)
        self.model.to(self._device)  # pyright: ignore[reportArgumentType]
        self.model.eval()
        if self._differing():
            self._drop()  # something changed that nobody announced: the next job gets a model from the files

    def _differing(self) -> list[str]:
        """Return the names of tensors and modules that are not as they were loaded."""
        now = self.state()
        return [name for name in {**now, **self._base_state} if now.get(name) != self._base_state.get(name)]

    def _remember(self, changing: Mapping[str, nn.Parameter]) -> None:
        """Note the parameters that are about to change; copy those that the files cannot give back."""
        self._changing = tuple(changing)
        unsure = [name for name in changing if name not in self._readable]
        for name, base in read_tensors(self._files, set(unsure)):
            current = changing[name].detach()
            if current.shape == base.shape and torch.equal(current, base.to(current)):
                self._readable.add(name)
        self._copies = copy_of({name: parameter for name, parameter in changing.items() if name not in self._readable})

    def base(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the base model's tensors where something may have changed, by name, in the model's dtype."""
        yield from self._copies.items()
        wanted = set(self._changing) - set(self._copies)
        for name, base in read_tensors(self._files, wanted) if wanted else ():
            yield name, base.to(self._dtype)

    def _put_back(self) -> None:
        if self._above:
            keep_blocks(self.model, None, self._above)
            self._above = []

    def _drop(self) -> None:
        self._model, self._partial = None, False
        self._changing, self._copies = (), {}
        gc.collect()  # trainers and methods refer to each other in circles


def _hooks(module: nn.Module) -> tuple[object, ...]:
    """Return the state of a module that plugins hang hooks on, or replace."""
    attributes = vars(module)
    hung = [
        len(attributes[name]) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    ]
    return (*hung, attributes.get("forward"))


def _last_needed(factory: Callable[[PreTrainedModel], Trainee], folder: Path) -> int | None:
    """Return the last block that a method needs, found on a model without weights; None where it does not say."""
    try:
        return factory(skeleton(folder)).last_needed
    except UsageError:
        raise
    except (Exception, SystemExit):  # a method that needs real weights to be built needs all of them
        return None


def resolve_device(asked: str) -> torch.device:
    """Return the device to run on.

    Raises:
        UsageError: `cuda` where there is no GPU.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: this machine has no GPU that torch can use; leave --device out to run on the CPU.")
    return torch.device(asked)
