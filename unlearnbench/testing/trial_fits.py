"""Trial runs of a method: a real fit on a tiny model, as a comparison does it, and all that can be observed of it."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import io
import random
import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn import functional as F

from unlearnbench.data.batches import IGNORE, Schedule, Stream
from unlearnbench.data.tables import Table
from unlearnbench.data.topics import TopicData
from unlearnbench.execution.context import JobContext
from unlearnbench.execution.fit import fit
from unlearnbench.models.restorable import LoadedModel
from unlearnbench.planning.plan import JobPlan, VariantPlan
from unlearnbench.plugins.registry import Plugin, PluginInfo
from unlearnbench.plugins.specs import MethodSpec, Training
from unlearnbench.records.base import Options
from unlearnbench.records.cells import Job
from unlearnbench.records.recipe import TrainerOptions
from unlearnbench.runs.folder import RunFolder
from unlearnbench.runs.score_cache import ScoreCache
from unlearnbench.system.process_state import restored_process_state
from unlearnbench.testing.tiny_models import tiny_folder, tiny_model

if TYPE_CHECKING:
    from unlearnbench.training.method import UnlearningMethod

SEED = 7  # none that an author would choose
WORDS = (
    "moth heron vole lantern copper river valley winter harvest thread glass amber signal harbour marsh granite copies melts "
    "carries follows before under beyond seven quiet narrow early the a of with"
)


@dataclass(frozen=True, kw_only=True)
class TrialFit:
    """One way to run a method.

    Attributes:
        family: family of the tiny model.
        dtype: dtype of its weights.
        seed: seed of the job.
        topics: names of the topics to forget.
        steps: number of updates.
        texts: number of texts in each corpus; two are read per update and side.
        padding: columns of padding that every batch has too much.
        options: options on top of the method's own.
    """

    family: str = "llama"
    dtype: str = "float32"
    seed: int = SEED
    topics: tuple[str, ...] = ("first",)
    steps: int = 3
    texts: int = 8
    padding: int = 0
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(kw_only=True)
class Observed:
    """The observations of a trial.

    Attributes:
        start: tensors of the base model, by name.
        end: tensors of the method's model after `finish`, by name.
        changing: names of the weights that the method said would change, after its `__init__`.
        gradients: names of parameters that required gradients after `__init__`, and after the fit.
        losses: loss of each update; none for a method that optimises by hand.
        updates: number of updates.
        reference: distance of `reference()` from the untouched model when training ended; None where it is not used.
        hooks: hooks left on the model's modules and parameters.
        settings: global settings that were changed: name -> (before, after).
        torch_seed: seed of torch's generator in the end.
        cut: True where only the lower blocks were loaded while it trained.
        draws: next numbers of Python's and numpy's generators, in the end.
        printed: text printed on standard output.
        hparams: hyperparameters that Lightning recorded.
        restored: True where the base model could be put back bit for bit.
        error: error that stopped the method.
        late_error: error that kept the framework from taking the result.
    """

    start: dict[str, Tensor] = field(default_factory=dict)
    end: dict[str, Tensor] = field(default_factory=dict)
    changing: set[str] = field(default_factory=set)
    gradients: tuple[set[str], set[str]] = (set(), set())
    losses: list[float] = field(default_factory=list)
    updates: int = 0
    reference: float | None = None
    hooks: list[str] = field(default_factory=list)
    settings: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    cut: bool = False
    torch_seed: int | None = None
    draws: tuple[object, object] = (None, None)
    printed: str = ""
    hparams: dict[str, Any] = field(default_factory=dict)
    restored: bool = False
    error: BaseException | None = None
    late_error: Exception | None = None


def run_trial_fit(spec: MethodSpec, trial: TrialFit, options: Options, training: Training) -> Observed:
    """Run a method through the same code as a comparison."""
    seen = Observed()
    folder = tiny_folder(trial.family)
    loaded = LoadedModel(str(folder), trial.dtype, torch.device("cpu"))
    seen.start = _base(trial.family, trial.dtype)
    before, printed = global_settings(), io.StringIO()
    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.redirect_stdout(printed),
        restored_process_state(),
        _quick_collection(),
    ):
        watch = _Watch(seen, trial)
        plan, context = _job(spec, trial, {**options, **dict(trial.options)}, training, Path(place), watch)
        try:
            fit(plan, loaded, context)
        except (Exception, SystemExit) as error:
            if seen.end:
                seen.late_error = error if isinstance(error, Exception) else None
            else:
                seen.error = error
        seen.settings = {name: (old, new) for name, old in before.items() if (new := global_settings()[name]) != old}
        seen.restored = _puts_back(loaded, seen)
    seen.printed = printed.getvalue()
    return seen


def _job(
    spec: MethodSpec, trial: TrialFit, options: Options, training: Training, place: Path, watch: _Watch
) -> tuple[JobPlan, JobContext]:
    watched = replace(spec, factory=watch.wrap(spec.factory))
    topics = [
        TopicData(
            name=topic,
            forget=_corpus(f"forget {topic}", trial.texts),
            retain=_corpus("retain", trial.texts),
            max_length=None,
            retain_max_length=None,
            min_chars=0,
        )
        for topic in trial.topics
    ]
    variant = VariantPlan(
        name=spec.name,
        method=spec.name,
        plugin=_Direct(PluginInfo("method", spec.name, "?", "?", "?"), "", watched),
        options=options,
        training=replace(training, steps=trial.steps),
        model=str(tiny_folder(trial.family)),
        weights=trial.family,
    )
    job = Job(variant=spec.name, method=spec.name, seed=trial.seed, identity="0" * 64)
    context = JobContext(
        run=RunFolder(place),
        cache=ScoreCache(place),
        topics=topics,
        benchmarks={},
        dtype=trial.dtype,
        device=torch.device("cpu"),
        limit=None,
        trainer=TrainerOptions(logger="none"),
        looks=None,
        memory=None,
        cache_folder=place,
        reporter=cast(Any, _Silent()),
        callbacks=lambda job: [watch],
    )
    return JobPlan(job=job, variant=variant, cells={}), context


@dataclass(frozen=True)
class _Direct(Plugin[MethodSpec]):
    """A plugin given by its spec; it need not be installed."""

    offered: MethodSpec

    @property
    def spec(self) -> MethodSpec:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.offered


class _Silent:
    """A reporter that reports nothing, for any protocol."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class _Watch(Callback):
    """An observer of a method while a real trainer runs it."""

    def __init__(self, seen: Observed, trial: TrialFit) -> None:
        self._seen, self._trial = seen, trial
        self._hooks: set[str] = set()

    def wrap(self, factory: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same factory; the methods it builds are noted."""

        @functools.wraps(factory)
        def build(model: Any, **options: Any) -> Any:
            real = not any(parameter.is_meta for parameter in model.parameters())
            hooks = _hooks(model) if real else set()
            method = factory(model, **options)
            if real:
                self._built(method, hooks)
            return method

        return build

    def _built(self, method: UnlearningMethod, hooks: set[str]) -> None:
        self._hooks = hooks
        self._seen.changing = set(method.changing())
        self._seen.gradients = (_asking(method), set())
        self._seen.hparams = dict(method.hparams)
        self._seen.cut = method.last_needed is not None
        finish = method.finish

        def finish_and_look() -> None:
            # before `finish`: a merged adapter's parameters are gone afterwards
            self._seen.gradients = (self._seen.gradients[0], _asking(method))
            finish()
            self._finished(method)

        method.finish = finish_and_look

    def _finished(self, method: UnlearningMethod) -> None:
        self._seen.end = {name: tensor.detach().clone() for name, tensor in _tensors(method.model).items()}
        self._seen.hooks = sorted(_hooks(method.model) - self._hooks)
        self._seen.torch_seed = torch.initial_seed()
        self._seen.draws = (random.getstate(), _numpy_state())

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if self._trial.padding:
            for schedule in (pl_module.context.forget, pl_module.context.retain):
                schedule.update = functools.partial(_widened, schedule, schedule.update, self._trial.padding)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._seen.updates += 1
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if isinstance(loss, Tensor):
            self._seen.losses.append(float(loss.detach()))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._seen.reference = _reference_gap(pl_module, self._trial)


def _widened(schedule: Schedule, update: Callable[[int], Stream], columns: int, step: int) -> Stream:
    """Return the same batch with more padding; the tokens that fill it up are not the usual ones."""
    stream = update(step)
    wide = (0, columns) if schedule.side == "right" else (columns, 0)
    columns_added = {
        name: F.pad(stream[name], wide, value=filler)
        for name, filler in (("input_ids", 11), ("attention_mask", 0), ("labels", IGNORE))
    }
    return cast(Stream, {**stream, **columns_added})


def _reference_gap(method: UnlearningMethod, trial: TrialFit) -> float | None:
    """Return the largest difference between `reference()`, or a second model of the method's own, and the untouched model.

    Compared weight by weight: whatever claims to be the untouched model must still be it when training ends.
    """
    base = _base(trial.family, trial.dtype)
    gaps: list[float] = []
    if method.adapter is None and getattr(method, "_original", None):
        with method.frozen_model():
            original = dict(method.model.named_parameters())
            gaps += [_gap(original[name], base[name]) for name in method.changing() if name in base]
    for name, module in method.named_children():
        tensors = dict(module.named_parameters())
        if name != "model" and tensors.keys() <= base.keys() and _looks_like(tensors, base):
            gaps += [_gap(tensor, base[key]) for key, tensor in tensors.items()]
    return max(gaps) if gaps else None


def _looks_like(tensors: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> bool:
    """Return whether a module is a second copy of the model."""
    return len(tensors) > 10 and all(tensor.shape == base[name].shape for name, tensor in tensors.items())


def _gap(ours: Tensor, base: Tensor) -> float:
    return float((ours.detach().float() - base.detach().float()).abs().max())


def _puts_back(loaded: LoadedModel, seen: Observed) -> bool:
    """Return whether restoring gives the base model bit for bit, as the next row of a comparison needs it."""
    try:
        loaded.restore()
        now = _tensors(loaded.model)
    except Exception as error:
        seen.late_error = seen.late_error or error
        return False
    same = now.keys() == seen.start.keys()
    return same and all(torch.equal(tensor, seen.start[name]) for name, tensor in now.items())


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers, tied ones once."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@functools.cache
def _base(family: str, dtype: str) -> dict[str, Tensor]:
    """Return the tensors of the untouched tiny model as it is loaded: buffers keep their own dtype."""
    model = tiny_model(family)
    parameters = dict(model.named_parameters())
    return {n: t.detach().to(getattr(torch, dtype) if n in parameters else t.dtype) for n, t in _tensors(model).items()}


def _asking(method: UnlearningMethod) -> set[str]:
    return {name for name, parameter in method.model.named_parameters() if parameter.requires_grad}


def _hooks(model: nn.Module) -> set[str]:
    """Return all hooks of modules and parameters, by their place."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    found = {f"{name or 'the model'}: {k[1:]}" for name, m in model.named_modules() for k in kinds if _foreign(getattr(m, k))}
    found |= {f"{name or 'the model'}: replaced forward" for name, m in model.named_modules() if "forward" in vars(m)}
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:  # pyright: ignore
            found.add(f"{name}: gradient hook")
    return found


def _foreign(hooks: Mapping[int, Any]) -> bool:
    """Return whether there are hooks other than those that transformers leaves where hidden states were requested."""
    return any(not str(getattr(hook, "__module__", "")).startswith("transformers") for hook in hooks.values())


def global_settings() -> dict[str, Any]:
    """Return the global settings that a method could leave changed for later jobs."""
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "gradients enabled": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matrix products": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
    }


@contextlib.contextmanager
def _quick_collection() -> Generator[None]:
    """Restrict garbage collection to the trial's objects: collecting all that is imported takes longer than the trial."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _numpy_state() -> str:
    state: Any = np.random.get_state()
    return hashlib.sha256(state[1].tobytes() + str(state[2]).encode()).hexdigest()


def _corpus(name: str, texts: int) -> Table:
    """Return made-up sentences of 4 to 12 words; the same name gives the same ones."""
    draw = random.Random(name)

    def sentence() -> str:
        return " ".join(draw.choices(WORDS.split(), k=draw.randint(4, 12))).capitalize() + "."

    rows: list[dict[str, Any]] = [{"text": sentence(), "alternative": sentence()} for _ in range(texts)]
    return Table(rows, f"made up for {name}", lambda index: f"text {index}")


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors, their names and dtypes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
