"""What `tune` and `compare --tune` share: the recipe and the place of a search, and how it is shown while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from unlearnbench.cli import options
from unlearnbench.errors import UsageError

if TYPE_CHECKING:
    from unlearnbench.execution.compare import Execution
    from unlearnbench.planning.comparison import Device
    from unlearnbench.records.recipe import Recipe
    from unlearnbench.records.tuning import Tuning
    from unlearnbench.tuning.search import Budget, Place


def with_rule(recipe: Recipe, keep_at_least: float | None, probe_every: int | None, seed: int | None = None) -> Recipe:
    """The recipe with the command line's rules of choosing and pruning."""
    if keep_at_least is not None and not 0 <= keep_at_least <= 1:
        raise UsageError(f"--keep-at-least takes a share from 0 to 1, as in .95; got {keep_at_least:g}.")
    given = {"keep_at_least": keep_at_least, "probe_every": probe_every, "seed": seed}
    changes = {name: value for name, value in given.items() if value is not None}
    return recipe.model_copy(update={"tune": recipe.tune.model_copy(update=changes)})


def with_fixed(recipe: Recipe, settings: list[str]) -> Recipe:
    """The recipe with `--set` values, which are not searched: who sets an option wants it so."""
    from unlearnbench.errors import normalise
    from unlearnbench.planning.settings import apply_settings, parse_setting, read_settings

    spaces = {row: dict(own) for row, own in recipe.tune.spaces.items()}
    for name, option, _ in map(parse_setting, settings):
        row = next((row for row in recipe.methods if normalise(row) == normalise(name)), None)
        if row is not None:
            spaces.setdefault(row, {})[option] = None
    changed = read_settings(apply_settings(recipe, settings))
    return changed.model_copy(update={"tune": changed.tune.model_copy(update={"spaces": spaces})})


def search_place(recipe: Recipe, how: Execution, out: Path | None, cache: Path | None, device: str) -> Place:
    """Where and how the trials run."""
    from unlearnbench.execution.executors import find_executor
    from unlearnbench.system.files import default_cache
    from unlearnbench.tuning.search import Place

    find_executor(how.executor, how.limits)
    return Place(
        out=out or Path("runs") / recipe.name,
        cache=cache or default_cache(),
        device=cast("Device", options.choose("--device", device, ("auto", "cpu", "cuda"))),
        how=how,
    )


def search(recipe: Recipe, budget: Budget, place: Place) -> Tuning:
    """Make the search and say how it goes."""
    from unlearnbench.cli.progress import ProgressReporter
    from unlearnbench.runs.reading import read_tuning
    from unlearnbench.tuning.search import tune as tune_rows

    with options.quiet_stdout(), ProgressReporter() as reporter:  # what plugins print goes to stderr
        try:
            for result in tune_rows(recipe, budget, place, reporter, reporter.expect):
                reporter.finished(result)
        except KeyboardInterrupt:
            reporter.say(f"Finished trials are kept in {place.folder}; the same command goes on from there.")
            raise
    tuning = read_tuning(place.out)
    assert tuning is not None
    return tuning
