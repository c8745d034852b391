"""The base class of every unlearning method: a LightningModule around the model that is to forget."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from unlearnbench.data.batches import Example, PaddingSide, Schedule, Stream, collate
from unlearnbench.errors import StorageError
from unlearnbench.models.capacity import context_length
from unlearnbench.models.forward import copy_of, swapped
from unlearnbench.models.head import final_hidden, over_positions, sequence_nll
from unlearnbench.models.loading import padding_id
from unlearnbench.models.lora import LoraAdapter
from unlearnbench.models.tensors import next_token_nll, next_tokens
from unlearnbench.system.files import content_hash, write_atomic
from unlearnbench.training.optimizers import AdamW
from unlearnbench.training.shared_forward import OneForward, joined_hidden, worth_joining

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class MethodContext:
    """The data that a method may use besides its batches.

    Attributes:
        tokenizer: the model's tokenizer.
        topics: the topics' names, in the order in which updates take them.
        forget: every forget batch of the run, for methods that need a pass of their own; `update(k)` is update k's whole
            batch, where several processes or pieces share it.
        retain: every retain batch of the run, likewise.
        steps: the number of optimizer updates in total.
        accumulate: the number of pieces that an update's batch comes in; `training_step` sees each piece, and its `batch_idx`
            counts them all.
        memory: the folder for what `keep` keeps; None keeps nothing.
        reuse: true where trainings with other settings follow, on the same model, corpora and budget: what they share is
            worth keeping, even where reading it back saves seconds only.
        original: a function that reads the weights that train as they were before the first update, by name, one at a time,
            in the model's dtype on the CPU; None where the model was not loaded for a run.
        reused: the cost of making the recalled tensors, in `seconds` and `tokens`; empty where nothing was.
    """

    tokenizer: PreTrainedTokenizerBase
    topics: tuple[str, ...]
    forget: Schedule
    retain: Schedule
    steps: int
    accumulate: int = 1
    memory: Path | None = None
    reuse: bool = False
    original: Callable[[], Iterable[tuple[str, Tensor]]] | None = None
    reused: dict[str, float] = field(default_factory=dict, init=False)

    def recall(self, *key: str) -> dict[str, Tensor] | None:
        """Return tensors that an earlier run kept under this key for the same model, corpora and budget, or None.

        What they cost is counted as this run's, too, and marked as reused: a row must not look cheap because another paid.

        Args:
            key: the words that `keep` was given.

        Returns:
            the tensors by name, on the CPU.
        """
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        if self.memory is None:
            return None
        file = self.memory / f"{content_hash(key)}.safetensors"
        try:
            with safe_open(file, "pt") as content:
                cost = content.metadata() or {}
            tensors = load_file(file)
            spent = {"seconds": float(cost["seconds"]), "tokens": int(cost["tokens"])}
        except (OSError, SafetensorError, KeyError, ValueError):
            return None
        for name, amount in spent.items():
            self.reused[name] = self.reused.get(name, 0) + amount
        return tensors

    def keep(self, tensors: Mapping[str, Tensor], *key: str, seconds: float, tokens: int) -> None:
        """Keep tensors that follow from model, corpora and budget alone, so that other settings need no pass of their own.

        A cache that cannot be written costs time later, nothing now.

        Args:
            tensors: the tensors by name.
            key: words that tell them from others of the same model, corpora and budget.
            seconds: the wall-clock time that making them took.
            tokens: the number of tokens that were read for it.
        """
        from safetensors.torch import save

        if self.memory is not None:
            whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            content = save(whole, metadata={"seconds": f"{seconds:.3f}", "tokens": str(tokens)})
            with contextlib.suppress(StorageError):
                write_atomic(self.memory / f"{content_hash(key)}.safetensors", content)


class UnlearningMethod(LightningModule):
    """The base class of methods: take the model and keyword-only options, write `training_step` and `configure_optimizers`.

    `training_step(self, batch: UnlearnBatch, batch_idx: int)` returns the loss of an update, a scalar with gradient, and
    `configure_optimizers(self)` an optimizer for `self.trainable()`, as in any LightningModule. So are `on_fit_start`, where
    `self.context` is there for the first time, `on_train_end` and the other hooks.

    Attributes:
        model: the language model, changed in place.
        context: tokenizer, topics and streams; set before the fit begins, not yet there in `__init__`.
        padding_side: the side on which batches are padded, `left` or `right`.
        one_process: true where the method must see each update's batch in one piece: it runs in one process and without
            accumulation.
        alternatives: true where the method needs other answers on the forget side, the column `alternative` of its corpus.
        adapter: the LoRA adapter, where `use_adapter` made one.
        logged: the values that `log` was given since the last update, by name; becomes metrics.csv.
        last_needed: the last decoder block that training runs, 0-based: those above need not be in memory then, and the
            head is not used; None needs the whole model.
    """

    padding_side: ClassVar[PaddingSide] = "right"
    one_process: ClassVar[bool] = False
    alternatives: bool = False
    context: MethodContext
    adapter: LoraAdapter | None = None
    last_needed: int | None = None

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.logged: dict[str, list[Tensor]] = {}
        self._original: Callable[[], Iterable[tuple[str, Tensor]]] | None = None  # the copies, or what reads the files
        self._joined: OneForward | None = None

    @property
    def context_length(self) -> int | None:
        """The number of tokens that the model can read at once; None where its config sets no bound."""
        return context_length(self.model)

    def log(self, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        """Log as Lightning does, and to a row of metrics.csv: a name that an update does not log has no value there, not its
        last one.
        """
        if isinstance(value, Tensor | int | float):
            self.logged.setdefault(name, []).append(torch.as_tensor(value).detach())
        super().log(name, value, *args, **kwargs)

    def nll(self, stream: Stream) -> Tensor:
        """Return the negative log-likelihood of a stream: the mean over sequences of each one's mean over counted tokens.

        Args:
            stream: (B, T), `batch["forget"]` or `batch["retain"]`.

        Returns:
            scalar, float32 or wider, nats per token, with gradient.

        Raises:
            ValueError: a sequence has no counted token.
        """
        return self.nll_of(self.final_hidden(stream), stream)

    def nll_of(self, hidden: Tensor, stream: Stream) -> Tensor:
        """Return `nll` where the final hidden states are there already.

        Args:
            hidden: (B, T, D), from `final_hidden` or `joined_hidden`.
            stream: (B, T), the stream that they belong to.

        Returns:
            scalar, float32 or wider, nats per token, with gradient.
        """
        predicting, targets = next_tokens(stream["labels"])

        def loss_of(logits: Tensor, part: slice) -> list[Tensor]:
            return [next_token_nll(logits, targets[part])]

        return over_positions(self.model, hidden, predicting, loss_of).total

    def sequence_nll(self, stream: Stream) -> Tensor:
        """Return each sequence's negative log-likelihood, for losses that are not a sum over tokens.

        Args:
            stream: (B, T), one side of a batch.

        Returns:
            (B,) float32 or wider, nats: the sum over each sequence's counted tokens, with gradient.
        """
        return sequence_nll(self.model, self.final_hidden(stream), stream["labels"])

    def final_hidden(self, stream: Stream) -> Tensor:
        """Return what goes into the output head, after the final norm.

        Args:
            stream: (B, T), one side of a batch.

        Returns:
            (B, T, D) in the model's dtype, with gradient; for `over_positions` and `nll_of`.
        """
        joined = None if self._joined is None else self._joined.hidden(stream)
        return final_hidden(self.model, stream) if joined is None else joined

    @contextmanager
    def one_forward(self, *streams: Stream) -> Generator[None]:
        """Let one forward give `nll`, `sequence_nll` and `final_hidden` of these streams, when the first of them is needed.

        A weight's gradient is whole then as soon as the backward pass has left its block, and `AdamW` steps it there: no full
        set of gradients stands in memory. Only where many weights train and the streams are about as wide; else each stream
        has a forward of its own.

        Args:
            streams: the streams that the loss depends on; those of `RetainTerm` are what `RetainTerm.streams` returns.
        """
        self._joined = OneForward(self.model, streams) if worth_joining(streams, self.trainable()) else None
        try:
            yield
        finally:
            self._joined = None

    def joined_hidden(self, streams: Sequence[Stream]) -> list[Tensor]:
        """Return the `final_hidden` of each stream from one forward of all, however wide they are.

        Args:
            streams: the streams; narrower ones are padded on the right to the widest.

        Returns:
            (B, T, D) for each stream, in the model's dtype.
        """
        return joined_hidden(self.model, streams)

    def stream_of(self, examples: Sequence[Example], like: Stream) -> Stream:
        """Return texts of the method's own making as a stream, padded as its batches are.

        Args:
            examples: tokens and labels of each text, B in all.
            like: the stream whose topic and device the new one has.

        Returns:
            a stream of shape (B, T), T the longest text's number of tokens.
        """
        padded = collate(examples, like["topic"], padding_id(self.context.tokenizer), self.padding_side)
        return self.transfer_batch_to_device(padded, like["input_ids"].device, 0)

    def logits(self, stream: Stream) -> Tensor:
        """Return the model's next-token logits, whole: `over_positions` does with a fraction of the memory.

        Args:
            stream: (B, T), one side of a batch.

        Returns:
            (B, T, V) in the model's dtype, with gradient.
        """
        return self.model(input_ids=stream["input_ids"], attention_mask=stream["attention_mask"], use_cache=False).logits

    def use_adapter(self, kind: Literal["none", "lora"], rank: int, targets: Sequence[str] | None = None) -> None:
        """Train a low-rank adapter and nothing else, or with `none` the weights that are trained without one.

        Args:
            kind: `lora`, or `none` for no adapter.
            rank: the rank of each factor, at least 1.
            targets: the names of the linear layers that get factors; None means all of the decoder blocks.
        """
        if kind == "lora":
            self.adapter = LoraAdapter(self.model, rank=rank, targets=targets)
            for name, parameter in self.model.named_parameters():
                parameter.requires_grad_("lora_" in name)

    def trainable(self) -> list[nn.Parameter]:
        """Return the parameters that ask for gradients, for an optimizer."""
        return [parameter for parameter in self.model.parameters() if parameter.requires_grad]

    def named_trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that ask for gradients, by name; an adapter's factors, where there is one."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @contextmanager
    def scratch_weights(self) -> Generator[None]:
        """Let the trainable parameters be copies for a while: what is done to them within the block is undone after it.

        For steps that are only simulated, such as an adversary's. Costs a second set of these weights.
        """
        named = self.named_trainable()
        with swapped(named, copy_of(named)):
            yield

    def changing(self) -> dict[str, nn.Parameter]:
        """Return the weights that will have changed in the end, by name; they are put back after the job."""
        if self.adapter is not None:
            return self.adapter.changing()
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def delta_numbers(self) -> int:
        """Return the most numbers that a delta holds: those of an adapter's factors, or of the weights that change."""
        changed = self.trainable() if self.adapter is not None else self.changing().values()
        return sum(parameter.numel() for parameter in changed)

    def computation(self) -> AbstractContextManager[Any]:
        """Return a context with the trainer's precision, for passes of your own outside `training_step`."""
        trainer: Trainer | None = getattr(self, "_trainer", None)
        return trainer.precision_plugin.forward_context() if trainer is not None else contextlib.nullcontext()

    @contextmanager
    def frozen_model(self) -> Generator[None]:
        """Let the model be the untouched one within the block, without gradients.

        The adapter is switched off, or the original weights are put back.

        Without an adapter the original is what the weights were at the first use, or when `keep_original` was called: before
        the first update, then.
        """
        if self.adapter is not None:
            with torch.no_grad(), self.adapter.disabled():
                yield
            return
        self.keep_original()
        assert self._original is not None
        changing = self.changing()
        with torch.no_grad(), swapped(changing, {name: tensor.to(changing[name]) for name, tensor in self._original()}):
            yield

    def keep_original(self, *, in_memory: bool = True) -> None:
        """Make sure of the weights that train as they are now, for `frozen_model`; an adapter needs no copy.

        Args:
            in_memory: copy them. False, from `on_fit_start` on, leaves them in the files that the model was loaded from:
                `frozen_model` then takes about as long as loading it, and between its uses no second model stands in memory.
        """
        if self.adapter is None and self._original is None:
            read = None if in_memory else self.context.original
            self._original = read or copy_of(self.changing()).items

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """Step as Lightning does, but free the gradients at once: Lightning would hold them through the next forward."""
        inner = getattr(optimizer, "optimizer", optimizer)  # within Lightning's wrapper
        if isinstance(inner, AdamW):
            inner.in_backward = not self._gradients_wanted()
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()

    def _gradients_wanted(self) -> bool:
        """Return whether anything reads all gradients between backward pass and step: clipping, sharing them, or a hook."""
        from lightning.pytorch.strategies import SingleDeviceStrategy
        from lightning.pytorch.utilities.model_helpers import is_overridden

        trainer = self.trainer
        if trainer.gradient_clip_val is not None or type(trainer.strategy) is not SingleDeviceStrategy:
            return True
        hooks = ("on_after_backward", "on_before_optimizer_step", "configure_gradient_clipping")
        lookers = (self, *trainer.callbacks)  # pyright: ignore[reportAttributeAccessIssue]
        return any(is_overridden(hook, looker) for looker in lookers for hook in hooks if hasattr(looker, hook))

    def preflight(self, topics: Sequence[str]) -> Iterable[str]:
        """Return what is wrong with the options for these topics and this model, a sentence each; override it.

        Called before anything is computed, on a method that was built on the model's shape: `self.model` has its config and
        every name, and no weights. What fits no model at all is better refused in `__init__`.

        Args:
            topics: the topics' names, in the order in which updates take them.
        """
        return ()

    def finish(self) -> None:
        """Merge the adapter into the weights; called after the fit."""
        if self.adapter is not None:
            self.adapter.merge()
            self.adapter = None
        self._original = None
