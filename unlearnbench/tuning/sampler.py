"""The proposals of settings: optuna's TPE, with its record in the run folder; no other module here imports optuna."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UsageError
from unlearnbench.records.search_space import Choice, Linear, Log, is_whole, nearest
from unlearnbench.records.tuning import Trial
from unlearnbench.system.files import content_hash

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

Flat = Linear | Log | Choice
RECORD = "study.journal"
STARTUP = 5  # trials drawn at random before the estimator takes over
CONSTRAINT = "keep"
DIGITS = 4  # significant ones of a setting: nobody wants to read sixteen


def check_installed() -> None:
    """Raise a `UsageError` where optuna is missing."""
    try:
        import optuna  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise UsageError("Tuning needs optuna: pip install 'unlearnbench[tune]'.") from error


def first_settings(space: Mapping[str, Flat], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's published defaults, or the nearest values that are in the space."""
    return {option: nearest(domain, defaults.get(option)) for option, domain in space.items()}


class Sampler:
    """The proposals of a row's settings, one after the other; after an interruption, the same ones are proposed again.

    Args:
        folder: folder of the record, shared by all rows.
        name: name of the search: another one where anything has changed that its results depend on.
        space: domain of each option that is searched.
        start: settings of the first trial; see `first_settings`.
        seed: seed; the same seed, space and results give the same proposals.
        keep_at_least: smallest K of a trial that may be chosen.
    """

    def __init__(
        self, folder: Path, name: str, space: Mapping[str, Flat], start: Mapping[str, Any], *, seed: int, keep_at_least: float
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._seed, self._keep = dict(space), seed, keep_at_least
        folder.mkdir(parents=True, exist_ok=True)
        with _quiet():
            storage = JournalStorage(JournalFileBackend(str(_mended(folder / RECORD)), _Alone()))  # pyright: ignore[reportArgumentType]
            self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial({option: _stored(self._space[option], value) for option, value in start.items()})

    def propose(self, number: int) -> dict[str, Any]:
        """Return the settings of the trial with this number, from 1; all before it have been proposed."""
        import optuna

        # a sampler of its own for each trial: where the search was interrupted does not matter
        seed = int(content_hash([self._seed, number])[:8], 16)
        known = self._study.get_trials(deepcopy=False)
        with _quiet():
            self._study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=STARTUP, multivariate=True, constant_liar=True, constraints_func=_violation
            )
            if number > len(known) or known[number - 1].state == optuna.trial.TrialState.WAITING:
                trial = self._study.ask()
            elif known[number - 1].params.keys() == self._space.keys():
                return self._settings(known[number - 1].params)
            else:  # interrupted in the middle of a proposal
                trial = self._trial(number)
            return self._settings({option: _suggest(trial, option, domain) for option, domain in self._space.items()})

    def tell(self, trial: Trial) -> None:
        """Record the result of a trial; a trial that did not finish forgot nothing and kept nothing."""
        if self._study.get_trials(deepcopy=False)[trial.number - 1].state.is_finished():
            return
        with _quiet():
            asked = self._trial(trial.number)
            asked.set_user_attr(CONSTRAINT, self._keep - (trial.keep or 0.0))
            asked.set_user_attr("status", trial.status)
            self._study.tell(asked, trial.forget or 0.0)

    def _trial(self, number: int) -> optuna.trial.Trial:
        import optuna

        frozen = self._study.get_trials(deepcopy=False)[number - 1]
        return optuna.trial.Trial(self._study, frozen._trial_id)  # pyright: ignore[reportPrivateUsage]

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {option: _shown(domain, params[option]) for option, domain in self._space.items()}


def _violation(trial: FrozenTrial) -> Sequence[float]:
    return (trial.user_attrs[CONSTRAINT],)


def _suggest(trial: optuna.trial.Trial, option: str, domain: Flat) -> Any:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(option, [json.dumps(value) for value in domain.values])
    log = isinstance(domain, Log)
    if is_whole(domain):
        return trial.suggest_int(option, int(domain.low), int(domain.high), log=log)
    return trial.suggest_float(option, domain.low, domain.high, log=log)


def _stored(domain: Flat, value: Any) -> Any:
    return json.dumps(value) if isinstance(domain, Choice) else value


def _shown(domain: Flat, value: Any) -> Any:
    if isinstance(domain, Choice):
        return json.loads(value)
    return int(value) if is_whole(domain) else float(f"{value:.{DIGITS}g}")


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Silence optuna's notices that the features used here are experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _mended(path: Path) -> Path:
    """Return the path of the record without a last line that was cut off with the process that wrote it."""
    with contextlib.suppress(FileNotFoundError), path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
    return path


class _Alone:
    """optuna's lock for what only this process writes: its own would outlive a process that is killed."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...
