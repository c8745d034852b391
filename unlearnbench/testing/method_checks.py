"""The checks of methods. Each is a function of a case: its name is the check's, its docstring the promise."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from unlearnbench.errors import UsageError
from unlearnbench.plugins.options import resolve_options, split_budget
from unlearnbench.plugins.specs import MethodSpec, Training
from unlearnbench.records.base import Options, Value
from unlearnbench.testing.checks import CheckFailed, NotApplicable, Registry, require
from unlearnbench.testing.entry_points import described, entry_point_of
from unlearnbench.testing.other_process import weights_elsewhere
from unlearnbench.testing.tiny_models import FAMILIES
from unlearnbench.testing.trial_fits import SEED, Observed, TrialFit, run_trial_fit, tensors_hash

METHOD_CHECKS = Registry()
PADDING_TOLERANCE = 0.05  # of the change's norm: rounding, which Adam enlarges where gradients are nearly zero


class MethodCase:
    """A method under test; trials that several checks look at run once."""

    def __init__(self, spec: MethodSpec, options: Mapping[str, Value]) -> None:
        self.spec = spec
        self.options: Options = {}
        self.training: Training | None = None
        self.problem: UsageError | None = None
        self._seen: dict[TrialFit, Observed] = {}
        try:
            self.options, training = split_budget(spec, resolve_options(spec, options, spec.name))
        except UsageError as error:
            self.problem, training = error, spec.training
        if training is not None:
            self.training = replace(training, batch_size=2, max_length=24, accumulate=1, checkpointing=False)

    def seen(self, trial: TrialFit) -> Observed:
        """Return what was observed in a trial, whether it stopped or not."""
        if self.problem is not None:
            raise NotApplicable("it cannot be built: see built_from_the_model_alone")
        assert self.training is not None
        if trial not in self._seen:
            self._seen[trial] = run_trial_fit(self.spec, trial, self.options, self.training)
        return self._seen[trial]

    def trained(self) -> Observed:
        """Return the plainest trial, for checks of its result."""
        seen = self.seen(TrialFit())
        if seen.error is not None:
            raise NotApplicable("it does not run to the end: see runs_to_the_end")
        return seen

    def trained_like(self, trial: TrialFit, where: str, advice: str) -> Observed:
        """Return another trial, of a method that passes the plain one; it fails the check where it stops."""
        self.trained()
        seen = self.seen(trial)
        if seen.error is not None:
            raise CheckFailed(f"{where} it stops with {_reason(seen.error)}; {advice}") from seen.error
        return seen


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300].rstrip('.')}"


def _trains(case: MethodCase) -> bool:
    return case.spec.training is not None


def _few(names: set[str] | list[str]) -> str:
    """Return the first names of many."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


@METHOD_CHECKS.check()
def entry_point(case: MethodCase) -> None:
    """Its name is the name of its entry point, and nobody else's."""
    entry_point_of("method", case.spec)


@METHOD_CHECKS.check()
def source_and_summary(case: MethodCase) -> None:
    """It says where it comes from, and in one line what it does."""
    for name in ("source", "summary"):
        text = getattr(case.spec, name).strip()
        require(bool(text), f"the {name} is empty; give MethodSpec {name}='...'.")
        require("\n" not in text, f"the {name} has several lines; one is shown in lists.")


@METHOD_CHECKS.check()
def documented(case: MethodCase) -> None:
    """The factory and its module have docstrings."""
    described(case.spec)


@METHOD_CHECKS.check()
def built_from_the_model_alone(case: MethodCase) -> None:
    """The factory takes the model, and options that all have defaults."""
    parameters = list(inspect.signature(case.spec.factory).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    require(len(positional) == 1, f"the factory must take the model and keyword-only options, not {_signature(case)}.")
    if case.problem is not None:
        raise CheckFailed(f"{case.problem} Give every option a default that makes a sensible first run.")


def _signature(case: MethodCase) -> str:
    return str(inspect.signature(case.spec.factory))


@METHOD_CHECKS.check(_trains)
def options_recorded(case: MethodCase) -> None:
    """Every option is in `hparams`, as given, and can be written as JSON."""
    recorded = case.trained().hparams
    advice = "call self.save_hyperparameters(ignore=['model']) in __init__, right after super().__init__(model)."
    for name, value in case.options.items():
        require(name in recorded, f"the option '{name}' is not in self.hparams; {advice}")
        require(recorded[name] == value, f"self.hparams['{name}'] is {recorded[name]!r} and {value!r} was given; {advice}")
    try:
        json.dumps(recorded)
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"self.hparams cannot be written as JSON ({error}); record numbers, texts and lists only.") from error


@METHOD_CHECKS.check(_trains)
def runs_to_the_end(case: MethodCase) -> None:
    """It trains a tiny Llama for as many updates as its budget says."""
    seen = case.seen(TrialFit())
    if isinstance(seen.error, FloatingPointError):
        raise NotApplicable("its loss is not finite: see loss_finite")
    if seen.error is not None:
        raise CheckFailed(
            f"it stops with {_reason(seen.error)}; if an option does not fit a model of 8 blocks, 16 wide, give the check "
            "another one (options={...}, or --set NAME.OPTION=VALUE)."
        ) from seen.error
    require(
        seen.updates == TrialFit().steps, f"{seen.updates} updates were made of {TrialFit().steps}; never stop the trainer."
    )


@METHOD_CHECKS.check(_trains)
def loss_finite(case: MethodCase) -> None:
    """Every loss, and every weight in the end, is a finite number."""
    seen = case.seen(TrialFit())
    if isinstance(seen.error, FloatingPointError):
        raise CheckFailed(f"{seen.error}; look for a logarithm of 0, a division by a count that can be 0, a too large lr.")
    seen = case.trained()
    require(all(math.isfinite(loss) for loss in seen.losses), f"the losses are {seen.losses}; none may be NaN or infinite.")
    broken = {name for name, tensor in seen.end.items() if not torch.isfinite(tensor).all()}
    require(not broken, f"not finite in the end: {_few(broken)}; look at what the last update or on_train_end wrote there.")


@METHOD_CHECKS.check(_trains)
def changes_the_model(case: MethodCase) -> None:
    """After a few updates at least one weight is another one."""
    seen = case.trained()
    changed = any(not torch.equal(t, seen.start[n]) for n, t in seen.end.items() if n in seen.start)
    require(changed, "no weight changed; hand the optimizer self.trainable(), and return a loss that has a gradient.")


@METHOD_CHECKS.check(_trains)
def same_seed_same_weights(case: MethodCase) -> None:
    """Two runs with one seed end with the same weights, bit for bit."""
    first = case.trained()
    again = run_trial_fit(case.spec, TrialFit(), case.options, case.training or Training())
    differing = {name for name, tensor in first.end.items() if name not in again.end or not _same(tensor, again.end[name])}
    require(
        not differing,
        f"a second run with the same seed gave other weights in {_few(differing)}; draw from torch's, numpy's or random's own "
        "generators (they are seeded), keep nothing in globals or on the class, and do not use the time.",
    )


@METHOD_CHECKS.check(_trains)
def same_weights_in_a_subprocess(case: MethodCase) -> None:
    """A fresh process ends with the same weights, bit for bit."""
    here = tensors_hash(case.trained().end)
    there = weights_elsewhere(case.spec, TrialFit(), case.options, case.training or Training())
    require(
        here == there,
        "another process ended with other weights; nothing may depend on hash(), on the order of a set, on the process's id, "
        "or on what this process did before.",
    )


@METHOD_CHECKS.check(_trains)
def keys_and_dtypes_kept(case: MethodCase) -> None:
    """The model has the same tensors in the end: names, shapes and dtypes."""
    seen = case.trained()
    new = seen.end.keys() - seen.start.keys()
    require(not new, f"the model has new tensors: {_few(new)}; undo in on_train_end what was wrapped, or use self.use_adapter.")
    missing = set() if seen.cut else seen.start.keys() - seen.end.keys()
    require(not missing, f"the model lost tensors: {_few(missing)}; change values in place, never the modules.")
    for name, tensor in seen.end.items():
        start = seen.start[name]
        require(
            tensor.dtype == start.dtype and tensor.shape == start.shape,
            f"{name} was {start.dtype} {tuple(start.shape)} and is {tensor.dtype} {tuple(tensor.shape)}; compute in another "
            "dtype if you like, and copy_ the result back.",
        )


@METHOD_CHECKS.check(_trains)
def changes_only_what_it_declares(case: MethodCase) -> None:
    """Only weights that asked for gradients after `__init__` change, so that the next row starts from the base model."""
    seen = case.trained()
    changed = {name for name, tensor in seen.end.items() if name in seen.start and not _same(tensor, seen.start[name])}
    undeclared = changed - seen.changing
    require(
        not undeclared,
        f"{_few(undeclared)} changed and did not ask for gradients after __init__; call train_only in __init__ with all that "
        "will change: nothing else is put back after the job.",
    )
    if seen.end.keys() - seen.start.keys():
        return  # keys_and_dtypes_kept says it
    if seen.late_error is not None:
        raise CheckFailed(f"the base model cannot be put back: {_reason(seen.late_error)}.") from seen.late_error
    require(seen.restored, "the base model could not be put back bit for bit; leave the model's modules as they are.")


@METHOD_CHECKS.check(_trains)
def no_hooks_left(case: MethodCase) -> None:
    """No hook hangs on the model's modules or parameters in the end."""
    hooks = case.trained().hooks
    require(not hooks, f"left on the model: {_few(hooks)}; keep the handle and remove() it, at the latest in on_train_end.")


@METHOD_CHECKS.check(_trains)
def requires_grad_restored(case: MethodCase) -> None:
    """In the end the same parameters ask for gradients as after `__init__`."""
    seen = case.trained()
    before, after = seen.gradients
    different = (before ^ after) - (seen.end.keys() - seen.start.keys())  # keys_and_dtypes_kept speaks of new tensors
    require(
        not different,
        f"requires_grad of {_few(different)} is not what it was after __init__; what is switched off for a while goes back on "
        "in a `finally`, and what trains is settled in __init__.",
    )


@METHOD_CHECKS.check(_trains)
def random_generators_untouched(case: MethodCase) -> None:
    """It draws from the seeded generators and does not seed them itself."""
    seen = case.trained()
    advice = "draw from a torch.Generator of its own (torch.Generator().manual_seed(...)) if it needs one."
    require(
        seen.torch_seed == SEED, f"torch's generator was seeded with {seen.torch_seed} while the job's seed is {SEED}; {advice}"
    )
    other = case.seen(TrialFit(seed=SEED + 1))
    for number, generator in enumerate(("Python's", "numpy's")):
        require(
            other.error is not None or other.draws[number] != seen.draws[number],
            f"{generator} generator is in the same state after jobs with different seeds, so it was seeded; {advice}",
        )


@METHOD_CHECKS.check(_trains)
def global_settings_untouched(case: MethodCase) -> None:
    """Default dtype, default device, gradient mode, threads and the like are as before."""
    settings = case.trained().settings
    listed = "; ".join(f"{name} was {before} and is {after}" for name, (before, after) in settings.items())
    require(not settings, f"{listed}. Change such things in a `with` block only, or not at all.")


@METHOD_CHECKS.check(_trains)
def reference_untouched(case: MethodCase) -> None:
    """The model that it uses as the untouched one is still the untouched model when training ends."""
    gap = case.trained().reference
    require(
        gap is None or gap == 0,
        f"the reference moved by up to {gap:.2g}; call self.keep_original() before the first update, freeze a second copy with "
        "requires_grad_(False), and keep it out of the optimizer."
        if gap
        else "",
    )


@METHOD_CHECKS.check(_trains)
def prints_nothing(case: MethodCase) -> None:
    """Nothing is printed on standard output, where other programs read JSON."""
    printed = case.trained().printed.strip()
    require(not printed, f"it prints {printed[:60]!r}; use self.log for figures and the logging module for words.")


@METHOD_CHECKS.check(_trains)
def padding_does_not_count(case: MethodCase) -> None:
    """Batches with more padding end with the same weights, up to rounding."""
    plain = case.trained()
    padded = case.trained_like(TrialFit(padding=5), "with more padding", "read attention_mask, not the width of a batch.")
    names = [name for name in plain.end if name in padded.end and name in plain.start]
    change = _norm(plain.end[name].float() - plain.start[name].float() for name in names)
    gap = _norm(plain.end[name].float() - padded.end[name].float() for name in names)
    require(
        gap <= PADDING_TOLERANCE * change,
        f"five more columns of padding changed the result by {gap / max(change, 1e-30):.0%} of what training changed; average "
        "over labels != -100 or attention_mask == 1 only (self.nll does).",
    )


@METHOD_CHECKS.check(_trains)
def streams_that_run_dry(case: MethodCase) -> None:
    """It makes all updates where the corpora have fewer texts than the budget reads."""
    trial = TrialFit(texts=2, steps=5)
    advice = "take texts from the batches, or modulo the corpus's length."
    seen = case.trained_like(trial, "with corpora of two texts and five updates", advice)
    require(
        seen.updates == trial.steps, f"{seen.updates} updates were made of {trial.steps} with corpora of two texts; {advice}"
    )


@METHOD_CHECKS.check(_trains)
def two_topics(case: MethodCase) -> None:
    """It works with two topics, which come in turn."""
    trial = TrialFit(topics=("first", "second"), steps=4)
    advice = "keep what belongs to a topic by the batch's `topic`, with an entry for each of self.context.topics."
    seen = case.trained_like(trial, "with two topics", advice)
    require(seen.updates == trial.steps, f"{seen.updates} updates were made of {trial.steps} with two topics; {advice}")


@METHOD_CHECKS.check(lambda case: _trains(case) and "adapter" in inspect.signature(case.spec.factory).parameters)
def lora(case: MethodCase) -> None:
    """With adapter=lora it trains an adapter that is merged in the end."""
    advice = "call self.use_adapter(adapter, rank) in __init__, before parameters are looked up by name."
    seen = case.trained_like(TrialFit(options=(("adapter", "lora"),)), "with adapter=lora", advice)
    left = {name for name in seen.end if "lora_" in name}
    require(not left, f"the adapter is still in the model: {_few(left)}; {advice}")
    require(seen.late_error is None, f"with adapter=lora the result cannot be taken: {seen.late_error}; {advice}")


@METHOD_CHECKS.check(_trains)
def bfloat16(case: MethodCase) -> None:
    """It works on weights in bfloat16 and leaves them in bfloat16."""
    advice = "upcast for the loss (.float()), and copy_ results back into the weights."
    seen = case.trained_like(TrialFit(dtype="bfloat16"), "on a model in bfloat16", advice)
    others = {name for name, tensor in seen.end.items() if name in seen.start and tensor.dtype != seen.start[name].dtype}
    require(not others, f"{_few(others)} left bfloat16; {advice}")
    require(all(math.isfinite(loss) for loss in seen.losses), f"the losses in bfloat16 are {seen.losses}; {advice}")


@METHOD_CHECKS.check(_trains, each=[name for name in FAMILIES if name != TrialFit().family])
def family(case: MethodCase, name: str) -> None:
    """It works on other families of models."""
    advice = "find blocks and parameters with decoder_blocks and select_parameters, not by a family's names."
    case.trained_like(TrialFit(family=name, steps=2), f"on a {name} model", advice)


def _same(ours: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two tensors are equal bit for bit, of one shape and dtype."""
    return ours.dtype == other.dtype and ours.shape == other.shape and torch.equal(ours, other)


def _norm(differences: Any) -> float:
    return math.sqrt(sum(float(difference.square().sum()) for difference in differences))
