"""The steps of the verbs and their commands: place, plan, search, run."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from unlearnbench.errors import Problems
from unlearnbench.system.stop_signals import answered_with, interruptible_afterwards

if TYPE_CHECKING:
    from unlearnbench.execution.place import Execution, Place
    from unlearnbench.execution.reporter import Reporter
    from unlearnbench.planning.comparison import Comparison
    from unlearnbench.planning.request import Device
    from unlearnbench.records.leaderboard import TableSettings
    from unlearnbench.records.recipe import Recipe
    from unlearnbench.results.run import Run
    from unlearnbench.results.search import Search
    from unlearnbench.tuning.search import Budget

Folder = str | os.PathLike[str]


def place_of(
    recipe: Recipe, problems: Problems, *, out: Folder | None, cache: Folder | None, device: str, how: Execution
) -> Place:
    """Return the place of a recipe's comparison, by default below `runs`; devices and executors that do not exist are noted."""
    from unlearnbench.execution.executors import find_executor
    from unlearnbench.execution.place import Place
    from unlearnbench.system.files import default_cache

    folder = Path("runs") / recipe.name if out is None else Path(out)
    kept = default_cache() if cache is None else Path(cache)
    problems.attempt(find_executor, how.executor, how.limits)
    place = problems.attempt(Place, out=folder, cache=kept, device=cast("Device", device), how=how)
    return place or Place(out=folder, cache=kept, how=how)


def plan(
    recipe: Recipe,
    place: Place,
    table: TableSettings | None = None,
    reporter: Reporter | None = None,
    problems: Problems | None = None,
) -> Comparison:
    """Check a comparison and plan it; nothing is computed or written.

    Args:
        recipe: recipe of the comparison.
        place: folder, cache, device and executor.
        table: settings of its table.
        reporter: reporter that is told of rows that will fail.
        problems: problems found before; they are reported together with those found here.

    Raises:
        UsageError: anything cannot be done: all of it at once.
    """
    from unlearnbench.execution.compare import check_table
    from unlearnbench.execution.executors import find_executor
    from unlearnbench.execution.plugin_trial import examine
    from unlearnbench.execution.reporter import Silent
    from unlearnbench.planning.preflight import prepare

    problems, reporter = problems if problems is not None else Problems(), reporter or Silent()
    executor = problems.attempt(find_executor, place.how.executor, place.how.limits)
    broken: dict[str, str] = {}
    if executor is not None and executor.own_processes:
        recipe, broken = examine(recipe, place.cache, problems)
    for row, reason in broken.items():
        reporter.warn(f"the row {row} will fail: {reason}")
    comparison = prepare(place.request(recipe), problems, broken=broken)
    check_table(comparison, table)
    return comparison


def search(recipe: Recipe, budget: Budget, place: Place, reporter: Reporter | None = None) -> Search:
    """Make a search, or continue it, and return it.

    Raises:
        UsageError: anything in the recipe cannot be done, or nothing in it can tell trials apart.
        StorageError: the folder does not take what was computed.
    """
    from unlearnbench.execution.reporter import Silent
    from unlearnbench.results.search import Search
    from unlearnbench.runs.reading import TUNING, read_tuning
    from unlearnbench.tuning.search import tune, tuned_recipe

    reporter = reporter or Silent()
    words = f"Finished trials are kept in {place.out / TUNING}; the same command goes on from there."
    with answered_with(words), interruptible_afterwards(), closing(tune(recipe, budget, place, reporter)) as results:
        for result in results:
            reporter.finished(result)
    tuning = read_tuning(place.out)
    assert tuning is not None
    return Search(place.out, tuning, tuned_recipe(recipe, tuning))


def tuned(recipe: Recipe, budget: Budget, place: Place, reporter: Reporter) -> Recipe:
    """Return the recipe with the settings that a search chose, to be compared on the other half of the questions.

    Raises:
        UsageError: anything in the recipe cannot be done; what is wrong with the comparison is said before the search.
    """
    from unlearnbench.planning.preflight import prepare
    from unlearnbench.tuning.search import untuned_recipe

    prepare(place.request(untuned_recipe(recipe)))
    return search(recipe, budget, place, reporter).recipe


def carry_out(
    recipe: Recipe,
    place: Place,
    table: TableSettings | None = None,
    reporter: Reporter | None = None,
    *,
    tune: Budget | None = None,
    problems: Problems | None = None,
) -> Run:
    """Check a comparison, compute the missing cells, and return it; see `plan`.

    Raises:
        UsageError: anything cannot be done: all of it at once, and before anything is computed.
        StorageError: the folder does not take what was computed.
    """
    from unlearnbench.execution.compare import execute
    from unlearnbench.execution.reporter import Silent
    from unlearnbench.leaderboard.reading import written_leaderboard
    from unlearnbench.results.run import Run

    reporter = reporter or Silent()
    if tune is not None:
        if problems is not None:
            problems.settle()
        recipe = tuned(recipe, tune, place, reporter)
    words = f"Finished cells are kept in {place.out}; the same command goes on from there."
    with answered_with(words), interruptible_afterwards():
        comparison = plan(recipe, place, table, reporter, problems)
        # a notebook keeps the frames of what was raised, and with them the folder's lock, unless the iterator is closed
        with closing(execute(comparison, reporter, place.how, settings=table)) as results:
            for result in results:
                reporter.finished(result)
    return Run(place.out, written_leaderboard(place.out))
